//! The fleet's part of a body, in pieces that are shared between responses, and with the next body.
//!
//! A new body reuses the pieces of the old one that have the same text. So the cost of a change is proportional to what
//! has changed, above all for compression. Pieces are sent in chunks, because each send costs one or two system calls.
//! A chunk whose pieces have not changed is shared, too, so if a slow scraper holds an old body, only the changed
//! chunks are in memory twice.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use foldhash::quality::RandomState;

use super::part::{Grain, Owner, Part};
use super::selection::Selection;
use super::writer::Sizes;
use crate::moment::Moment;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    /// As one gzip member (RFC 1952).
    Gzip,
}

/// Identifies a piece's text. The hash is seeded per process, so no text can be crafted to collide; an accidental
/// collision is less likely than a memory error.
type Fingerprint = (u64, usize);

/// The families of accounts and pipelines at one moment.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) chunks: Vec<Bytes>,
    /// Slices of the chunks.
    pieces: Vec<Piece>,
    per_chunk: usize,
    /// Of all chunks as sent.
    pub(super) bytes: usize,
    /// Of the text.
    pub(super) crc: Crc,
    pub(super) text_bytes: usize,
    pub(super) made: Made,
}

#[derive(Debug)]
struct Piece {
    owner: Owner,
    fingerprint: Fingerprint,
    /// Of its text, if it is compressed.
    crc: Crc,
    /// As sent.
    bytes: Bytes,
}

/// The part of a rendering that is sent.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) chunks: Vec<Bytes>,
    pub(super) crc: Crc,
}

impl Made {
    /// Whether it contains these families and is cut finely enough.
    pub(super) fn serves(&self, selection: &Arc<Selection>, grain: Grain) -> bool {
        Arc::ptr_eq(&self.selection, selection) && self.grain.covers(grain)
    }
}

impl Rendering {
    /// What to send for the part; `None` means everything.
    pub(super) fn part(&self, part: &Part) -> Option<Selected> {
        match part {
            Part::Whole => None,
            Part::Exporter => Some(self.select(|owner| owner == Owner::Exporter)),
            Part::Subjects { accounts, shard } => {
                let is_named: Vec<bool> =
                    self.made.accounts.iter().map(|name| accounts.is_empty() || accounts.contains(name)).collect();
                Some(self.select(|owner| match owner {
                    Owner::Subjects { account, bucket } => {
                        shard.has(bucket) && account.is_none_or(|number| is_named[number])
                    }
                    _ => false,
                }))
            }
        }
    }

    /// The pieces of these owners, with their headings.
    fn select(&self, is_selected: impl Fn(Owner) -> bool) -> Selected {
        let (mut chunks, mut crc) = (Vec::new(), Crc::new());
        let mut take = vec![false; self.pieces.len()];
        let mut heading = None;
        for (number, piece) in self.pieces.iter().enumerate() {
            if piece.owner == Owner::Heading {
                heading = Some(number);
            } else if is_selected(piece.owner) {
                heading.take().into_iter().chain([number]).for_each(|number| take[number] = true);
            }
        }
        // Adjacent pieces are sent together, because each send costs one or two system calls.
        let both = self.pieces.chunks(self.per_chunk).zip(take.chunks(self.per_chunk));
        for ((pieces, take), chunk) in both.zip(&self.chunks) {
            let (mut begin, mut end) = (0, 0);
            let mut send = |begin: usize, end: usize| (begin < end).then(|| chunks.push(chunk.slice(begin..end)));
            for (piece, take) in pieces.iter().zip(take) {
                if *take {
                    crc.combine(&piece.crc);
                    end += piece.bytes.len();
                } else {
                    send(begin, end);
                    begin = end + piece.bytes.len();
                    end = begin;
                }
            }
            send(begin, end);
        }
        Selected { chunks, crc }
    }
}

/// What a rendering contains.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// When rendering began.
    pub(super) at: Moment,
    /// The version of the fleet.
    pub(super) version: u64,
    pub(super) selection: Arc<Selection>,
    pub(super) grain: Grain,
    /// The names of the accounts, by their indexes.
    pub(super) accounts: Vec<String>,
    pub(super) sizes: Sizes,
    /// How long after `at` the fleet looks different even without a response.
    pub(super) good_for: Option<Duration>,
}

/// gzip reduces a piece to a seventh of its text, so a chunk has some 200 kB. Plain pieces are sent separately.
const GZIP_PIECES_PER_CHUNK: usize = 32;

/// Turns texts into pieces. Its buffers are reused.
pub(super) struct Packer {
    hasher: RandomState,
    deflate: Compress,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self { hasher: RandomState::default(), deflate: Compress::new(LEVEL, false), packed: Vec::new() }
    }
}

/// For the 63 MB of 10,000 pipelines: level 1 yields 12.1 MB, level 2 yields 8.7 MB in a third more time, level 6
/// yields 7.5 MB in three times the time.
const LEVEL: Compression = Compression::new(2);

impl Packer {
    /// Renders what `write` writes, piece by piece; pieces of `old` with the same text are reused.
    pub(super) fn pack(
        &mut self,
        encoding: Encoding,
        old: Option<&Rendering>,
        write: impl FnOnce(&mut dyn FnMut(Owner, &[u8])) -> Made,
    ) -> Rendering {
        let per_chunk = if encoding == Encoding::Gzip { GZIP_PIECES_PER_CHUNK } else { 1 };
        let (old_chunks, old_pieces) = old.map_or((&[][..], &[][..]), |old| (&old.chunks[..], &old.pieces[..]));
        let known: HashMap<Fingerprint, &Piece, RandomState> =
            old_pieces.iter().map(|piece| (piece.fingerprint, piece)).collect();
        let mut chunks = Vec::with_capacity(old_chunks.len());
        let mut pieces: Vec<Piece> = Vec::with_capacity(old_pieces.len());
        let (mut bytes, mut text_bytes, mut crc) = (0, 0, Crc::new());
        let mut seal = |pieces: &mut [Piece], number: usize| {
            let before = old_pieces.chunks(per_chunk).nth(number).unwrap_or_default();
            let same = before.iter().map(|old| old.fingerprint).eq(pieces.iter().map(|new| new.fingerprint));
            chunks.push(if same { old_chunks[number].clone() } else { join(pieces) });
        };
        let made = write(&mut |owner, text| {
            let fingerprint = self.fingerprint(text);
            let mut piece = Piece { owner, fingerprint, crc: Crc::new(), bytes: Bytes::new() };
            match (known.get(&fingerprint), encoding) {
                (Some(old), _) => {
                    piece.crc.combine(&old.crc);
                    piece.bytes = old.bytes.clone();
                }
                (None, Encoding::Gzip) => {
                    piece.crc.update(text);
                    piece.bytes = Bytes::copy_from_slice(self.deflate(text));
                }
                (None, Encoding::Identity) => piece.bytes = Bytes::copy_from_slice(text),
            }
            crc.combine(&piece.crc);
            bytes += piece.bytes.len();
            text_bytes += text.len();
            pieces.push(piece);
            if pieces.len().is_multiple_of(per_chunk) {
                let begin = pieces.len() - per_chunk;
                seal(&mut pieces[begin..], begin / per_chunk);
            }
        });
        let begin = pieces.len() / per_chunk * per_chunk;
        if begin < pieces.len() {
            seal(&mut pieces[begin..], begin / per_chunk);
        }
        Rendering { chunks, pieces, per_chunk, bytes, crc, text_bytes, made }
    }

    fn fingerprint(&self, text: &[u8]) -> Fingerprint {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        (hasher.finish(), text.len())
    }

    /// The text as DEFLATE blocks that do not depend on earlier ones, and that end at a byte boundary.
    fn deflate(&mut self, text: &[u8]) -> &[u8] {
        self.packed.clear();
        self.deflate.reset();
        deflate(&mut self.deflate, text, &mut self.packed, FlushCompress::Sync);
        &self.packed
    }
}

/// Joins these pieces into one chunk, of which they become slices.
fn join(pieces: &mut [Piece]) -> Bytes {
    if let [piece] = pieces {
        return piece.bytes.clone();
    }
    let mut chunk = Vec::with_capacity(pieces.iter().map(|piece| piece.bytes.len()).sum());
    pieces.iter().for_each(|piece| chunk.extend_from_slice(&piece.bytes));
    let chunk = Bytes::from(chunk);
    let mut begin = 0;
    for piece in pieces {
        let end = begin + piece.bytes.len();
        piece.bytes = chunk.slice(begin..end);
        begin = end;
    }
    chunk
}

fn deflate(deflate: &mut Compress, text: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    // Incompressible data grows slightly.
    out.reserve(text.len() + text.len() / 8 + 64);
    loop {
        let taken = deflate.total_in() as usize;
        let status = deflate.compress_vec(&text[taken..], out, flush);
        // According to zlib, everything has been written if there is room left. An error would be a bug in this loop;
        // the scraper's check of the sum and the length would find it.
        if out.len() < out.capacity() || status.is_err() {
            return;
        }
        out.reserve(out.capacity());
    }
}

/// The gzip header, without a time, a name or a system.
pub(super) const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last blocks and the trailer of a gzip member; `before` is the checksum of the preceding text.
pub(super) fn gzip_end(before: &Crc, text: &[u8]) -> Bytes {
    let mut end = Vec::new();
    deflate(&mut Compress::new(LEVEL, false), text, &mut end, FlushCompress::Finish);
    let mut crc = Crc::new();
    crc.combine(before);
    crc.update(text);
    end.extend_from_slice(&crc.sum().to_le_bytes());
    end.extend_from_slice(&crc.amount().to_le_bytes());
    end.into()
}
