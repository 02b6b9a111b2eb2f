//! Parts of the exposition, so that a large one can be scraped as several targets.
//!
//! Each series is about the exporter, an account or a pipeline. `only=exporter` selects those about the exporter.
//! `account=NAME` selects those about that account and its pipelines. `shard=I/N` selects those about accounts whose
//! name, and pipelines whose id, hashes to I of N. So `only=exporter` and all accounts make up the whole, and so do
//! `only=exporter` and all N shards; no series is in two of them. Both parameters together select the intersection.
//!
//! N is a power of two: then a finer division cuts each part of a coarser one in two, and one order of the text fits
//! all.

use crate::config::fnv1a;

/// A part consists of one or more of these buckets.
pub(super) const BUCKETS: usize = 256;

/// Which series a response contains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Part {
    #[default]
    Whole,
    /// Those about the exporter.
    Exporter,
    /// Those about these accounts and pipelines.
    Subjects {
        /// Of these accounts; empty means all.
        accounts: Vec<String>,
        shard: Shard,
    },
}

/// One of `total` divisions of accounts and pipelines. Not related to `shard` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    /// A power of two, at most [`BUCKETS`].
    total: u32,
}

impl Shard {
    const ALL: Self = Self { index: 0, total: 1 };

    /// All shards of a division into `total`, a power of two.
    pub(super) fn all(total: u32) -> impl Iterator<Item = Self> {
        (0..total).map(move |index| Self { index, total })
    }

    fn parse(text: &str) -> Option<Self> {
        let (index, total) = text.split_once('/')?;
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
        let (index, total) = (number(index)?, number(total)?);
        let fits = total.is_power_of_two() && total as usize <= BUCKETS && index < total;
        fits.then_some(Self { index, total })
    }

    pub(super) fn has(self, bucket: Bucket) -> bool {
        bucket.shard(self.total) == self.index
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.total)
    }
}

impl Part {
    /// The part that the parameters of a request select.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn of_parameters<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let (mut accounts, mut shard, mut only) = (Vec::new(), None, None);
        for (name, value) in parameters {
            match name {
                "account" => accounts.push(value.to_owned()),
                "shard" if shard.is_some() => return Err("shard: expected at most once".to_owned()),
                "shard" => {
                    let expected = || {
                        format!(
                            "shard: expected I/N, where N is a power of two up to {BUCKETS} and I is below N, found {value:?}"
                        )
                    };
                    shard = Some(Shard::parse(value).ok_or_else(expected)?);
                }
                "only" if value == "exporter" => only = Some(Self::Exporter),
                "only" => return Err(format!("only: expected exporter, found {value:?}")),
                _ => return Err(format!("{name:?}: unknown parameter (expected account, shard or only)")),
            }
        }
        match (only, accounts.is_empty() && shard.is_none()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err("only: cannot be combined with account and shard".to_owned()),
            (None, true) => Ok(Self::Whole),
            (None, false) => Ok(Self::Subjects { accounts, shard: shard.unwrap_or(Shard::ALL) }),
        }
    }

    /// Parts that make up the whole: the whole itself, or the exporter and this many shards.
    pub(super) fn all(shards: u32) -> Vec<Self> {
        if shards == 1 {
            return vec![Self::Whole];
        }
        let subjects = |shard| Self::Subjects { accounts: Vec::new(), shard };
        [Self::Exporter].into_iter().chain(Shard::all(shards).map(subjects)).collect()
    }

    /// The parameter that selects it, if it is one that `all` returns.
    pub fn parameter(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Whole => None,
            Self::Exporter => Some(("only", "exporter".to_owned())),
            Self::Subjects { shard, .. } => Some(("shard", shard.to_string())),
        }
    }

    /// The accounts that it names.
    pub fn accounts(&self) -> &[String] {
        match self {
            Self::Subjects { accounts, .. } => accounts,
            Self::Whole | Self::Exporter => &[],
        }
    }

    /// How finely a text must be cut so that this part can be taken from it.
    pub(super) fn grain(&self) -> Grain {
        match self {
            Self::Whole => Grain::default(),
            Self::Exporter => Grain { is_cut: true, ..Grain::default() },
            Self::Subjects { accounts, shard } => {
                Grain { is_cut: true, by_account: !accounts.is_empty(), shards: shard.total }
            }
        }
    }
}

/// Decides which shard a subject is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket(u8);

impl Bucket {
    /// The bucket of a pipeline's id, or of an account's name.
    pub(super) fn of(text: &str) -> Self {
        // The finalizer of SplitMix64 (Steele, Lea, Flood, 2014) makes the result independent of `shard` in the
        // configuration, which uses the same hash: otherwise an exporter's own pipelines would fill only some parts.
        let mut hash = fnv1a(text).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((hash >> 56) as u8)
    }

    pub(super) fn index(self) -> usize {
        self.0.into()
    }

    /// The index of its shard.
    fn shard(self, total: u32) -> u32 {
        u32::from(self.0) * total / BUCKETS as u32
    }
}

/// How finely a text is cut into pieces. Cutting costs some compression, so it is only done if parts are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grain {
    /// Whether each piece belongs to one family and one owner.
    pub(super) is_cut: bool,
    /// Whether owners are single accounts.
    pub(super) by_account: bool,
    /// The number of shards; a power of two.
    pub(super) shards: u32,
}

impl Default for Grain {
    fn default() -> Self {
        Self { is_cut: false, by_account: false, shards: 1 }
    }
}

impl Grain {
    /// The finer of both in each respect.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            is_cut: self.is_cut || other.is_cut,
            by_account: self.by_account || other.by_account,
            shards: self.shards.max(other.shards),
        }
    }

    pub(super) fn covers(self, other: Self) -> bool {
        self.and(other) == self
    }

    /// The owner of text about an account or a pipeline.
    pub(super) fn owner(self, Place { account, bucket }: Place) -> Owner {
        if !self.is_cut {
            return Owner::Any;
        }
        // All buckets of one shard have the same owner.
        let first = bucket.shard(self.shards) * BUCKETS as u32 / self.shards;
        Owner::Subjects { account: self.by_account.then_some(account), bucket: Bucket(first as u8) }
    }
}

/// The account and the bucket of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The index of the account.
    pub(super) account: usize,
    pub(super) bucket: Bucket,
}

/// What a piece of text is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// Anything: the text is not cut.
    Any,
    /// The heading of a family.
    Heading,
    Exporter,
    Subjects {
        account: Option<usize>,
        /// The first bucket of its shard.
        bucket: Bucket,
    },
}

/// The number of shards needed so that no part exceeds `most` bytes. It does not shrink if it would soon grow again.
/// `buckets` are the bytes about accounts and pipelines, `whole` is everything.
pub(super) fn division(before: u32, most: usize, whole: usize, buckets: &[usize; BUCKETS]) -> u32 {
    // Each part has its own headings, and at most these.
    let rest = whole.saturating_sub(buckets.iter().sum());
    let largest = |shards: u32| match shards {
        1 => whole,
        _ => rest + buckets.chunks(BUCKETS / shards as usize).map(|shard| shard.iter().sum()).max().unwrap_or(0),
    };
    let least = |from: u32, most: usize| {
        let mut counts = (0..=BUCKETS.ilog2()).map(|exponent| 1 << exponent).filter(|shards| *shards >= from);
        counts.find(|shards| largest(*shards) <= most).unwrap_or(BUCKETS as u32)
    };
    let needed = least(1, most);
    if needed >= before { needed } else { least(needed, most / 4 * 3).min(before) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PipelineId;
    use crate::config;

    fn part(query: &str) -> Result<Part, String> {
        Part::of_parameters(query.split('&').filter_map(|pair| pair.split_once('=')))
    }

    #[test]
    fn parameters() {
        let subjects = |accounts: &[&str], index, total| {
            let accounts = accounts.iter().map(|name| (*name).to_owned()).collect();
            Ok(Part::Subjects { accounts, shard: Shard { index, total } })
        };
        assert_eq!(part(""), Ok(Part::Whole));
        assert_eq!(part("only=exporter"), Ok(Part::Exporter));
        assert_eq!(part("account=a&account=b"), subjects(&["a", "b"], 0, 1));
        assert_eq!(part("shard=255/256"), subjects(&[], 255, 256));
        assert_eq!(part("account=a&shard=1/2"), subjects(&["a"], 1, 2));
        for (query, expected) in [
            ("shard=2/2", "shard: expected I/N, where N is a power of two up to 256 and I is below N, found \"2/2\""),
            ("shard=0/3", "shard: expected I/N"),
            ("shard=0/512", "shard: expected I/N"),
            ("shard=0/0", "shard: expected I/N"),
            ("shard=-1/2", "shard: expected I/N"),
            ("shard=+1/2", "shard: expected I/N"),
            ("shard=1", "shard: expected I/N"),
            ("shard=0/1&shard=0/1", "shard: expected at most once"),
            ("only=pipelines", "only: expected exporter, found \"pipelines\""),
            ("only=exporter&shard=0/1", "only: cannot be combined with account and shard"),
            ("acount=a", "\"acount\": unknown parameter (expected account, shard or only)"),
        ] {
            let found = part(query).unwrap_err();
            assert!(found.starts_with(expected), "{query}: {found}");
        }
    }

    #[test]
    fn shards_are_even_also_within_one_exporter_of_several() {
        let ids: Vec<String> = (0..40_000).map(|number| format!("pipe_{number}")).collect();
        for total in [1, 2, 3, 8] {
            let is_polled = |id: &&String| config::Shard { index: 0, total }.owns(&PipelineId::new(id).unwrap());
            let polled: Vec<&String> = ids.iter().filter(is_polled).collect();
            for parts in [2, 8, 16] {
                for shard in Shard::all(parts) {
                    let share = polled.iter().filter(|id| shard.has(Bucket::of(id))).count() as f64;
                    let even = polled.len() as f64 / f64::from(parts);
                    assert!(
                        (0.75..1.25).contains(&(share / even)),
                        "{shard} of exporter 0/{total}: {share}, not {even}"
                    );
                }
            }
        }
    }

    #[test]
    fn shards_are_added_at_once_and_taken_away_late() {
        let even = |bytes: usize| Box::new([bytes; BUCKETS]);
        let of = |before, bytes: usize| division(before, 1_000, bytes * BUCKETS + 10, &even(bytes));
        assert_eq!([0, 3, 4, 8, 16, 100, 1_000].map(|bytes| of(1, bytes)), [1, 1, 2, 4, 8, 32, 256]);
        assert_eq!(of(2, 4), 2);
        assert_eq!(of(2, 3), 2, "768 bytes would fit, but not with room to grow");
        assert_eq!(of(2, 2), 1);
        assert_eq!(of(64, 2), 1);
        let mut uneven = even(1);
        uneven[17] = 900;
        assert_eq!(division(1, 1_000, 1_190, &uneven), 4, "the largest counts");
        let mut in_one = even(0);
        in_one[17] = 900;
        assert_eq!(division(2, 1_000, 1_000, &in_one), 2, "more parts would not be smaller");
    }

    #[test]
    fn a_finer_division_cuts_the_parts_of_a_coarser_one() {
        for bucket in (0..=255).map(Bucket) {
            for total in [1, 2, 4, 8, 16, 32, 64, 128] {
                assert_eq!(bucket.shard(2 * total) / 2, bucket.shard(total));
            }
        }
    }

    #[test]
    fn shards_stay_the_same_from_version_to_version() {
        let buckets = ["pipe_3e8678c5fc9e48a7bf9879ca729", "pipe_1", "prod", ""].map(|text| Bucket::of(text).0);
        assert_eq!(buckets, [232, 34, 20, 195]);
    }
}
