//! The fleet's part of a body: pieces that are shared by all who are sent them, and with the body that follows.
//!
//! The pieces of a new body that hold the same text as one of the old body are that piece. So what a change costs is
//! what has changed, compression above all. Pieces are sent in chunks, since each that is sent costs a call of the system
//! or two; a chunk whose pieces have not changed is shared as well, so of a body that a slow scraper holds, only what has
//! changed is in memory twice.

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

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// As one member of gzip (RFC 1952).
    Gzip,
}

/// What a piece's text is known by. Seeded anew in each process, so no text can be made to look like another; that two
/// of them happen to is less likely than an error of the memory that they lie in.
type Fingerprint = (u64, usize);

/// The families of accounts and pipelines, as they were at one moment.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) chunks: Vec<Bytes>,
    /// Parts of the chunks.
    pieces: Vec<Piece>,
    per_chunk: usize,
    /// Of all chunks as they are sent.
    pub(super) bytes: usize,
    /// Of the text.
    pub(super) crc: Crc,
    pub(super) text_bytes: usize,
    pub(super) made: Made,
}

/// A piece of the text.
#[derive(Debug)]
struct Piece {
    owner: Owner,
    fingerprint: Fingerprint,
    /// Of its text, if it is compressed.
    crc: Crc,
    /// As it is sent.
    bytes: Bytes,
}

/// What is sent of a rendering.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) chunks: Vec<Bytes>,
    pub(super) crc: Crc,
}

impl Made {
    /// Whether it shows these families and is cut finely enough.
    pub(super) fn serves(&self, selection: &Arc<Selection>, grain: Grain) -> bool {
        Arc::ptr_eq(&self.selection, selection) && self.grain.covers(grain)
    }
}

impl Rendering {
    /// What is sent of the part; `None` if that is all.
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

    /// The pieces of these owners, with the headings that they need.
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
        // Neighbours are sent together, since each chunk that is sent costs a call of the system or two.
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

/// What a rendering shows.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// When it was begun.
    pub(super) at: Moment,
    /// Of the fleet.
    pub(super) version: u64,
    pub(super) selection: Arc<Selection>,
    pub(super) grain: Grain,
    /// The names of the accounts, by their numbers.
    pub(super) accounts: Vec<String>,
    pub(super) sizes: Sizes,
    /// How long after `at` the fleet looks different although no response came.
    pub(super) good_for: Option<Duration>,
}

/// Of gzip, which makes a piece a seventh of its text: a chunk has some 200 kB. Plain pieces are sent as they are.
const GZIP_PIECES_PER_CHUNK: usize = 32;

/// Makes pieces of texts. Its buffers are used again and again.
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

/// Of 63 MB of 10,000 pipelines, level 1 makes 12.1 MB, level 2 makes 8.7 MB in a third more time, level 6 makes 7.5 MB in
/// three times as much.
const LEVEL: Compression = Compression::new(2);

impl Packer {
    /// What was written with `write`, piece by piece; pieces of `old` that hold the same text are used again.
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

    /// The text as DEFLATE blocks that need nothing of what was before, and end at a whole byte.
    fn deflate(&mut self, text: &[u8]) -> &[u8] {
        self.packed.clear();
        self.deflate.reset();
        deflate(&mut self.deflate, text, &mut self.packed, FlushCompress::Sync);
        &self.packed
    }
}

/// One chunk of these pieces, which become parts of it.
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
    // What cannot be compressed gets a little longer.
    out.reserve(text.len() + text.len() / 8 + 64);
    loop {
        let taken = deflate.total_in() as usize;
        let status = deflate.compress_vec(&text[taken..], out, flush);
        // As zlib has it, all has been written when room is left. An error would be one of this loop; the scraper's
        // check of the sum and the length would find it.
        if out.len() < out.capacity() || status.is_err() {
            return;
        }
        out.reserve(out.capacity());
    }
}

/// What gzip puts before the blocks: nothing is said of a time, a name or a system.
pub(super) const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last blocks of a gzip member whose text has had this sum before, and what has to follow them.
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
