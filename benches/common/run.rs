//! A poller without requests, in simulated time: responses arrive after a fixed latency.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use goldrush_exporter::account::{Budget, Intervals, Pace, Schedule};
use goldrush_exporter::api::{PipelineId, Probe};

/// The defaults of the configuration.
pub const INTERVALS: Intervals = Intervals {
    normal: [Duration::from_secs(15), Duration::from_secs(30), Duration::from_secs(30)],
    transitional: Duration::from_secs(5),
    idle: Duration::from_secs(120),
    discovery: Duration::from_secs(60),
};
const LATENCY: Duration = Duration::from_millis(50);

/// One probe of one pipeline.
pub type Turn = (PipelineId, Probe);

pub struct Run {
    start: Instant,
    now: Instant,
    schedule: Schedule,
    budget: Budget,
    in_flight: VecDeque<(Instant, Turn)>,
    /// Pipelines that have nothing to report.
    idle: HashSet<PipelineId>,
}

impl Run {
    pub fn new(pipelines: usize, intervals: Intervals, rate: f64) -> Self {
        let start = Instant::now();
        let mut schedule = Schedule::new(intervals, start);
        (0..pipelines).for_each(|number| schedule.insert(&id(number), start, |_| false));
        Self {
            start,
            now: start,
            schedule,
            budget: Budget::new(rate, fastrand::Rng::with_seed(1), start),
            in_flight: VecDeque::new(),
            idle: HashSet::new(),
        }
    }

    /// These pipelines have nothing to report.
    pub fn rest(&mut self, idle: impl IntoIterator<Item = PipelineId>) {
        self.idle.extend(idle);
    }

    pub fn contains(&self, id: &PipelineId) -> bool {
        self.schedule.contains(id)
    }

    /// Runs until `end`; calls `sent` with each probe and the time at which it is sent.
    pub fn until(&mut self, end: Duration, sent: impl FnMut(&Turn, Duration)) {
        self.until_hinted(end, sent, |_, _| false);
    }

    /// The same; also calls `answered` with each probe that gets a response and the time at which it was sent. It
    /// returns whether the response hints at trouble.
    pub fn until_hinted(
        &mut self,
        end: Duration,
        mut sent: impl FnMut(&Turn, Duration),
        mut answered: impl FnMut(&Turn, Duration) -> bool,
    ) {
        while self.now - self.start < end {
            while self.in_flight.front().is_some_and(|(at, _)| *at + LATENCY <= self.now) {
                let Some((at, turn)) = self.in_flight.pop_front() else { break };
                let (id, probe) = &turn;
                let pace = if self.idle.contains(id) { Pace::Idle } else { Pace::Normal };
                self.schedule.done(id, *probe, pace, at, self.now);
                if answered(&turn, at - self.start) {
                    self.schedule.hasten_others(id, *probe, self.now);
                }
                self.schedule.oldest_due();
            }
            let next_answer = self.in_flight.front().map(|(at, _)| *at + LATENCY);
            let mut wake = self.schedule.next_due(self.now);
            if wake.is_some_and(|due| due <= self.now) {
                match self.budget.take(self.now) {
                    Err(later) => wake = Some(later),
                    Ok(()) => {
                        if let Some(turn) = self.schedule.pop(self.now) {
                            sent(&turn, self.now - self.start);
                            self.in_flight.push_back((self.now, turn));
                        }
                        continue;
                    }
                }
            }
            self.now = [wake, next_answer].into_iter().flatten().min().unwrap_or(self.start + end);
        }
    }
}

pub fn id(number: usize) -> PipelineId {
    PipelineId::new(&format!("pipe_{number:027x}")).unwrap()
}
