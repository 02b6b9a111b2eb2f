//! The progress of a bounded pipeline, as far as its readings show it.

use super::Trend;
use crate::api::ListedPipeline;
use crate::moment::Moment;

/// A backfill that loses at least this part of its blocks has fallen back. Replicas may differ by some blocks.
const FALL: f64 = 0.01;
/// In seconds. A later end is not a useful estimate.
const FORESEEABLE: f64 = 10.0 * 365.0 * 86_400.0;

/// The first and last block of a backfill.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    /// `None` if it starts with the first block that the source has.
    start: Option<f64>,
    stop: f64,
}

impl Range {
    fn of(listed: &ListedPipeline) -> Option<Self> {
        let range = Self { start: listed.start_block, stop: listed.stop_block.filter(|_| listed.is_bounded())? };
        range.start.is_none_or(|start| start <= range.stop).then_some(range)
    }

    fn blocks(&self) -> f64 {
        self.stop - self.start.unwrap_or_default()
    }
}

/// The block height of a bounded pipeline, and its trend.
#[derive(Debug, Clone, Default)]
pub(super) struct Height {
    block: Option<f64>,
    trend: Trend,
    fell_back: Option<FellBack>,
}

/// The pipeline processes blocks again that it had already processed: its worker started over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FellBack {
    /// When this was seen.
    pub at: Moment,
    /// The block that it had reached before.
    pub from_block: f64,
}

/// The progress of a bounded pipeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backfill {
    /// Newest block processed.
    pub block: f64,
    /// The block that it stops at.
    pub stop_block: f64,
    /// The part of its blocks that it has processed, from 0 to 1; `None` if its start block is not known.
    pub ratio: Option<f64>,
    pub blocks_left: f64,
    /// All its blocks; counted from 0 if its start block is not known.
    blocks: f64,
    /// Over the last minutes; `None` if there is too little data, or while it does not advance.
    pub blocks_per_second: Option<f64>,
    /// The last time that it fell back.
    pub fell_back: Option<FellBack>,
}

impl Height {
    /// Adds a reading. A worker that starts or is gone may report zero or a block before the first one. Such a reading
    /// is ignored: the worker has not processed that block, and the pipeline's position is unchanged.
    pub(super) fn observe(&mut self, block: Option<f64>, listed: &ListedPipeline, at: Moment) {
        let start = listed.start_block.unwrap_or_default();
        let Some(block) = block.filter(|block| *block > 0.0 && *block >= start) else { return };
        let lost = self.block.map_or(0.0, |before| before - block);
        if Range::of(listed).is_some_and(|range| lost > 0.0 && lost >= FALL * range.blocks()) {
            self.fell_back = self.block.map(|from_block| FellBack { at, from_block });
            self.trend = Trend::default();
        }
        self.block = Some(block);
        self.trend.observe(Some(block), at);
    }

    /// The progress of the pipeline; `None` if it cannot be known.
    pub(super) fn of(&self, listed: &ListedPipeline) -> Option<Backfill> {
        let (range, block) = (Range::of(listed)?, self.block?);
        let ratio = range.start.map(|start| match range.stop - start {
            0.0 => f64::from(block >= range.stop),
            blocks => ((block - start) / blocks).clamp(0.0, 1.0),
        });
        Some(Backfill {
            block,
            stop_block: range.stop,
            ratio,
            blocks_left: (range.stop - block).max(0.0),
            blocks: range.blocks(),
            blocks_per_second: self.trend.slope().filter(|slope| *slope > 0.0),
            fell_back: self.fell_back,
        })
    }
}

impl Backfill {
    /// Whether at most this share of its blocks is missing. One block always may be: whether the stop block itself is
    /// processed is not documented.
    pub fn is_complete(&self, unprocessed_share: f64) -> bool {
        self.blocks_left <= (unprocessed_share * self.blocks).max(1.0)
    }

    /// Seconds from its reading until it ends at its present pace, if known.
    pub fn seconds_left(&self) -> Option<f64> {
        let seconds = self.blocks_left / self.blocks_per_second?;
        (self.blocks_left > 0.0 && seconds <= FORESEEABLE).then_some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn listed(fields: Value) -> ListedPipeline {
        let mut listed = json!({"id": "a", "execution_mode": "bounded"});
        listed.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(listed).unwrap()
    }

    fn range(start: &str, stop: &str) -> ListedPipeline {
        listed(json!({"execution_start_from": start, "execution_stop_from": stop}))
    }

    /// The state after readings at these seconds.
    fn after(listed: &ListedPipeline, readings: &[(u64, Option<f64>)]) -> Option<Backfill> {
        let start = Moment::now();
        let mut height = Height::default();
        for (seconds, block) in readings {
            height.observe(*block, listed, start.after(Duration::from_secs(*seconds)));
        }
        height.of(listed)
    }

    #[test]
    fn part_and_time_of_a_backfill_that_advances() {
        let backfill = after(&range("1000", "2000"), &[(0, Some(1_100.0)), (100, Some(1_250.0))]).unwrap();
        assert_eq!((backfill.ratio, backfill.blocks_left), (Some(0.25), 750.0));
        assert_eq!((backfill.blocks_per_second, backfill.seconds_left()), (Some(1.5), Some(500.0)));
        assert_eq!(backfill.fell_back, None);
    }

    #[test]
    fn the_pace_is_that_of_the_last_minutes() {
        let slow = (0..60).map(|step| (step * 60, Some(1_000.0 + step as f64)));
        let fast = (60..80).map(|step| (step * 60, Some(1_060.0 + (step - 59) as f64 * 600.0)));
        let backfill = after(&range("1000", "99999"), &slow.chain(fast).collect::<Vec<_>>()).unwrap();
        assert_eq!(backfill.blocks_per_second, Some(10.0));
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        let readings = [(0, Some(1_500.0)), (60, Some(1_560.0))];
        let known = |listed: &ListedPipeline| after(listed, &readings);
        assert_eq!(known(&range("1000", "")), None, "no end");
        assert_eq!(known(&range("2000", "1000")), None, "it ends before it starts");
        let unbounded = listed(json!({"execution_mode": "", "execution_stop_from": "2000"}));
        assert_eq!(known(&unbounded), None, "it has no end, whatever block is set");
        assert_eq!(after(&range("1000", "2000"), &[(0, None), (60, Some(0.0))]), None, "no height");
        assert_eq!(after(&range("1000", "2000"), &[(0, Some(999.0))]), None, "of a block before the first");
        assert_eq!(after(&range("", "2000"), &[(0, Some(0.0))]), None, "of a worker that has not begun");
        let no_start = known(&range("", "2060")).unwrap();
        assert_eq!((no_start.ratio, no_start.seconds_left()), (None, Some(500.0)), "the end can still be foreseen");
        for readings in [
            &[(0, Some(1_500.0))][..],
            &[(0, Some(1_500.0)), (60, Some(1_500.0))],
            &[(0, Some(1_500.0)), (60, Some(1_499.0))],
            &[(0, Some(1_500.0)), (20, Some(1_600.0))],
        ] {
            let still = after(&range("1000", "2000"), readings).unwrap();
            assert_eq!((still.blocks_per_second, still.seconds_left()), (None, None), "{readings:?}");
        }
        let slow = after(&range("", "99999999999"), &[(0, Some(1.0)), (600, Some(2.0))]).unwrap();
        assert_eq!(slow.seconds_left(), None, "in two million years");
        for (stop, seconds) in [("315361060", Some(315_360_000.0)), ("315361061", None)] {
            let ten_years = after(&range("", stop), &[(0, Some(1_000.0)), (60, Some(1_060.0))]).unwrap();
            assert_eq!(ten_years.seconds_left(), seconds);
        }
    }

    #[test]
    fn one_that_is_beyond_its_end_has_nothing_left() {
        let backfill = after(&range("1000", "2000"), &[(0, Some(2_500.0)), (60, Some(2_600.0))]).unwrap();
        assert_eq!((backfill.ratio, backfill.blocks_left, backfill.seconds_left()), (Some(1.0), 0.0, None));
        for (block, ratio) in [(1_999.0, None), (2_000.0, Some(1.0)), (2_001.0, Some(1.0))] {
            let one_block = after(&range("2000", "2000"), &[(0, Some(block))]);
            assert_eq!(one_block.and_then(|backfill| backfill.ratio), ratio, "one block only, at {block}");
        }
        let again = after(&range("2000", "2000"), &[(0, Some(2_000.0)), (60, Some(2_000.0))]).unwrap();
        assert_eq!(again.fell_back, None);
    }

    #[test]
    fn a_worker_that_begins_again_shows_and_its_pace_is_measured_anew() {
        let range = range("1000", "2000");
        let readings = [(0, Some(1_700.0)), (60, Some(1_760.0)), (90, Some(0.0)), (120, Some(1_002.0))];
        let again = after(&range, &readings).unwrap();
        assert_eq!(again.fell_back.map(|fell| fell.from_block), Some(1_760.0));
        assert_eq!((again.ratio, again.blocks_per_second), (Some(0.002), None));
        let readings = [&readings[..], &[(180, Some(1_062.0))]].concat();
        let again = after(&range, &readings).unwrap();
        assert_eq!((again.blocks_per_second, again.fell_back.is_some()), (Some(1.0), true));
        let replicas = after(&range, &[(0, Some(1_500.0)), (30, Some(1_495.0)), (60, Some(1_530.0))]).unwrap();
        assert_eq!((replicas.fell_back, replicas.blocks_per_second), (None, Some(0.5)), "replicas differ a little");
        let hundredth = after(&range, &[(0, Some(1_500.0)), (30, Some(1_490.0))]).unwrap();
        assert_eq!(hundredth.fell_back.map(|fell| fell.from_block), Some(1_500.0));
    }

    #[test]
    fn what_was_read_before_the_end_was_known_counts_as_soon_as_it_is() {
        let start = Moment::now();
        let mut height = Height::default();
        for (seconds, block) in [(0, 1_100.0), (100, 1_250.0)] {
            height.observe(Some(block), &range("1000", ""), start.after(Duration::from_secs(seconds)));
        }
        let backfill = height.of(&range("1000", "2000")).unwrap();
        assert_eq!((backfill.blocks_per_second, backfill.fell_back), (Some(1.5), None));
    }

    #[test]
    fn a_few_blocks_may_be_missing_at_the_end() {
        let complete = |start: &str, block| {
            let backfill = after(&range(start, "200000"), &[(0, Some(block))]).unwrap();
            [0.0, 0.001].map(|share| backfill.is_complete(share))
        };
        assert_eq!(complete("100000", 200_000.0), [true, true]);
        assert_eq!(complete("100000", 199_999.0), [true, true]);
        assert_eq!(complete("100000", 199_900.0), [false, true]);
        assert_eq!(complete("100000", 199_899.0), [false, false]);
        assert_eq!(complete("", 199_800.0), [false, true]);
    }
}
