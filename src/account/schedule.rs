//! What is due next: every probe of every pipeline, spread evenly over its interval.
//!
//! Time here is virtual. It runs with the clock while every probe is sent on time, and stops while the most overdue
//! probe has to wait (for the budget, for a free request, for the end of a pause). So under any overload all intervals
//! stretch alike and no probe starves, and after a pause the schedule continues where it stopped, instead of sending
//! everything that has piled up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use crate::api::{PipelineId, Probe};
use crate::config;

/// How late a probe may be before virtual time waits for it: enough for timers and short bursts.
const SLACK: Duration = Duration::from_secs(1);
/// The part of a busy schedule's turns that go to extra ones. Up to the same amount again may accumulate in a round, so
/// that no probe waits more than a tenth longer.
const EXTRA_SHARE: f64 = 1.0 / 20.0;
/// Any number of its multiples, modulo 1, are spread evenly.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At the interval of the probe.
    Normal,
    /// At `poll.transitional`: the response will change soon.
    Transitional,
    /// At `poll.idle`: the pipeline has nothing to report.
    Idle,
    /// At `poll.discovery`, or at the interval of the probe if that is longer: the API refuses this probe.
    Refused,
}

#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    /// For [`Pace::Normal`].
    pub normal: [Duration; Probe::COUNT],
    /// For [`Pace::Transitional`].
    pub transitional: Duration,
    /// For [`Pace::Idle`], unless a probe's own interval is longer.
    pub idle: Duration,
    /// For [`Pace::Refused`], unless a probe's own interval is longer.
    pub discovery: Duration,
}

impl From<&config::Poll> for Intervals {
    fn from(poll: &config::Poll) -> Self {
        let normal = Probe::ALL_VALUES.map(|probe| match probe {
            Probe::Status => poll.status,
            Probe::Metrics => poll.metrics,
            Probe::DestinationHealth => poll.destination_health,
        });
        Self { normal, transitional: poll.transitional, idle: poll.idle_pace(), discovery: poll.discovery }
    }
}

impl Intervals {
    fn of(&self, probe: Probe, pace: Pace) -> Duration {
        match pace {
            Pace::Normal => self.normal[probe as usize],
            Pace::Transitional => self.transitional,
            Pace::Idle => self.idle.max(self.normal[probe as usize]),
            Pace::Refused => self.discovery.max(self.normal[probe as usize]),
        }
    }
}

/// Virtual time since the start.
type Virtual = Duration;

/// The schedule of one probe.
#[derive(Debug)]
struct Slot {
    /// Queue entries with another ticket are void; [`ON_ITS_WAY`] while there is no valid one.
    ticket: u64,
    due: Virtual,
    /// Has had an extra turn since its last regular one, or has one queued.
    hastened: bool,
    /// When it would be sent without any delay.
    wanted: Instant,
    answered: bool,
    /// The position of its turns within the interval, from 0 to 1.
    phase: f64,
    pace: Pace,
}

/// The ticket of a probe that has been taken and has not come back.
const ON_ITS_WAY: u64 = 0;

/// A pipeline with its probes, in the order of [`Probe::ALL`].
#[derive(Debug)]
struct Pipeline {
    id: PipelineId,
    slots: [Slot; Probe::COUNT],
}

/// Ordered by due time, then by arrival. Small, because the queue moves entries often.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    due: Virtual,
    ticket: u64,
    index: u32,
    probe: Probe,
}

/// All probes of an account.
#[derive(Debug)]
pub struct Schedule {
    intervals: Intervals,
    start: Instant,
    /// How long virtual time has been stopped in total.
    frozen: Duration,
    queue: BinaryHeap<Reverse<Entry>>,
    /// By index, because queue entries refer to indexes.
    pipelines: Vec<Option<Pipeline>>,
    indexes: HashMap<PipelineId, u32>,
    free: Vec<u32>,
    tickets: u64,
    arrivals: u64,
    /// Probes that never got a response.
    unanswered: usize,
    /// Sum of all probes' frequencies, in requests per second.
    required: f64,
    /// Accumulated extra turns, for times when other probes wait.
    extra_turns: f64,
}

impl Schedule {
    pub fn new(intervals: Intervals, now: Instant) -> Self {
        Self {
            intervals,
            start: now,
            frozen: Duration::ZERO,
            queue: BinaryHeap::new(),
            pipelines: Vec::new(),
            indexes: HashMap::new(),
            free: Vec::new(),
            tickets: 0,
            arrivals: 0,
            unanswered: 0,
            required: 0.0,
            extra_turns: 0.0,
        }
    }

    /// The number of pipelines.
    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    pub fn contains(&self, id: &PipelineId) -> bool {
        self.indexes.contains_key(id)
    }

    /// Requests per second that the intervals need, not counting the list.
    pub fn required(&self) -> f64 {
        self.required
    }

    /// How many probes never got a response.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Whether this probe ever got a response.
    pub fn is_answered(&mut self, id: &PipelineId, probe: Probe) -> bool {
        self.find(id, probe).is_some_and(|(_, slot)| slot.answered)
    }

    /// Adds a pipeline. Its probes are due at once, except those that are in flight.
    pub fn insert(&mut self, id: &PipelineId, now: Instant, in_flight: impl Fn(Probe) -> bool) {
        if self.contains(id) {
            return;
        }
        let due = self.virtual_time(now);
        let index = self.free.pop().unwrap_or_else(|| {
            self.pipelines.push(None);
            (self.pipelines.len() - 1) as u32
        });
        let slots = Probe::ALL_VALUES.map(|probe| {
            let phase = (self.arrivals as f64 * GOLDEN_RATIO).fract();
            self.arrivals += 1;
            self.required += self.frequency(probe, Pace::Normal);
            Slot { ticket: ON_ITS_WAY, due, hastened: false, wanted: now, answered: false, phase, pace: Pace::Normal }
        });
        self.unanswered += slots.len();
        self.pipelines[index as usize] = Some(Pipeline { id: id.clone(), slots });
        self.indexes.insert(id.clone(), index);
        for &probe in Probe::ALL.iter().filter(|probe| !in_flight(**probe)) {
            self.enqueue(index, probe, due);
        }
    }

    pub fn remove(&mut self, id: &PipelineId) {
        let Some(index) = self.indexes.remove(id) else { return };
        let Some(pipeline) = self.pipelines[index as usize].take() else { return };
        self.free.push(index);
        for (slot, probe) in pipeline.slots.iter().zip(Probe::ALL) {
            self.required -= self.frequency(*probe, slot.pace);
            self.unanswered -= usize::from(!slot.answered);
        }
        if self.is_empty() {
            self.required = 0.0;
        }
    }

    /// When the next probe is due; at or before `now` if one is due already.
    pub fn next_due(&mut self, now: Instant) -> Option<Instant> {
        let time = self.virtual_time(now);
        let due = self.queue.peek()?.0.due;
        Some(now + due.saturating_sub(time))
    }

    /// When the next probe would be sent without any delay: in the past if it is overdue.
    pub fn oldest_due(&mut self) -> Option<Instant> {
        self.drop_void();
        let Reverse(entry) = self.queue.peek()?;
        let pipeline = self.pipelines[entry.index as usize].as_ref()?;
        Some(pipeline.slots[entry.probe as usize].wanted)
    }

    /// Takes the next probe, if one is due. Return it with [`done`](Self::done) or [`again`](Self::again).
    pub fn pop(&mut self, now: Instant) -> Option<(PipelineId, Probe)> {
        if self.next_due(now)? > now {
            return None;
        }
        let Reverse(entry) = self.queue.pop()?;
        let pipeline = self.pipelines[entry.index as usize].as_mut()?;
        pipeline.slots[entry.probe as usize].ticket = ON_ITS_WAY;
        Some((pipeline.id.clone(), entry.probe))
    }

    /// A probe that was sent at `sent` got a response: its next turn follows one interval after this one.
    pub fn done(&mut self, id: &PipelineId, probe: Probe, pace: Pace, sent: Instant, now: Instant) {
        let time = self.virtual_time(now);
        let interval = self.intervals.of(probe, pace);
        let Some((index, slot)) = self.find(id, probe) else { return };
        let first = !slot.answered;
        // All first turns come at once, so the second ones are spread.
        let wait = if first { interval.mul_f64(0.5 + slot.phase) } else { interval };
        // An extra turn, or a retry with another key: the regular turn does not move.
        let was_extra = slot.due > time;
        if was_extra {
            slot.due = slot.due.min(time + wait);
            slot.wanted = now + (slot.due - time);
        } else {
            slot.due = (slot.due + wait).max(time);
            slot.wanted = sent + wait;
            slot.hastened = false;
        }
        let due = slot.due;
        let old_pace = std::mem::replace(&mut slot.pace, pace);
        slot.answered = true;
        self.enqueue(index, probe, due);
        self.required += self.frequency(probe, pace) - self.frequency(probe, old_pace);
        self.unanswered -= usize::from(first);
        if !was_extra {
            // Enough for one hint, however small the fleet.
            let most = (EXTRA_SHARE * (Probe::COUNT * self.len()) as f64).max((Probe::COUNT - 1) as f64);
            self.extra_turns = (self.extra_turns + EXTRA_SHARE).min(most);
        }
    }

    /// A probe got no response that counts: it is due again at once.
    pub fn again(&mut self, id: &PipelineId, probe: Probe, now: Instant) {
        let due = self.virtual_time(now);
        let Some((index, slot)) = self.find(id, probe) else { return };
        slot.due = due;
        self.enqueue(index, probe, due);
    }

    /// A response hints at trouble: the pipeline's other probes get an extra turn now, after overdue probes. Their
    /// regular turns do not move, and no probe gets a second extra turn before its regular one. While other probes
    /// wait, extra turns come only from the accumulated ones: however many pipelines look suspicious, none starves.
    pub fn hasten_others(&mut self, id: &PipelineId, than: Probe, now: Instant) {
        let time = self.virtual_time(now);
        let others_wait = self.queue.peek().is_some_and(|Reverse(entry)| entry.due < time);
        let intervals = self.intervals;
        for &probe in Probe::ALL {
            if others_wait && self.extra_turns < 1.0 {
                return;
            }
            let Some((index, slot)) = self.find(id, probe) else { return };
            let own = slot.pace != Pace::Refused && !slot.hastened;
            // A probe whose turn comes soon anyway can wait for it. One in flight, or without a response yet, has had its
            // turn, or has one already.
            let soon = time + intervals.of(probe, slot.pace) / 8;
            if probe == than || !own || slot.due <= soon {
                continue;
            }
            slot.hastened = true;
            slot.wanted = now;
            self.extra_turns -= f64::from(others_wait);
            self.enqueue(index, probe, time);
        }
    }

    /// A pipeline has something to report again: its probes that were at [`Pace::Idle`] are due now.
    pub fn wake(&mut self, id: &PipelineId, now: Instant) {
        let due = self.virtual_time(now);
        for &probe in Probe::ALL {
            let Some((index, slot)) = self.find(id, probe) else { return };
            // A probe in flight returns the current state; one that is already due keeps its turn.
            if slot.pace != Pace::Idle || slot.ticket == ON_ITS_WAY || slot.due <= due {
                continue;
            }
            slot.due = due;
            slot.wanted = now;
            self.enqueue(index, probe, due);
        }
    }

    fn find(&mut self, id: &PipelineId, probe: Probe) -> Option<(u32, &mut Slot)> {
        let index = *self.indexes.get(id)?;
        let pipeline = self.pipelines[index as usize].as_mut()?;
        Some((index, &mut pipeline.slots[probe as usize]))
    }

    /// Stops while the most overdue probe has to wait, even if it waits for a key.
    fn virtual_time(&mut self, now: Instant) -> Virtual {
        self.drop_void();
        let time = now.saturating_duration_since(self.start).saturating_sub(self.frozen);
        let Some(Reverse(entry)) = self.queue.peek() else { return time };
        let latest = (entry.due + SLACK).min(time);
        self.frozen += time - latest;
        latest
    }

    fn frequency(&self, probe: Probe, pace: Pace) -> f64 {
        self.intervals.of(probe, pace).as_secs_f64().recip()
    }

    /// Gives a probe a turn, in place of the one that it had.
    fn enqueue(&mut self, index: u32, probe: Probe, due: Virtual) {
        self.tickets += 1;
        let ticket = self.tickets;
        if let Some(pipeline) = &mut self.pipelines[index as usize] {
            pipeline.slots[probe as usize].ticket = ticket;
            self.queue.push(Reverse(Entry { due, ticket, index, probe }));
        }
    }

    /// Entries of dropped pipelines are removed when they reach the front.
    fn drop_void(&mut self) {
        while let Some(Reverse(entry)) = self.queue.peek() {
            let pipeline = self.pipelines[entry.index as usize].as_ref();
            if pipeline.is_some_and(|pipeline| pipeline.slots[entry.probe as usize].ticket == entry.ticket) {
                return;
            }
            self.queue.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Turn = (PipelineId, Probe);

    const INTERVALS: Intervals = Intervals {
        normal: [Duration::from_secs(15), Duration::from_secs(30), Duration::from_secs(30)],
        transitional: Duration::from_secs(5),
        idle: Duration::from_secs(120),
        discovery: Duration::from_secs(60),
    };

    fn id(number: usize) -> PipelineId {
        PipelineId::new(&format!("pipe_{number}")).unwrap()
    }

    /// Sends due probes for `seconds`, at most one every `1 / rate`; responses come at once.
    fn drive(schedule: &mut Schedule, start: Instant, rate: f64, seconds: u64) -> Vec<(Turn, Duration)> {
        let mut sent = Vec::new();
        let mut now = start;
        let end = start + Duration::from_secs(seconds);
        while now < end {
            match schedule.pop(now) {
                Some(probe) => {
                    schedule.done(&probe.0, probe.1, Pace::Normal, now, now);
                    sent.push((probe, now - start));
                    now += Duration::from_secs_f64(1.0 / rate);
                }
                None => now = schedule.next_due(now).unwrap_or(end),
            }
        }
        sent
    }

    fn gaps(sent: &[(Turn, Duration)], of: &Turn) -> Vec<f64> {
        let times: Vec<f64> = sent.iter().filter(|(probe, _)| probe == of).map(|(_, at)| at.as_secs_f64()).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// With 100 pipelines and a budget of `rate` requests per second, none waits more than a tenth longer than its
    /// share.
    #[track_caller]
    fn assert_all_stretch_alike(schedule: &Schedule, sent: &[(Turn, Duration)], rate: f64) {
        let stretch = schedule.required() / rate;
        for number in 0..100 {
            for (probe, interval) in [(Probe::Status, 15.0), (Probe::DestinationHealth, 30.0)] {
                let gaps = gaps(sent, &(id(number), probe));
                let longest = gaps[2..].iter().copied().fold(0.0, f64::max);
                assert!(longest <= 1.1 * interval * stretch, "{probe} of {number}: {longest}");
            }
        }
    }

    #[test]
    fn turns_keep_their_interval_and_are_spread_over_it() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        (0..60).for_each(|number| schedule.insert(&id(number), start, |_| false));
        assert!((schedule.required() - 60.0 * (1.0 / 15.0 + 2.0 / 30.0)).abs() < 1e-9);
        let sent = drive(&mut schedule, start, 1e6, 600);
        for number in 0..60 {
            let status = gaps(&sent, &(id(number), Probe::Status));
            assert!(status[1..].iter().all(|gap| (gap - 15.0).abs() < 0.01), "{status:?}");
        }
        // After the first turns, each second gets its fair share of 8, give or take the rounding.
        for second in 60..600 {
            let count = sent.iter().filter(|(_, at)| at.as_secs() == second).count();
            assert!((5..=11).contains(&count), "{count} probes in second {second}");
        }
    }

    #[test]
    fn under_overload_all_intervals_stretch_alike() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        (0..100).for_each(|number| schedule.insert(&id(number), start, |_| false));
        // 13.3 requests per second are needed and 4 are allowed.
        let sent = drive(&mut schedule, start, 4.0, 3600);
        assert_all_stretch_alike(&schedule, &sent, 4.0);
    }

    #[test]
    fn a_fleet_in_which_everything_looks_suspicious_starves_no_pipeline() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        (0..100).for_each(|number| schedule.insert(&id(number), start, |_| false));
        // 13.3 requests per second are needed and 4 are allowed.
        let (mut now, mut sent) = (start, Vec::new());
        while now < start + Duration::from_secs(3600) {
            let Some(probe) = schedule.pop(now) else {
                now = schedule.next_due(now).unwrap();
                continue;
            };
            schedule.done(&probe.0, probe.1, Pace::Normal, now, now);
            schedule.hasten_others(&probe.0, probe.1, now);
            sent.push((probe, now - start));
            now += Duration::from_millis(250);
        }
        assert_all_stretch_alike(&schedule, &sent, 4.0);
    }

    #[test]
    fn after_a_pause_nothing_is_fired_at_once() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        (0..30).for_each(|number| schedule.insert(&id(number), start, |_| false));
        drive(&mut schedule, start, 1e6, 60);
        let later = start + Duration::from_secs(660);
        assert!(schedule.oldest_due().unwrap() < start + Duration::from_secs(65));
        let sent = drive(&mut schedule, later, 1e6, 2);
        assert!(sent.len() < 20, "{} probes in two seconds, where 4 per second are needed", sent.len());
    }

    #[test]
    fn a_hint_gives_the_other_probes_one_extra_turn_and_moves_no_turn() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        (0..40).for_each(|number| schedule.insert(&id(number), start, |_| false));
        drive(&mut schedule, start, 1e6, 100);
        let (mut now, mut sent, mut extra) = (start + Duration::from_secs(100), Vec::new(), Vec::new());
        // Every reading of one pipeline's metrics hints at trouble.
        let smelling = (id(7), Probe::Metrics);
        while now < start + Duration::from_secs(700) {
            let Some(probe) = schedule.pop(now) else {
                now = schedule.next_due(now).unwrap();
                continue;
            };
            schedule.done(&probe.0, probe.1, Pace::Normal, now, now);
            if probe == smelling {
                schedule.hasten_others(&probe.0, probe.1, now);
                schedule.hasten_others(&probe.0, probe.1, now);
                extra.push(now);
            }
            sent.push((probe, now - start));
        }
        assert_eq!(extra.len(), 20);
        for kind in [Probe::Status, Probe::DestinationHealth] {
            let probe = (id(7), kind);
            let at_once = |at: &&Instant| sent.contains(&(probe.clone(), **at - start));
            assert!(extra.iter().filter(at_once).count() >= 19, "{kind}");
            let own = if kind == Probe::Status { 40 } else { 20 };
            let count = sent.iter().filter(|(sent, _)| *sent == probe).count();
            assert!((own + 19..=own + 21).contains(&count), "{kind}: {count}");
        }
        let others = gaps(&sent, &(id(8), Probe::Metrics));
        assert!(others.iter().all(|gap| (gap - 30.0).abs() < 0.01), "{others:?}");
        let metrics = gaps(&sent, &smelling);
        assert!(metrics.iter().all(|gap| (gap - 30.0).abs() < 0.01), "{metrics:?}");
    }

    #[test]
    fn idle_pipelines_cost_little_until_they_are_woken() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(1), start, |_| false);
        let mut sent = Vec::new();
        let mut now = start;
        let wakes = start + Duration::from_secs(1_000);
        let end = start + Duration::from_secs(2_000);
        let mut woken = false;
        while now < end {
            if now >= wakes && !woken {
                schedule.wake(&id(1), now);
                woken = true;
            }
            match schedule.pop(now) {
                Some(probe) => {
                    let pace = if woken { Pace::Normal } else { Pace::Idle };
                    schedule.done(&probe.0, probe.1, pace, now, now);
                    sent.push((probe, now - start));
                }
                None => now = schedule.next_due(now).unwrap().min(if woken { end } else { wakes }),
            }
        }
        for kind in Probe::ALL.iter().copied() {
            let gaps = gaps(&sent, &(id(1), kind));
            let idle = gaps[1..].iter().filter(|gap| (**gap - 120.0).abs() < 0.01).count();
            assert!((6..=8).contains(&idle), "{kind}: {gaps:?}");
            let at_once = sent.iter().filter(|(turn, at)| turn.1 == kind && *at == wakes - start).count();
            assert_eq!(at_once, 1, "{kind} is due when it is woken");
        }
        assert!((schedule.required() - (1.0 / 15.0 + 2.0 / 30.0)).abs() < 1e-9);
        let interval = Duration::from_secs(600);
        let slow = Intervals { normal: [interval; Probe::COUNT], ..INTERVALS };
        assert_eq!(slow.of(Probe::Status, Pace::Idle), interval, "idle is never faster than usual");
        assert_eq!(slow.of(Probe::Status, Pace::Refused), interval, "neither is a probe that the API refuses");
    }

    /// A schedule with these pipelines, of which every probe has had its first turn, and the time after them.
    fn after_first_turns(pipelines: usize, start: Instant) -> Schedule {
        let mut schedule = Schedule::new(INTERVALS, start);
        (0..pipelines).for_each(|number| schedule.insert(&id(number), start, |_| false));
        while let Some((id, probe)) = schedule.pop(start) {
            schedule.done(&id, probe, Pace::Normal, start, start);
        }
        schedule
    }

    /// The probes that are due now, in their order; none is answered.
    fn takes(schedule: &mut Schedule, now: Instant) -> Vec<Probe> {
        std::iter::from_fn(|| schedule.pop(now)).map(|(_, probe)| probe).collect()
    }

    #[test]
    fn a_pipeline_is_scheduled_once_and_without_its_probes_in_flight() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(1), start, |probe| probe == Probe::Status);
        schedule.insert(&id(1), start, |_| false);
        assert_eq!((schedule.len(), schedule.unanswered()), (1, 3));
        assert_eq!(takes(&mut schedule, start), [Probe::Metrics, Probe::DestinationHealth]);
    }

    #[test]
    fn pipelines_that_come_and_go_leave_nothing() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        for number in 0..100 {
            schedule.insert(&id(number), start, |_| false);
            schedule.remove(&id(number));
        }
        assert_eq!((schedule.pipelines.len(), schedule.free.len()), (1, 1));
    }

    #[test]
    fn extra_turns_accumulate_with_regular_ones_up_to_a_twentieth_of_a_round_or_one_hint() {
        let start = Instant::now();
        for (pipelines, most) in [(1, 2.0), (100, 15.0)] {
            let mut schedule = after_first_turns(pipelines, start);
            let turns = (3 * pipelines) as f64;
            assert!((schedule.extra_turns - turns / 20.0).abs() < 1e-9, "{}", schedule.extra_turns);
            drive(&mut schedule, start, 1e6, 3_600);
            assert!((schedule.extra_turns - most).abs() < 1e-9, "{}", schedule.extra_turns);
        }
    }

    #[test]
    fn while_others_wait_extra_turns_come_from_the_accumulated_ones_and_add_none() {
        let start = Instant::now();
        let mut schedule = after_first_turns(1, start);
        schedule.extra_turns = 1.5;
        schedule.insert(&id(2), start, |_| false);
        let later = start + Duration::from_secs(1);
        let slots = |schedule: &Schedule| schedule.pipelines[0].as_ref().unwrap().slots.each_ref().map(|s| s.hastened);
        schedule.hasten_others(&id(0), Probe::Status, start);
        assert_eq!(slots(&schedule), [false, true, true], "what is due just now does not wait");
        assert_eq!(schedule.extra_turns, 1.5);

        let mut schedule = after_first_turns(1, start);
        schedule.extra_turns = 1.5;
        schedule.insert(&id(2), start, |_| false);
        schedule.hasten_others(&id(0), Probe::Status, later);
        assert_eq!(slots(&schedule), [false, true, false], "one is left");
        assert_eq!(schedule.extra_turns, 0.5);
        takes(&mut schedule, later);
        schedule.done(&id(0), Probe::Metrics, Pace::Normal, later, later);
        assert_eq!(schedule.extra_turns, 0.5, "an extra turn adds none");
    }

    #[test]
    fn a_refused_probe_gets_no_extra_turn_and_one_in_flight_is_not_woken() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(0), start, |_| false);
        for (probe, pace) in takes(&mut schedule, start).into_iter().zip([Pace::Idle, Pace::Refused, Pace::Idle]) {
            schedule.done(&id(0), probe, pace, start, start);
        }
        let later = start + Duration::from_secs(10);
        schedule.hasten_others(&id(0), Probe::Status, later);
        assert_eq!(takes(&mut schedule, later), [Probe::DestinationHealth]);
        schedule.wake(&id(0), later);
        assert_eq!(takes(&mut schedule, later), [Probe::Status]);
    }

    #[test]
    fn an_extra_turn_counts_from_the_hint_and_its_response_may_bring_the_next_turn_forward() {
        let start = Instant::now();
        let mut schedule = after_first_turns(1, start);
        drive(&mut schedule, start, 1e6, 60);
        let wanted = |schedule: &mut Schedule| schedule.find(&id(0), Probe::Status).unwrap().1.wanted;
        let regular = wanted(&mut schedule);
        let hint = regular - Duration::from_secs(12);
        schedule.hasten_others(&id(0), Probe::Metrics, hint);
        assert_eq!(wanted(&mut schedule), hint);
        assert_eq!(takes(&mut schedule, hint)[0], Probe::Status);
        schedule.done(&id(0), Probe::Status, Pace::Normal, hint, hint);
        let wait = wanted(&mut schedule) - hint;
        assert!(
            wait.abs_diff(Duration::from_secs(12)) < Duration::from_millis(1),
            "regular turns do not move: {wait:?}"
        );
        schedule.done(&id(0), Probe::Status, Pace::Transitional, hint, hint);
        assert_eq!(wanted(&mut schedule), hint + INTERVALS.transitional, "it will change soon");
    }

    #[test]
    fn retries_between_two_turns_do_not_put_off_the_next_one() {
        let start = Instant::now();
        let mut schedule = after_first_turns(1, start);
        drive(&mut schedule, start, 1e6, 60);
        let turn = |schedule: &mut Schedule| schedule.find(&id(0), Probe::Metrics).unwrap().1.due;
        let next = turn(&mut schedule);
        let now = start + Duration::from_secs(61);
        // With each key that is read, a refused request is retried at once.
        (0..3).for_each(|_| schedule.done(&id(0), Probe::Metrics, Pace::Normal, now, now));
        assert_eq!(turn(&mut schedule), next);
    }

    #[test]
    fn a_turn_is_wanted_one_interval_after_the_last_one_was_sent() {
        let start = Instant::now();
        let mut schedule = after_first_turns(1, start);
        let now = schedule.next_due(start).unwrap();
        let (id, probe) = schedule.pop(now).unwrap();
        schedule.done(&id, probe, Pace::Transitional, now, now + Duration::from_secs(1));
        assert_eq!(schedule.find(&id, probe).unwrap().1.wanted, now + INTERVALS.transitional);
    }

    #[test]
    fn a_response_that_took_long_does_not_hold_up_other_probes() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(1), start, |_| false);
        let slow = schedule.pop(start).unwrap();
        let late = start + Duration::from_secs(300);
        schedule.insert(&id(2), start, |_| false);
        drive(&mut schedule, start, 1e6, 300);
        schedule.done(&slow.0, slow.1, Pace::Normal, start, late);
        assert_eq!(schedule.virtual_time(late), late - start);
    }

    #[test]
    fn a_probe_that_is_requested_again_has_its_next_turn_one_interval_later() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(0), start, |_| false);
        assert_eq!(takes(&mut schedule, start).len(), 3);
        schedule.done(&id(0), Probe::Status, Pace::Normal, start, start);
        let turn = schedule.next_due(start).unwrap();
        assert_eq!(takes(&mut schedule, turn), [Probe::Status]);
        let later = turn + Duration::from_secs(20);
        schedule.again(&id(0), Probe::Status, later);
        assert_eq!(takes(&mut schedule, later), [Probe::Status]);
        schedule.done(&id(0), Probe::Status, Pace::Normal, later, later);
        assert_eq!(schedule.next_due(later), Some(later + INTERVALS.normal[0]));
    }

    #[test]
    fn a_pipeline_that_is_woken_is_due_now_and_then_at_its_usual_pace() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(0), start, |_| false);
        for probe in takes(&mut schedule, start) {
            schedule.done(&id(0), probe, Pace::Idle, start, start);
        }
        let woken = start + Duration::from_secs(10);
        schedule.wake(&id(0), woken);
        assert_eq!(schedule.oldest_due(), Some(woken));
        assert_eq!(takes(&mut schedule, woken).len(), 3);
        schedule.done(&id(0), Probe::Status, Pace::Normal, woken, woken);
        assert_eq!(schedule.next_due(woken), Some(woken + INTERVALS.normal[0]));
    }

    #[test]
    fn what_is_gone_is_not_late() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(1), start, |_| false);
        let later = start + Duration::from_secs(10);
        schedule.insert(&id(2), later, |_| false);
        assert_eq!(schedule.oldest_due(), Some(start));
        schedule.remove(&id(1));
        assert_eq!(schedule.oldest_due(), Some(later));
    }

    #[test]
    fn pace_removal_and_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVALS, start);
        schedule.insert(&id(1), start, |_| false);
        schedule.insert(&id(2), start, |_| false);
        assert_eq!(schedule.unanswered(), 6);
        let status = schedule.pop(start).unwrap();
        schedule.again(&status.0, status.1, start);
        assert_eq!(schedule.unanswered(), 6, "it was not answered");
        schedule.remove(&id(2));
        assert_eq!(schedule.unanswered(), 3);
        for kind in [Probe::Metrics, Probe::DestinationHealth, Probe::Status] {
            let probe = schedule.pop(start).unwrap();
            assert_eq!(probe, (id(1), kind));
            let pace = if kind == Probe::Status { Pace::Transitional } else { Pace::Refused };
            schedule.done(&probe.0, probe.1, pace, start, start);
        }
        assert_eq!((schedule.unanswered(), schedule.pop(start)), (0, None));
        assert!((schedule.required() - (1.0 / 5.0 + 2.0 / 60.0)).abs() < 1e-9);
        schedule.remove(&id(1));
        assert_eq!((schedule.next_due(start), schedule.required()), (None, 0.0));
    }
}
