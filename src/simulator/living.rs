//! How the numbers of one pipeline change over time.
//!
//! A chain produces records; the worker reads them into a buffer and writes them to the destination. The three
//! positions (produced, read, written) are straight lines between events, so they are computed only when a request asks
//! for them, and do not depend on earlier requests.

use std::time::Duration;

use super::catalogue::Chain;
use crate::api::Phase;

/// Reading speed of a worker that has to catch up, as a multiple of the chain's speed.
const CATCH_UP: f64 = 3.0;
/// Writing speed, likewise. It exceeds the reading speed, so that the buffer of a healthy pipeline stays empty.
const DRAIN: f64 = 4.0;
/// Writing speed of a pipeline that lags, likewise.
const LAGGING: f64 = 0.4;
/// The part of the records that [`Condition::DroppingRecords`] drops.
const DROPPED: f64 = 0.02;

/// What is wrong with a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Well,
    /// Its destination fails its check with this `last_error`: records pile up in the buffer.
    DestinationDown(&'static str),
    /// The worker died of a permanent error: phase `FAILED`.
    Failed,
    /// The user paused it: phase `PAUSED`. Set automatically if the `intent` is `paused`.
    Paused,
    /// A bounded pipeline that has reached its end: phase `STOPPED`.
    Finished,
    /// A bounded pipeline that processes history; at its last block it is `STOPPED`.
    Backfilling {
        /// The block at which the condition begins.
        from: u64,
        /// The block at which it ends.
        to: u64,
        blocks_per_second: u64,
    },
    /// `RUNNING` and ready, but every number stands still.
    Stalled,
    /// It writes more slowly than the chain grows.
    Lagging,
    /// A new worker starts every `period`, and is `DEPLOYING` at first.
    Restarting {
        /// From one start to the next.
        period: Duration,
        /// How long it is `DEPLOYING` after each start.
        deploying: Duration,
    },
    /// Some records cannot be decoded: `normalization_errors` grows.
    DroppingRecords,
    /// It works, but every field of its metrics is `null`.
    NullMetrics,
    /// It is listed, but belongs to another group: its own endpoints return 403.
    Foreign,
}

impl Condition {
    /// Whether a worker process exists.
    const fn has_worker(self) -> bool {
        !matches!(self, Self::Failed | Self::Paused | Self::Finished)
    }

    /// Reading and writing speed of its worker; `None` if it does not work.
    const fn speeds(self) -> Option<(f64, f64)> {
        match self {
            Self::Failed | Self::Paused | Self::Finished | Self::Stalled => None,
            Self::DestinationDown(_) => Some((CATCH_UP, 0.0)),
            Self::Lagging => Some((CATCH_UP, LAGGING)),
            _ => Some((CATCH_UP, DRAIN)),
        }
    }
}

/// The numbers of a pipeline at one moment (Pipeline REST API reference: metrics).
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) records_consumed: u64,
    pub(super) last_offset: u64,
    pub(super) last_block_height: u64,
    pub(super) pending_records: u64,
    pub(super) processing_delay_ms: f64,
    pub(super) records_per_second: f64,
    pub(super) normalization_errors: u64,
}

/// The state of a pipeline at the last request or event. Times count from the simulator's start.
pub(super) struct Life {
    condition: Condition,
    /// When the condition began.
    since: Duration,
    at: Duration,
    /// Seconds since the simulator's start; negative for a worker that is older.
    worker_started: f64,
    /// Records per second of the chain's feed.
    rate: f64,
    block_seconds: f64,
    /// The block at position `origin`.
    height: f64,
    origin: f64,
    /// How far the chain has come, in records.
    produced: f64,
    /// How far the chain had come when the worker last looked: its delay is relative to this.
    seen: f64,
    read: f64,
    written: f64,
    /// The position at which the worker started.
    read_at_start: f64,
    dropped: f64,
    /// The phase of this pipeline's wobble.
    wobble: f64,
}

impl Life {
    /// A pipeline that has worked well so far; `hash` varies it.
    pub(super) fn new(hash: u64, chain: &Chain, condition: Condition, now: Duration) -> Self {
        let part = |shift: u32| ((hash >> shift) & 0xffff) as f64 / 65_536.0;
        let rate = chain.records_per_second * (0.5 + part(0));
        let age = 3_600.0 + part(16) * 864_000.0; // an hour to ten days
        let position = rate * age * (1.0 + 9.0 * part(32));
        let mut life = Self {
            condition,
            since: now,
            at: now,
            worker_started: now.as_secs_f64() - age,
            rate,
            block_seconds: chain.block_seconds,
            height: chain.height + now.as_secs_f64() / chain.block_seconds,
            origin: position,
            produced: position,
            seen: position,
            read: position,
            written: position,
            read_at_start: position - rate * age,
            dropped: 0.0,
            wobble: part(48) * std::f64::consts::TAU,
        };
        if matches!(condition, Condition::Restarting { .. }) {
            life.start_worker();
        }
        life
    }

    pub(super) const fn condition(&self) -> Condition {
        self.condition
    }

    /// When the worker started, in seconds since the simulator's start.
    pub(super) const fn worker_started(&self) -> f64 {
        self.worker_started
    }

    /// Changes the pipeline's condition at `now`.
    pub(super) fn change(&mut self, now: Duration, condition: Condition) {
        self.advance(now);
        if condition == self.condition {
            return;
        }
        let revived = condition.has_worker() && !self.condition.has_worker();
        let (block, was_backfilling) = (self.block(), matches!(self.condition, Condition::Backfilling { .. }));
        self.condition = condition;
        self.since = self.at;
        if was_backfilling {
            // Processed blocks stay processed.
            self.height += block - self.block();
        }
        if revived || matches!(condition, Condition::Restarting { .. }) {
            self.start_worker();
        }
    }

    /// The worker restarts at `now`.
    pub(super) fn restart(&mut self, now: Duration) {
        self.advance(now);
        self.start_worker();
    }

    /// Advances the time to `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        if let Condition::Restarting { period, deploying } = self.condition {
            let period = period.max(Duration::from_secs(1)); // a shorter one would be no simulation
            while self.at < now {
                let into = self.time_in_period(period);
                let works = into >= deploying;
                let end = if works { period } else { deploying.min(period) };
                let until = self.at + (end - into);
                self.step(until.min(now), works);
                if until <= now && end == period {
                    self.start_worker();
                }
            }
        } else {
            self.step(now, self.phase() == Phase::Running);
        }
    }

    /// The newest processed block at the current time.
    fn block(&self) -> f64 {
        match self.condition {
            Condition::Backfilling { from, to, blocks_per_second } => {
                let blocks = self.at.saturating_sub(self.since).as_secs_f64() * blocks_per_second as f64;
                (from as f64 + blocks).min(to as f64)
            }
            _ => self.height + (self.written - self.origin) / self.rate / self.block_seconds,
        }
    }

    /// The phase at the current time.
    pub(super) fn phase(&self) -> Phase {
        match self.condition {
            Condition::Failed => Phase::Failed,
            Condition::Paused => Phase::Paused,
            Condition::Finished => Phase::Stopped,
            Condition::Backfilling { to, .. } if self.block() >= to as f64 => Phase::Stopped,
            Condition::Restarting { period, deploying }
                if self.time_in_period(period.max(Duration::from_secs(1))) < deploying =>
            {
                Phase::Deploying
            }
            _ => Phase::Running,
        }
    }

    /// The numbers at the current time.
    pub(super) fn reading(&self) -> Reading {
        let at = self.at.as_secs_f64();
        let wobble = 0.06 * (at * 0.37 + self.wobble).sin() + 0.04 * (at * 0.11 + 2.0 * self.wobble).sin();
        let works = self.phase() == Phase::Running && self.condition.speeds().is_some();
        let behind_seconds = (self.seen - self.written).max(0.0) / self.rate;
        let in_flight =
            if self.condition.has_worker() { self.rate * 0.2 * (1.0 + if works { wobble } else { 0.0 }) } else { 0.0 };
        Reading {
            records_consumed: (self.read - self.read_at_start) as u64,
            last_offset: self.written as u64,
            last_block_height: self.block() as u64,
            pending_records: (self.read - self.written + in_flight) as u64,
            processing_delay_ms: round(behind_seconds * 1_000.0 + 850.0 * (1.0 + if works { wobble } else { 0.0 })),
            records_per_second: if works { round(self.rate * self.writing_speed() * (1.0 + wobble)) } else { 0.0 },
            normalization_errors: self.dropped as u64,
        }
    }

    /// The time since the current period of [`Condition::Restarting`] began.
    fn time_in_period(&self, period: Duration) -> Duration {
        let nanos = self.at.saturating_sub(self.since).as_nanos() % period.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The current writing speed, as a multiple of the chain's speed.
    fn writing_speed(&self) -> f64 {
        let (read, write) = self.condition.speeds().unwrap_or((0.0, 0.0));
        if self.written < self.read {
            write
        } else if self.read < self.produced {
            read.min(write)
        } else {
            write.min(1.0)
        }
    }

    /// Buffered records are lost with the old worker; the new one reads them again.
    fn start_worker(&mut self) {
        self.worker_started = self.at.as_secs_f64();
        self.read = self.written;
        self.read_at_start = self.read;
        self.dropped = 0.0;
    }

    fn step(&mut self, until: Duration, works: bool) {
        let seconds = until.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(until);
        self.produced += self.rate * seconds;
        let Some((read, write)) = self.condition.speeds().filter(|_| works) else {
            return;
        };
        let read_before = self.read;
        self.seen = self.produced;
        self.read = (self.read + read * self.rate * seconds).min(self.produced);
        self.written = (self.written + write * self.rate * seconds).min(self.read);
        if self.condition == Condition::DroppingRecords {
            self.dropped += (self.read - read_before) * DROPPED;
        }
    }
}

/// Rounds to one decimal, as in a response.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::chain_of;
    use super::*;

    const DOWN: Condition = Condition::DestinationDown("connection refused");

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn life(condition: Condition) -> Life {
        Life::new(0x1234_5678_9abc_def0, chain_of("base.mainnet"), condition, at(0))
    }

    fn reading(life: &mut Life, seconds: u64) -> Reading {
        life.advance(at(seconds));
        life.reading()
    }

    #[test]
    fn a_well_pipeline_follows_its_chain() {
        let mut life = life(Condition::Well);
        let before = reading(&mut life, 0);
        let after = reading(&mut life, 100);
        assert_eq!(after.last_block_height - before.last_block_height, 50); // 2 s each
        assert!(after.records_consumed > before.records_consumed);
        assert!(after.last_offset > before.last_offset);
        assert!(after.records_per_second > 0.0 && after.processing_delay_ms < 2_000.0);
    }

    #[test]
    fn an_outage_builds_a_backlog_that_drains_afterwards() {
        let mut life = life(Condition::Well);
        let before = reading(&mut life, 10);
        life.change(at(10), DOWN);
        let during = reading(&mut life, 70);
        assert!(during.pending_records > before.pending_records + 1_000);
        assert!(during.processing_delay_ms > 60_000.0);
        assert_eq!(during.last_offset, before.last_offset);
        life.change(at(70), Condition::Well);
        assert!(reading(&mut life, 80).records_per_second > during.records_per_second);
        let after = reading(&mut life, 120);
        assert!(after.pending_records < 100 && after.processing_delay_ms < 2_000.0);
        assert!(after.records_consumed > during.records_consumed); // no restart
    }

    #[test]
    fn numbers_do_not_depend_on_how_often_they_are_asked_for() {
        let (mut often, mut once) = (life(Condition::Well), life(Condition::Well));
        for (until, condition) in [(50, DOWN), (90, Condition::Well), (300, Condition::Lagging), (500, Condition::Well)]
        {
            while often.at < at(until) {
                often.advance(often.at + Duration::from_millis(700));
            }
            often.advance(at(until));
            once.advance(often.at);
            let now = often.at;
            often.change(now, condition);
            once.change(now, condition);
        }
        let (often, once) = (reading(&mut often, 510), reading(&mut once, 510));
        assert!(once.last_offset.abs_diff(often.last_offset) <= 1);
        assert!(once.pending_records.abs_diff(often.pending_records) <= 1);
    }

    #[test]
    fn a_restarting_worker_deploys_and_counts_from_zero() {
        let mut life = life(Condition::Well);
        life.change(at(100), Condition::Restarting { period: at(20), deploying: at(4) });
        assert_eq!(life.phase(), Phase::Deploying);
        assert_eq!(reading(&mut life, 103).records_consumed, 0);
        let running = reading(&mut life, 119);
        assert_eq!(life.phase(), Phase::Running);
        assert!(running.records_consumed > 0);
        let again = reading(&mut life, 120);
        assert_eq!(life.phase(), Phase::Deploying);
        assert_eq!(again.records_consumed, 0);
        assert!(again.last_offset >= running.last_offset);
        life.advance(at(100_007));
        assert_eq!(life.worker_started(), 100_000.0);
    }

    #[test]
    fn impossible_periods_neither_panic_nor_hang() {
        for (period, deploying) in [(0, 0), (0, 100), (10, 10), (10, 1_000)] {
            let mut life = life(Condition::Restarting { period: at(period), deploying: at(deploying) });
            life.advance(at(1_000));
            life.reading();
        }
    }

    #[test]
    fn a_backfill_comes_to_its_end_and_keeps_its_blocks() {
        let backfill = Condition::Backfilling { from: 1_000, to: 2_000, blocks_per_second: 10 };
        let mut life = life(backfill);
        assert_eq!(reading(&mut life, 30).last_block_height, 1_300);
        assert_eq!(life.phase(), Phase::Running);
        life.change(at(40), Condition::Finished);
        assert_eq!((reading(&mut life, 50).last_block_height, life.phase()), (1_400, Phase::Stopped));
        life.change(at(60), backfill);
        assert_eq!(reading(&mut life, 159).last_block_height, 1_990);
        assert_eq!(reading(&mut life, 500).last_block_height, 2_000);
        assert_eq!(life.phase(), Phase::Stopped);
    }

    #[test]
    fn nothing_moves_while_paused_and_a_new_worker_starts_afterwards() {
        let mut life = life(Condition::Well);
        life.change(at(10), Condition::Paused);
        let before = reading(&mut life, 10);
        let after = reading(&mut life, 1_000);
        assert_eq!(before.last_offset, after.last_offset);
        assert_eq!(before.records_consumed, after.records_consumed);
        assert_eq!(after.records_per_second, 0.0);
        assert_eq!(after.processing_delay_ms, before.processing_delay_ms);
        life.change(at(1_000), Condition::Well);
        assert!(reading(&mut life, 1_001).records_consumed < before.records_consumed);
        assert!(reading(&mut life, 1_002).processing_delay_ms > 900_000.0);
    }
}
