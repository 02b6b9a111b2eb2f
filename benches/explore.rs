mod common;
use common::*;
use flate2::{Compress, Compression, FlushCompress};
use goldrush_exporter::exposition::*;
use std::sync::Arc;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let n: usize = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(10_000);
    let picture = Picture::of(n);
    let exposition = Arc::new(Exposition::new(picture.fleet.clone()));
    let scrape = |encoding| runtime.block_on(exposition.scrape(Format::OpenMetrics, encoding)).unwrap();
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        for round in 0..6 {
            std::thread::sleep(std::time::Duration::from_millis(1100));
            let what = match round {
                0 => "first",
                1 => "none",
                2 | 3 => {
                    picture.poll_all(round);
                    "all"
                }
                4 => {
                    for k in 0..50 {
                        picture.poll(k * 197 % n, (k % 3) as u8, 9)
                    }
                    "50 probes"
                }
                _ => {
                    for k in 0..500 {
                        picture.poll(k * 197 % n, (k % 3) as u8, 9)
                    }
                    "500 probes"
                }
            };
            let (body, t) = cpu_ms(|| scrape(encoding));
            println!("{encoding:?} {what}: {t:.1} ms, {} bytes", body.bytes());
        }
    }
    let pieces: Vec<_> = scrape(Encoding::Identity).collect();
    println!("{} pieces", pieces.len());
    let (_, t) = cpu_ms(|| {
        let h = foldhash::quality::RandomState::default();
        use std::hash::*;
        let mut x = 0;
        for p in &pieces {
            let mut s = h.build_hasher();
            s.write(p);
            x ^= s.finish();
        }
        x
    });
    println!("hash {t:.1}");
    let (_, t) = cpu_ms(|| {
        let mut c = flate2::Crc::new();
        for p in &pieces {
            c.update(p);
        }
        c.sum()
    });
    println!("crc {t:.1}");
    for level in 1..=6 {
        let mut c = Compress::new(Compression::new(level), false);
        let mut out = Vec::with_capacity(1 << 20);
        let (mut total, mut all) = (0, 0);
        let (_, t) = cpu_ms(|| {
            for p in &pieces {
                out.clear();
                c.reset();
                c.compress_vec(p, &mut out, FlushCompress::Sync).unwrap();
                total += out.len();
            }
        });
        let whole: Vec<u8> = pieces.concat();
        let mut c = Compress::new(Compression::new(level), false);
        let mut big = Vec::with_capacity(60 << 20);
        let (_, t2) = cpu_ms(|| {
            c.compress_vec(&whole, &mut big, FlushCompress::Finish).unwrap();
            all = big.len();
        });
        println!("level {level}: pieces {t:.1} ms {total} bytes; whole {t2:.1} ms {all}");
    }
    let (_, t) = cpu_ms(|| {
        let mut c = Compress::new(Compression::new(1), false);
        for _ in &pieces {
            c.reset();
        }
    });
    println!("resets {t:.1}");
    let (_, t) = cpu_ms(|| picture.account.lock().clone());
    println!("account clone {t:.2}");
    let a = picture.account.lock().clone();
    let (_, t) = cpu_ms(|| a.changes_at(goldrush_exporter::fleet::Moment::now()));
    println!("changes_at {t:.2}");
}
