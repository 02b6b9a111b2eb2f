//! Which of several exporters polls a pipeline.

use crate::api::PipelineId;
use crate::settings::whole;

/// This exporter's part of the pipelines: number `index`, counted from 0, of `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shard {
    /// Less than `total`.
    #[serde(deserialize_with = "whole::<0, _, _>")]
    pub index: u32,
    /// At least 1.
    #[serde(deserialize_with = "whole::<1, _, _>")]
    pub total: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, total: 1 }
    }
}

impl Shard {
    /// Whether this exporter polls the pipeline.
    ///
    /// Exporters of different versions must agree on this, so it is fully defined here. FNV-1a (64 bits) of the id is a
    /// few lines and, unlike std's hasher, cannot change. With jump consistent hash (Lamping and Veach, 2014), an
    /// additional exporter takes over only its share of the pipelines, and none moves between the others.
    pub fn owns(self, id: &PipelineId) -> bool {
        jump(fnv1a(id.as_str()), self.total) == u64::from(self.index)
    }
}

/// FNV-1a (64 bits).
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn jump(mut key: u64, buckets: u32) -> u64 {
    let (mut bucket, mut next) = (0, 0);
    while next < u64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<PipelineId> {
        (0..10_000).map(|n| PipelineId::new(&format!("pipe_{n}")).unwrap()).collect()
    }

    fn owner(id: &PipelineId, total: u32) -> u32 {
        let owners: Vec<u32> = (0..total).filter(|&index| Shard { index, total }.owns(id)).collect();
        assert_eq!(owners.len(), 1, "{id} of {total}");
        owners[0]
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors by FNV's authors.
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn owners_stay_the_same_from_version_to_version() {
        for (id, owners) in [
            ("pipe_3e8678c5fc9e48a7bf9879ca729", [0, 1, 1, 1, 1, 69]),
            ("pipe_1", [0, 1, 1, 1, 9, 45]),
            ("pipe_2", [0, 0, 0, 0, 0, 95]),
        ] {
            let id = PipelineId::new(id).unwrap();
            assert_eq!([1, 2, 3, 5, 10, 100].map(|total| owner(&id, total)), owners, "{id}");
        }
    }

    #[test]
    fn one_exporter_more_takes_its_share_and_nothing_else_moves() {
        for total in 1..10 {
            let moved: Vec<u32> = ids()
                .iter()
                .map(|id| (owner(id, total), owner(id, total + 1)))
                .filter_map(|(before, after)| (before != after).then_some(after))
                .collect();
            assert!(moved.iter().all(|&after| after == total), "only to the new one");
            let share = moved.len() as f64 / 10_000.0 * f64::from(total + 1);
            assert!((0.9..1.1).contains(&share), "{} of 10000 moved to the new of {}", moved.len(), total + 1);
        }
    }
}
