//! The fleet's part of a body, in pieces that are shared between responses, and with the next body.
//!
//! A new body reuses the pieces of earlier ones that have the same text. So the cost of a change is proportional to what
//! has changed, above all for compression. Pieces are sent in chunks, because each send costs one or two system calls.
//! A chunk whose pieces have not changed is shared, too: what two formats have in common is in memory once, and so is
//! what has not changed since a body that a slow scraper still holds.

use std::collections::VecDeque;
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
    content: Content,
}

#[derive(Debug)]
struct Content {
    fingerprint: Fingerprint,
    /// Of its text, if it is compressed.
    crc: Crc,
    /// As sent.
    bytes: Bytes,
    /// What `bytes` are a slice of.
    chunk: Bytes,
}

impl Clone for Content {
    fn clone(&self) -> Self {
        let Self { fingerprint, bytes, chunk, .. } = self;
        // A `Crc` can be added to another one, but not cloned.
        let mut crc = Crc::new();
        crc.combine(&self.crc);
        Self { fingerprint: *fingerprint, crc, bytes: bytes.clone(), chunk: chunk.clone() }
    }
}

/// An earlier rendering, of which pieces are reused. Its memory is released while the new one grows: of two successive
/// renderings, little more than one is in memory.
struct Earlier {
    /// Those that are still of use.
    contents: VecDeque<Content>,
    /// How many of them precede the place of the next piece.
    passed: usize,
}

/// An equal piece is found this many places away. An added pipeline shifts each family that follows by at most one piece.
const REACH: usize = 128;

impl Earlier {
    fn new(rendering: &Rendering) -> Self {
        Self { contents: rendering.pieces.iter().map(|piece| piece.content.clone()).collect(), passed: 0 }
    }

    /// The next piece's content, if it was there before near the same place.
    fn find(&mut self, fingerprint: Fingerprint) -> Option<Content> {
        let is_same = |content: &Content| content.fingerprint == fingerprint;
        // Mostly it is where it was.
        let ahead = self.contents.iter().skip(self.passed).take(REACH).position(is_same);
        let place =
            ahead.map(|ahead| self.passed + ahead).or_else(|| self.contents.iter().take(self.passed).position(is_same));
        let found = place.map(|place| self.contents[place].clone());
        self.passed = (place.unwrap_or(self.passed) + 1).min(self.contents.len());
        let out_of_reach = self.passed.saturating_sub(REACH);
        self.contents.drain(..out_of_reach);
        self.passed -= out_of_reach;
        found
    }
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
                    crc.combine(&piece.content.crc);
                    end += piece.content.bytes.len();
                } else {
                    send(begin, end);
                    begin = end + piece.content.bytes.len();
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
    /// Renders what `write` writes, piece by piece; pieces of `earlier` renderings with the same text are reused.
    pub(super) fn pack(
        &mut self,
        encoding: Encoding,
        earlier: impl IntoIterator<Item = Arc<Rendering>>,
        write: impl FnOnce(&mut dyn FnMut(Owner, &[u8])) -> Made,
    ) -> Rendering {
        let per_chunk = if encoding == Encoding::Gzip { GZIP_PIECES_PER_CHUNK } else { 1 };
        let mut earlier: Vec<Earlier> = earlier.into_iter().map(|rendering| Earlier::new(&rendering)).collect();
        let (mut chunks, mut pieces) = (Vec::new(), Vec::<Piece>::new());
        let (mut bytes, mut text_bytes, mut crc) = (0, 0, Crc::new());
        let made = write(&mut |owner, text| {
            let fingerprint = self.fingerprint(text);
            // All of them advance, not only the first that has it.
            let found = earlier.iter_mut().fold(None, |found, earlier| found.or(earlier.find(fingerprint)));
            let content = found.unwrap_or_else(|| self.content(encoding, fingerprint, text));
            crc.combine(&content.crc);
            bytes += content.bytes.len();
            text_bytes += text.len();
            pieces.push(Piece { owner, content });
            if pieces.len().is_multiple_of(per_chunk) {
                let begin = pieces.len() - per_chunk;
                chunks.push(join(&mut pieces[begin..]));
            }
        });
        let begin = chunks.len() * per_chunk;
        if begin < pieces.len() {
            chunks.push(join(&mut pieces[begin..]));
        }
        Rendering { chunks, pieces, per_chunk, bytes, crc, text_bytes, made }
    }

    fn content(&mut self, encoding: Encoding, fingerprint: Fingerprint, text: &[u8]) -> Content {
        let mut crc = Crc::new();
        let bytes = match encoding {
            Encoding::Gzip => {
                crc.update(text);
                Bytes::copy_from_slice(self.deflate(text))
            }
            Encoding::Identity => Bytes::copy_from_slice(text),
        };
        Content { fingerprint, crc, chunk: bytes.clone(), bytes }
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

/// Joins these pieces into one chunk, of which they become slices, unless they make up a chunk already.
fn join(pieces: &mut [Piece]) -> Bytes {
    let chunk = pieces[0].content.chunk.clone();
    let mut end = chunk.as_ptr();
    let follows = |piece: &Piece| {
        let bytes = &piece.content.bytes;
        let follows = piece.content.chunk.as_ptr() == chunk.as_ptr() && bytes.as_ptr() == end;
        end = end.wrapping_add(bytes.len());
        follows
    };
    if pieces.iter().all(follows) && end == chunk.as_ptr().wrapping_add(chunk.len()) {
        return chunk;
    }
    let mut joined = Vec::with_capacity(pieces.iter().map(|piece| piece.content.bytes.len()).sum());
    pieces.iter().for_each(|piece| joined.extend_from_slice(&piece.content.bytes));
    let joined = Bytes::from(joined);
    let mut begin = 0;
    for Piece { content, .. } in pieces {
        let end = begin + content.bytes.len();
        content.bytes = joined.slice(begin..end);
        content.chunk = joined.clone();
        begin = end;
    }
    joined
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

#[cfg(test)]
mod tests {
    use super::super::writer::{Format, Writer};
    use super::*;

    fn pack(packer: &mut Packer, earlier: Option<&Arc<Rendering>>, texts: &[String]) -> Arc<Rendering> {
        Arc::new(packer.pack(Encoding::Gzip, earlier.cloned(), |take| {
            texts.iter().for_each(|text| take(Owner::Any, text.as_bytes()));
            Made {
                at: Moment::now(),
                version: 0,
                selection: Arc::new(Selection::full()),
                grain: Grain::default(),
                accounts: Vec::new(),
                sizes: Writer::new(Format::Classic, Vec::new(), &mut |_, _| {}).finish().1,
                good_for: None,
            }
        }))
    }

    /// How many chunks are those of the other one.
    fn shared(one: &Rendering, other: &Rendering) -> usize {
        let others: Vec<_> = other.chunks.iter().map(|chunk| chunk.as_ptr()).collect();
        one.chunks.iter().filter(|chunk| others.contains(&chunk.as_ptr())).count()
    }

    #[test]
    fn equal_pieces_are_found_near_their_place_and_what_is_passed_is_released() {
        let texts: Vec<String> = (0..20 * GZIP_PIECES_PER_CHUNK).map(|number| format!("piece {number}\n")).collect();
        let mut packer = Packer::default();
        let first = pack(&mut packer, None, &texts);
        assert_eq!(shared(&pack(&mut packer, Some(&first), &texts), &first), 20);

        let mut changed = texts.clone();
        changed[100] = "changed\n".to_owned();
        assert_eq!(shared(&pack(&mut packer, Some(&first), &changed), &first), 19);

        let mut earlier = Earlier::new(&first);
        let fingerprints: Vec<Fingerprint> = texts.iter().map(|text| packer.fingerprint(text.as_bytes())).collect();
        let unknown = packer.fingerprint(b"unknown\n");
        for (number, fingerprint) in fingerprints.iter().enumerate() {
            // With two more pieces before every third one.
            let more = if number % 3 == 0 { 2 } else { 0 };
            (0..more).for_each(|_| assert!(earlier.find(unknown).is_none()));
            let found = earlier.find(*fingerprint).map(|content| content.fingerprint);
            assert_eq!(found, Some(*fingerprint), "{number}");
            assert!(earlier.contents.len() <= texts.len() - number - 1 + REACH);
        }
        assert!(earlier.contents.len() <= REACH);
    }
}
