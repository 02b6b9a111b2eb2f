//! A scrape of an unchanged and of a changed fleet, against nginx serving the same bytes and against client_golang
//! serving the same series; then Prometheus's own measurement of its scrapes of each.
//! `cargo bench --bench scrape [-- --pipelines 10000] [-- --rounds 5] [-- --scrapes 5]`

mod common;

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{CLASSIC, Folder, OPENMETRICS, Picture, Program, Prometheus, get, is_given, judge, median, ms, option};
use goldrush_exporter::exposition::{Encoding, Exposition, Format, Part};

fn main() {
    let pipelines = option("--pipelines", 10_000);
    if is_given("--serve") {
        return serve(pipelines);
    }
    if is_given("--bare") {
        return serve_bare(Path::new(&option("--bare", String::new())));
    }
    let rounds = option("--rounds", 5);
    let mut exporter = Program::this(&["--serve", "--pipelines", &pipelines.to_string()]);
    let folder = Folder::new();
    let plain = get(&exporter.address, OPENMETRICS, false, true).0;
    let packed = get(&exporter.address, OPENMETRICS, true, true).0;
    println!("{pipelines} pipelines: {} bytes, {} gzipped", plain.len(), packed.len());
    let nginx = common::nginx(folder.path(), &plain, &packed);
    let golang = common::client_golang(folder.path(), &get(&exporter.address, CLASSIC, false, true).0);
    drop((plain, packed));
    let bare = Program::this(&["--bare", folder.path().to_str().unwrap()]);
    // Do not measure the first scrapes, which pay for the setup.
    for peer in [&exporter, &nginx, &bare, &golang] {
        for gzip in [true, false] {
            get(&peer.address, OPENMETRICS, gzip, false);
        }
    }

    for gzip in [true, false] {
        let times = if gzip { 40 } else { 10 };
        let mut results: [Vec<[f64; 2]>; 4] = Default::default();
        for _ in 0..rounds {
            let peers = [(&exporter, times), (&nginx, times), (&bare, times), (&golang, 1)];
            for ((peer, times), results) in peers.into_iter().zip(&mut results) {
                results.push(scrapes(peer, gzip, times));
            }
        }
        let [exporter, nginx, bare, golang] = results.map(Cost::of);
        let name = if gzip { "gzip" } else { "plain" };
        println!("unchanged, {name}: exporter {exporter}, nginx {nginx}, bare {bare}, client_golang {golang}");
        judge(&format!("unchanged, {name}: CPU against nginx"), "x", 1.2, exporter.cpu / nginx.cpu);
        // nginx sends a file without copying it; sending from memory copies it into the kernel.
        let what = format!("unchanged, {name}: CPU against a loop that only writes the bytes");
        judge(&what, "x", 1.2, exporter.cpu / bare.cpu);
        judge(&format!("unchanged, {name}: time against nginx"), "x", 1.2, exporter.time / nginx.time);
    }

    let mut results: [Vec<[f64; 2]>; 4] = Default::default();
    for _ in 0..rounds {
        for (order, results) in ["none", "50", "all"].into_iter().zip(&mut results) {
            std::thread::sleep(Duration::from_millis(1100));
            exporter.tell(order);
            results.push(scrapes(&exporter, true, 1));
        }
        results[3].push(scrapes(&golang, true, 1));
    }
    let [none, some, all, peer] = results.map(Cost::of);
    println!("changed, gzip: nothing {none}, 50 probes {some}, all probes {all}, client_golang {peer}");
    judge("changed (all probes), gzip: CPU against client_golang", "x", 1.0 / 12.0, all.cpu / peer.cpu);
    judge("changed (50 probes), gzip: CPU against client_golang", "x", 1.0 / 12.0, some.cpu / peer.cpu);

    // Twenty concurrent scrapers, after everything has changed.
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    let mut late: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        for (scrapers, results) in [(1, &mut alone), (20, &mut together)] {
            std::thread::sleep(Duration::from_millis(1100));
            exporter.tell("all");
            exporter.tell("late");
            let before = exporter.cpu();
            std::thread::scope(|scope| {
                for _ in 0..scrapers {
                    scope.spawn(|| get(&exporter.address, OPENMETRICS, true, false));
                }
            });
            results.push(ms(exporter.cpu().since(&before)));
            let answer = exporter.tell("late");
            answer.split(' ').zip(&mut late).for_each(|(worst, late)| late.push(worst.parse().unwrap()));
        }
    }
    let (together, alone) = (median(together), median(alone));
    println!("changed, gzip, CPU: 20 scrapers at once {together:.1} ms, one {alone:.1} ms");
    judge(
        "changed, 20 scrapers at once: CPU of each beyond the first",
        "x of one",
        0.1,
        (together / alone - 1.0) / 19.0,
    );
    let [reactor, thread] = late.map(median);
    println!(
        "a task that sleeps is late by {reactor:.1} ms at worst, a thread that sleeps by {thread:.1} ms (medians)"
    );
    judge("reactor blocked while a changed picture is scraped, beyond that", "ms", 10.0, (reactor - thread).max(0.0));
    growth();
    exporter.tell("go on");
    let scrapes = option("--scrapes", 5);
    let durations = [&exporter, &nginx, &golang].map(|peer| Prometheus::scrape("prometheus", &peer.address, scrapes).0);
    let [exporter, nginx, golang] = durations;
    println!("scrape_duration_seconds: exporter {exporter:.2}, nginx {nginx:.2}, client_golang {golang:.2}");
    judge("Prometheus' scrape_duration_seconds against nginx", "x", 1.15, exporter / nginx);
    judge("Prometheus' scrape_duration_seconds against client_golang", "x", 1.0 / 3.0, exporter / golang);
}

/// CPU time of a gzip scrape after every probe of every pipeline had another response.
fn growth() {
    let sizes = [100, 1_000, 10_000, 50_000];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let costs = sizes.map(|pipelines| {
        let picture = Picture::of(pipelines);
        let exposition = Arc::new(Exposition::new(picture.fleet.clone()));
        let costs = (1..4).map(|round| {
            picture.poll_all(round);
            std::thread::sleep(Duration::from_millis(1100));
            common::cpu_ms(|| {
                runtime.block_on(exposition.scrape(Format::OpenMetrics, Encoding::Gzip, &Part::Whole)).unwrap()
            })
            .1
        });
        median(costs.collect())
    });
    println!("CPU of a changed scrape, gzip: {sizes:?} pipelines, {costs:.1?} ms");
    let points = sizes.map(|size| size as f64).into_iter().zip(costs);
    judge("growth of a changed scrape's CPU with pipelines", "exponent", 1.1, common::steepest(points));
}

#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    time: f64,
}

impl Cost {
    fn of(results: Vec<[f64; 2]>) -> Self {
        let column = |column: usize| median(results.iter().map(|result| result[column]).collect());
        Self { cpu: column(0), time: column(1) }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ms CPU {:.2} ms", self.cpu, self.time)
    }
}

/// CPU and time of one scrape, in milliseconds.
fn scrapes(peer: &Program, gzip: bool, times: u32) -> [f64; 2] {
    let (cpu, begin) = (peer.cpu(), Instant::now());
    for _ in 0..times {
        get(&peer.address, OPENMETRICS, gzip, false);
    }
    [peer.cpu().since(&cpu), begin.elapsed()].map(|taken| ms(taken) / f64::from(times))
}

/// The minimum cost of sending from memory: nginx's bytes, in a single write.
fn serve_bare(folder: &Path) {
    let [plain, packed] = ["metrics", "metrics.gz"].map(|name| std::fs::read(folder.join(name)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for mut stream in listener.incoming().flatten() {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request ends too early");
            request.extend_from_slice(&buffer[..read]);
        }
        let gzip = String::from_utf8_lossy(&request).contains("gzip");
        let (encoding, body) = if gzip { ("Content-Encoding: gzip\r\n", &packed) } else { ("", &plain) };
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{encoding}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
    }
}

/// The web server for a fleet that changes on order.
fn serve(pipelines: usize) {
    let picture = Arc::new(Picture::of(pipelines));
    let runtime = picture.serve();
    let late: Arc<[AtomicU64; 2]> = Arc::default();
    // Blocking the reactor delays only the task; a busy machine delays both.
    const NAP: Duration = Duration::from_millis(2);
    let note = |late: &AtomicU64, begin: Instant| {
        late.fetch_max((begin.elapsed().saturating_sub(NAP)).as_micros() as u64, Ordering::Relaxed);
    };
    let noted = late.clone();
    runtime.spawn(async move {
        loop {
            let begin = Instant::now();
            tokio::time::sleep(NAP).await;
            note(&noted[0], begin);
        }
    });
    let noted = late.clone();
    std::thread::spawn(move || {
        loop {
            let begin = Instant::now();
            std::thread::sleep(NAP);
            note(&noted[1], begin);
        }
    });
    let mut round = 0;
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        round += 1;
        match order.as_str() {
            "none" => {}
            "all" => picture.poll_all(round),
            "go on" => {
                let picture = picture.clone();
                std::thread::spawn(move || picture.poll_all_every(Duration::from_secs(1)));
            }
            "late" => {
                let [task, thread] = [&late[0], &late[1]].map(|late| late.swap(0, Ordering::Relaxed) as f64 / 1000.0);
                println!("{task} {thread}");
                continue;
            }
            count => {
                for number in 0..count.parse().unwrap_or(0) {
                    picture.poll(number * 7919 % pipelines, (number % 3) as u8, round);
                }
            }
        }
        println!("done");
        std::io::stdout().flush().unwrap();
    }
}
