//! Every history of a small budget, up to a depth: waits, 429s with and without `Retry-After`, reloads and rotations in
//! any order. No window of time holds more than the budget allows, nothing is sent in a pause, and nothing waits longer
//! than the budget requires.
//!
//! Steps of the wall clock and sleep of the machine are not part of these histories, because they do not change
//! instants, and a budget has no other clock.

use std::time::{Duration, Instant};

use super::{BURST, Budget};

const START_RATE: f64 = 4.0;
const OTHER_RATE: f64 = 16.0;
/// Nothing, less and more than a request's time at either rate, and a long idle time, which must not save up permits.
const WAITS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(70), Duration::from_millis(260), Duration::from_secs(3_600)];
const DEPTH: usize = 4;
/// In seconds: rounding of sums, and the microsecond that a refusal adds.
const ROUNDING: f64 = 3e-6;

#[derive(Debug, Clone, Copy)]
enum Step {
    Nothing,
    /// A 429 that does not say how long to wait.
    Limited {
        /// To a request that was sent before all others, rather than now.
        late: bool,
    },
    LimitedFor(Duration),
    /// A reload with the other rate.
    OtherRate,
    /// Another key, to which the pause does not apply.
    OtherKey,
    /// Any response other than a 429.
    Response,
}

const STEPS: [Step; 8] = [
    Step::Nothing,
    Step::Limited { late: false },
    Step::Limited { late: true },
    Step::LimitedFor(Duration::ZERO),
    Step::LimitedFor(Duration::from_millis(800)),
    Step::OtherRate,
    Step::OtherKey,
    Step::Response,
];

/// A budget, and a naive record of what it must do.
#[derive(Clone)]
struct History {
    budget: Budget,
    start: Instant,
    now: Instant,
    rate: f64,
    silent_until: Instant,
    /// When the newest 429 arrived, not counting those to requests that were sent before an earlier one.
    paused_at: Option<Instant>,
    /// How many there were since another response, or since another key.
    pauses: i32,
    /// When each request was sent, and the seconds per request at the rate of that time.
    sent: Vec<(Instant, f64)>,
}

impl History {
    fn new() -> Self {
        let start = Instant::now();
        let budget = Budget::new(START_RATE, fastrand::Rng::with_seed(1), start);
        Self {
            budget,
            start,
            now: start,
            rate: START_RATE,
            silent_until: start,
            paused_at: None,
            pauses: 0,
            sent: Vec::new(),
        }
    }

    /// By how many seconds a request would be too early for a window that begins at an earlier request. The earlier
    /// requests of a window must have had their time, except for the burst.
    fn too_early(&self) -> f64 {
        let (mut needed, mut worst) = (0.0, 0.0_f64);
        for (at, takes) in self.sent.iter().rev() {
            needed += takes;
            worst = worst.max(needed - BURST - (self.now - *at).as_secs_f64());
        }
        worst
    }

    fn pause(&mut self, asked: Option<Duration>, sent: Instant) {
        let until = self.budget.pause(asked, sent, self.now);
        let is_echo = self.paused_at.is_some_and(|at| sent < at);
        let own = if is_echo { 0.0 } else { 2.0_f64.powi(self.pauses).min(60.0) };
        if !is_echo {
            self.paused_at = Some(self.now);
            self.pauses += 1;
        }
        let [least, most] = match asked {
            Some(asked) => [asked.max(Duration::from_millis(500)); 2],
            None => [own / 2.0, own].map(Duration::from_secs_f64),
        };
        let [least, most] = [least, most].map(|pause| self.silent_until.max(self.now + pause));
        assert!(until >= least && until <= most, "{:?}", until - self.now);
        self.silent_until = until;
    }

    fn step(&mut self, wait: Duration, step: Step) {
        self.now += wait;
        match step {
            Step::Nothing => {}
            Step::Limited { late: true } => self.pause(None, self.start),
            Step::Limited { late: false } => self.pause(None, self.now),
            Step::LimitedFor(asked) => self.pause(Some(asked), self.now),
            Step::OtherRate => {
                self.rate = if self.rate == START_RATE { OTHER_RATE } else { START_RATE };
                self.budget.set_rate(self.rate);
            }
            Step::OtherKey => {
                self.budget.resume();
                self.silent_until = self.start;
                self.pauses = 0;
            }
            Step::Response => {
                self.budget.calm(self.now);
                if self.silent_until <= self.now {
                    self.pauses = 0;
                }
            }
        }
        self.send_all();
    }

    /// Sends as many requests as are allowed now.
    fn send_all(&mut self) {
        loop {
            let too_early = self.too_early();
            match self.budget.take(self.now) {
                Ok(()) => {
                    assert!(self.now >= self.silent_until, "sent in a pause");
                    assert!(too_early <= ROUNDING, "{too_early} s too early");
                    self.sent.push((self.now, 1.0 / self.rate));
                    self.assert_no_window_is_over();
                }
                Err(at) if self.silent_until > self.now => return assert_eq!(at, self.silent_until),
                Err(at) => {
                    let wait = (at - self.now).as_secs_f64();
                    assert!(wait > 0.0 && (wait - too_early).abs() <= ROUNDING, "{wait} s instead of {too_early} s");
                    return;
                }
            }
        }
    }

    /// The contract, for each window that ends now and begins at a request: as many requests as the rate allows in its
    /// length, one more, and a twentieth of a second's.
    fn assert_no_window_is_over(&self) {
        let mut most: f64 = 0.0;
        for (count, (at, takes)) in (1..).zip(self.sent.iter().rev()) {
            most = most.max(1.0 / takes);
            let window = (self.now - *at).as_secs_f64();
            let allowed = most * window + 1.0 + most / 20.0;
            assert!(f64::from(count) <= allowed + 1e-4, "{count} in {window} s");
        }
    }

    fn explore(&self, depth: usize, count: &mut u64) {
        *count += 1;
        if depth == 0 {
            return;
        }
        for wait in WAITS {
            for step in STEPS {
                let mut next = self.clone();
                next.step(wait, step);
                next.explore(depth - 1, count);
            }
        }
    }
}

#[test]
fn no_history_of_a_small_budget_is_over_the_limit_or_slower_than_it() {
    let mut history = History::new();
    history.send_all();
    let mut count = 0;
    history.explore(DEPTH, &mut count);
    let branches = (WAITS.len() * STEPS.len()) as u64;
    assert_eq!(count, (0..=DEPTH as u32).map(|depth| branches.pow(depth)).sum::<u64>());
}
