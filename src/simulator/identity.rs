//! Ids and per-pipeline variation that depend only on the seed.

/// The id of a group's generated pipeline number `index`: `pipe_` and 27 hexadecimal digits.
pub(super) fn pipeline_id(seed: u64, group: usize, index: usize) -> String {
    format!("pipe_{}", digits(seed, group as u64 + 1, index as u64, 27))
}

/// The id of a group: `group_` and 24 hexadecimal digits.
pub(super) fn group_id(seed: u64, group: usize) -> String {
    format!("group_{}", digits(seed, 0, group as u64, 24))
}

/// A number that looks random, but is always the same for a text.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |state, byte| mix(state ^ u64::from(byte)))
}

fn digits(seed: u64, space: u64, index: u64, count: usize) -> String {
    let high = mix(mix(mix(seed) ^ space) ^ index);
    let mut digits = format!("{high:016x}{:016x}", mix(high));
    digits.truncate(count);
    digits
}

/// One step of SplitMix64.
const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_the_documented_shape_and_differ() {
        let ids: HashSet<_> =
            (0..2).flat_map(|group| (0..10_000).map(move |index| pipeline_id(1, group, index))).collect();
        assert_eq!(ids.len(), 20_000);
        assert!(ids.iter().all(|id| id.len() == "pipe_3e8678c5fc9e48a7bf9879ca729".len()));
        assert_ne!(pipeline_id(1, 0, 0), pipeline_id(2, 0, 0));
        assert_eq!(group_id(1, 0).len(), "group_d632592ddbde4a499452d25b".len());
    }
}
