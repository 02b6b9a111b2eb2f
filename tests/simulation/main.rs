//! A handful of simulated histories; `benches/simulation.rs` lives through as many as there is time for. How it works, and
//! how to add a fault or an invariant, stands in `engine/mod.rs`.

#[allow(dead_code)] // the program uses other parts
mod engine;

use std::time::Instant;

use engine::campaign::Campaign;
use engine::history::Fault::{
    BadDay, Create, QuietTopic, Reload, Reply, Restart, Revoke, Rotate, StepWall, Suspend, Worker, WrongKey,
};
use engine::history::{self, Condition, History, Incident, Knobs, Setup, Target};

/// More, or others: `SIMULATION_SEED`, `SIMULATION_HOURS` and `SIMULATION_FAILURES` in the environment.
#[test]
fn a_handful_of_histories() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let begin = Instant::now();
    let hours = number("SIMULATION_HOURS", 8) as f64;
    let campaign = Campaign::run(number("SIMULATION_SEED", 1), hours, number("SIMULATION_FAILURES", 1) as usize);
    println!("{}\n{} in {:?}", campaign.coverage.report(), campaign.summary(), begin.elapsed());
    assert!(campaign.failures.is_empty(), "{}", campaign.failures.join("\n"));
}

#[test]
fn a_seed_is_one_history() {
    let mut history = History::draw(7);
    history.length = history.length.min(3_600);
    history.setup.pipelines = 3;
    assert_eq!(engine::run(&history), engine::run(&history));
}

/// Histories that went wrong once.
fn replay(history: &History) {
    if let Err(violation) = engine::run(history) {
        panic!("after {} s: {}: {}", violation.at, violation.invariant, violation.what);
    }
}

/// A list that is cut at `max_pipelines` says nothing of the pipelines that it hides, although its page shows them.
#[test]
fn replay_35() {
    replay(&History {
        seed: 35,
        length: 1_800,
        setup: Setup { pipelines: 11, accounts: 1, page: 100, scrape_every: 15, knobs: Knobs::DEFAULT },
        incidents: vec![Incident {
            at: 1_284,
            lasts: 0,
            account: 0,
            fault: Reload(Knobs { budget: 17, max_pipelines: 8, expects: true, ..Knobs::DEFAULT }),
        }],
    });
}

/// A probe waits for no longer than its share from when a key is accepted again, which is up to a minute after it is valid.
#[test]
fn replay_300() {
    replay(&History {
        seed: 300,
        length: 3_068,
        setup: Setup {
            pipelines: 5,
            accounts: 1,
            page: 100,
            scrape_every: 60,
            knobs: Knobs { usage: 900, ..Knobs::DEFAULT },
        },
        incidents: vec![
            Incident { at: 190, lasts: 3_000, account: 0, fault: Worker(113_700, Condition::Deploying) },
            Incident { at: 790, lasts: 0, account: 0, fault: Restart },
            Incident { at: 2_046, lasts: 969, account: 0, fault: Revoke },
        ],
    });
}

/// A machine that sleeps sends no requests: what was refused before it slept is as good as what is refused after.
#[test]
fn replay_1071() {
    replay(&History {
        seed: 1_071,
        length: 2_586,
        setup: Setup {
            pipelines: 1,
            accounts: 1,
            page: 100,
            scrape_every: 15,
            knobs: Knobs { usage: 900, ..Knobs::DEFAULT },
        },
        incidents: vec![
            Incident { at: 1_295, lasts: 2_000, account: 0, fault: WrongKey(history::WrongKey::Malformed) },
            Incident { at: 1_504, lasts: 0, account: 0, fault: Restart },
            Incident { at: 1_727, lasts: 793, account: 0, fault: Suspend },
        ],
    });
}

/// After a reload, a request that was not processed is a failed one.
#[test]
fn replay_1150() {
    let knobs = Knobs { stale_after: 120, filters: true, ..Knobs::DEFAULT };
    let unsent = Reply { to: Target::Everything, with: history::Reply::Unsent, one_in: 1, times: 0 };
    replay(&History {
        seed: 1_150,
        length: 2_168,
        setup: Setup {
            pipelines: 45,
            accounts: 1,
            page: 100,
            scrape_every: 15,
            knobs: Knobs { budget: 30, in_flight: 2, expects: true, ..knobs },
        },
        incidents: vec![
            Incident { at: 2_040, lasts: 2_000, account: 0, fault: unsent },
            Incident { at: 2_159, lasts: 0, account: 0, fault: Reload(Knobs { budget: 260, ..knobs }) },
        ],
    });
}

/// A page that repeats another one says nothing new.
#[test]
fn replay_2001() {
    let tight = Knobs { budget: 4, stale_after: 120, discovery: 30, ..Knobs::DEFAULT };
    let reply = |to, with, one_in| Reply { to, with, one_in, times: 0 };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    replay(&History {
        seed: 2_001,
        length: 2_005,
        setup: Setup {
            pipelines: 4,
            accounts: 1,
            page: 100,
            scrape_every: 15,
            knobs: Knobs { in_flight: 2, max_pipelines: 3, filters: true, ..Knobs::DEFAULT },
        },
        incidents: vec![
            incident(353, 2_950, reply(Target::Metrics, history::Reply::TooLarge, 1)),
            incident(412, 1, Rotate),
            incident(764, 3_694, reply(Target::List, history::Reply::Repeats, 3)),
            incident(783, 1, reply(Target::Status, history::Reply::Bare(302), 1)),
            incident(950, 0, Reload(Knobs { usage: 900, filters: true, ..tight })),
            incident(1_875, 600, reply(Target::Everything, history::Reply::Tls, 1)),
        ],
    });
}

/// With a small budget, what has nothing to do is read less often than readings are shown.
#[test]
fn replay_5084() {
    let slow = Knobs { budget: 9, ..Knobs::DEFAULT };
    replay(&History {
        seed: 5_084,
        length: 5_000,
        setup: Setup {
            pipelines: 14,
            accounts: 2,
            page: 2,
            scrape_every: 15,
            knobs: Knobs { budget: 40, ..Knobs::DEFAULT },
        },
        incidents: vec![
            Incident { at: 1_153, lasts: 0, account: 1, fault: Create(3) },
            Incident { at: 2_000, lasts: 0, account: 0, fault: Reload(slow) },
        ],
    });
}

/// Retries of a request with each new key do not put off its next turn.
#[test]
fn replay_208() {
    replay(&History {
        seed: 208,
        length: 4_688,
        setup: Setup { pipelines: 1, accounts: 1, page: 100, scrape_every: 15, knobs: Knobs::DEFAULT },
        incidents: vec![
            Incident { at: 4_010, lasts: 600, account: 0, fault: Revoke },
            Incident { at: 4_611, lasts: 1, account: 0, fault: WrongKey(history::WrongKey::Malformed) },
        ],
    });
}

/// When another pipeline of its topic moves, one without progress is stalled.
#[test]
fn replay_390() {
    let knobs = Knobs { budget: 16, in_flight: 2, filters: true, expects: true, ..Knobs::DEFAULT };
    let less = Knobs { budget: 6, expects: false, usage: 900, ..knobs };
    let repeats = Reply { to: Target::List, with: history::Reply::Repeats, one_in: 1, times: 0 };
    let incident = |at, lasts, account, fault| Incident { at, lasts, account, fault };
    replay(&History {
        seed: 390,
        length: 5_123,
        setup: Setup { pipelines: 10, accounts: 2, page: 2, scrape_every: 15, knobs },
        incidents: vec![
            incident(505, 1, 1, WrongKey(history::WrongKey::Malformed)),
            incident(941, 0, 0, Create(3)),
            incident(1_260, 3_843, 1, QuietTopic(259_795)),
            incident(1_600, 1, 0, repeats),
            incident(1_872, 0, 0, Reload(less)),
        ],
    });
}

/// A 429 to a usage request pauses everything, so that nothing is read for as long as it asks.
#[test]
fn replay_2063() {
    let fault = Reply { to: Target::Usage, with: history::Reply::StatusAndWait(429, 842), one_in: 1, times: 0 };
    replay(&History {
        seed: 2_063,
        length: 7_868,
        setup: Setup {
            pipelines: 1,
            accounts: 1,
            page: 100,
            scrape_every: 30,
            knobs: Knobs { usage: 900, ..Knobs::DEFAULT },
        },
        incidents: vec![Incident { at: 6_728, lasts: 600, account: 0, fault }],
    });
}

/// The end of a pause is shown by the wall clock, and moves with it.
#[test]
fn replay_20006() {
    let limit = Reply { to: Target::Everything, with: history::Reply::StatusAndWait(429, 59), one_in: 1, times: 0 };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    replay(&History {
        seed: 20_006,
        length: 14_906,
        setup: Setup { pipelines: 0, accounts: 1, page: 100, scrape_every: 60, knobs: Knobs::DEFAULT },
        incidents: vec![
            incident(14_487, 600, Revoke),
            incident(14_624, 600, limit),
            incident(14_884, 1, Rotate),
            incident(14_905, 0, StepWall(158)),
        ],
    });
}

/// What failed before the machine slept is why an alert fires once more after it woke up.
#[test]
fn replay_20470() {
    let wait =
        Reply { to: Target::Pipeline(65_490), with: history::Reply::StatusAndWait(503, 5_957), one_in: 1, times: 2 };
    replay(&History {
        seed: 20_470,
        length: 13_344,
        setup: Setup { pipelines: 1, accounts: 1, page: 100, scrape_every: 15, knobs: Knobs::DEFAULT },
        incidents: vec![
            Incident { at: 9_016, lasts: 60, account: 0, fault: wait },
            Incident { at: 12_976, lasts: 1, account: 0, fault: Suspend },
        ],
    });
}

/// Each `Retry-After: 0` is a pause, too: half a second.
#[test]
fn replay_20594() {
    let reply = |to, with, times| Reply { to, with, one_in: 1, times };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    replay(&History {
        seed: 20_594,
        length: 908,
        setup: Setup {
            pipelines: 298,
            accounts: 1,
            page: 14,
            scrape_every: 300,
            knobs: Knobs { budget: 1_608, in_flight: 9, usage: 300, ..Knobs::DEFAULT },
        },
        incidents: vec![
            incident(528, 1, reply(Target::Everything, history::Reply::Cut, 2)),
            incident(636, 1, reply(Target::Usage, history::Reply::StatusAndWait(429, 57), 2)),
            incident(722, 576, reply(Target::DestinationHealth, history::Reply::StatusAndWait(503, 0), 0)),
            incident(871, 60, Worker(773_551, Condition::WorkerPaused)),
        ],
    });
}

/// With a request every five seconds, a few extra turns that nothing waited for delay the next regular ones by more than a
/// tenth.
#[test]
fn replay_25() {
    replay(&History {
        seed: 25,
        length: 368,
        setup: Setup {
            pipelines: 2,
            accounts: 2,
            page: 100,
            scrape_every: 30,
            knobs: Knobs { budget: 2, ..Knobs::DEFAULT },
        },
        incidents: vec![Incident { at: 275, lasts: 600, account: 1, fault: BadDay }],
    });
}

/// A backoff after a 429 that does not say for how long keeps everything waiting for up to a minute, between two scrapes.
#[test]
fn replay_36() {
    let limit = Reply { to: Target::Everything, with: history::Reply::Bare(429), one_in: 1, times: 0 };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    let paused = (0..8).map(|number| incident(10, 2_000, Worker(number, Condition::Paused)));
    replay(&History {
        seed: 36,
        length: 608,
        setup: Setup { pipelines: 8, accounts: 1, page: 100, scrape_every: 300, knobs: Knobs::DEFAULT },
        incidents: paused.chain([incident(302, 0, Restart), incident(304, 124, limit)]).collect(),
    });
}

/// A list that the server did not process is sent once more, with a key that may be dead as well.
#[test]
fn replay_21491() {
    let reply = |with| Reply { to: Target::Everything, with, one_in: 1, times: 0 };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    replay(&History {
        seed: 21_491,
        length: 21_132,
        setup: Setup { pipelines: 0, accounts: 1, page: 100, scrape_every: 60, knobs: Knobs::DEFAULT },
        incidents: vec![
            incident(19_864, 408, reply(history::Reply::WrongShape)),
            incident(20_009, 0, Restart),
            incident(20_155, 425, Revoke),
            incident(20_529, 600, WrongKey(history::WrongKey::Malformed)),
            incident(21_067, 600, reply(history::Reply::Unsent)),
        ],
    });
}

/// While the size of a page is refused, each list takes two requests.
#[test]
fn replay_100076() {
    let unknown = Reply { to: Target::Everything, with: history::Reply::Status(422), one_in: 1, times: 0 };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 1, fault };
    replay(&History {
        seed: 100_076,
        length: 1_457,
        setup: Setup { pipelines: 0, accounts: 2, page: 100, scrape_every: 30, knobs: Knobs::DEFAULT },
        incidents: vec![
            incident(309, 1_143, WrongKey(history::WrongKey::Malformed)),
            incident(880, 0, Restart),
            incident(1_148, 554, unknown),
        ],
    });
}

/// The pause after a 429 ends with the key that it was for.
#[test]
fn replay_100363() {
    let limit = Reply { to: Target::Usage, with: history::Reply::StatusAndWait(429, 75), one_in: 3, times: 0 };
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    replay(&History {
        seed: 100_363,
        length: 22_512,
        setup: Setup {
            pipelines: 0,
            accounts: 1,
            page: 100,
            scrape_every: 60,
            knobs: Knobs { budget: 264, expects: true, usage: 60, ..Knobs::DEFAULT },
        },
        incidents: vec![incident(18_339, 600, limit), incident(18_848, 3_656, Suspend), incident(20_927, 1, Rotate)],
    });
}

/// A pipeline that was paused and resumed between two scrapes was asked rarely in between.
#[test]
fn replay_702920() {
    let less = Knobs { budget: 4, usage: 900, ..Knobs::DEFAULT };
    let limit = Reply { to: Target::Usage, with: history::Reply::StatusAndWait(429, 71), one_in: 1, times: 0 };
    let incident = |at, lasts, account, fault| Incident { at, lasts, account, fault };
    replay(&History {
        seed: 702_920,
        length: 59_408,
        setup: Setup { pipelines: 2, accounts: 2, page: 100, scrape_every: 300, knobs: Knobs::DEFAULT },
        incidents: vec![
            incident(749, 0, 1, Create(2)),
            incident(48_059, 0, 0, Reload(less)),
            incident(49_263, 600, 1, limit),
            incident(59_268, 136, 1, Worker(857_087, Condition::Paused)),
        ],
    });
}

/// A list that ends while a worker deploys, which is polled often, is followed later by the next one if the budget is small.
#[test]
fn replay_710708() {
    let knobs = Knobs { budget: 2, stale_after: 120, max_pipelines: 1, usage: 900, ..Knobs::DEFAULT };
    replay(&History {
        seed: 710_708,
        length: 2_948,
        setup: Setup { pipelines: 1, accounts: 1, page: 100, scrape_every: 30, knobs },
        incidents: vec![
            Incident { at: 1_460, lasts: 1_810, account: 0, fault: Worker(101_946, Condition::CrashLoops) },
            Incident { at: 2_076, lasts: 0, account: 0, fault: Restart },
        ],
    });
}

/// A bounded pipeline whose worker was last read to be PAUSED has nothing to do, even if nothing says now what it does.
#[test]
fn replay_401269() {
    replay(&History {
        seed: 401_269,
        length: 2_528,
        setup: Setup { pipelines: 2, accounts: 2, page: 100, scrape_every: 60, knobs: Knobs::DEFAULT },
        incidents: vec![
            Incident { at: 787, lasts: 3_983, account: 1, fault: Worker(552_141, Condition::NoPhase) },
            Incident { at: 1_854, lasts: 60, account: 1, fault: Worker(332_393, Condition::WorkerPaused) },
        ],
    });
}

/// A reload asks for the usage at once, and a rotation after it changes nothing about that.
#[test]
fn replay_200475() {
    let knobs = Knobs { usage: 900, ..Knobs::DEFAULT };
    replay(&History {
        seed: 200_475,
        length: 5_454,
        setup: Setup { pipelines: 0, accounts: 2, page: 100, scrape_every: 60, knobs },
        incidents: vec![
            Incident { at: 3_601, lasts: 1_852, account: 0, fault: Suspend },
            Incident { at: 4_067, lasts: 0, account: 1, fault: Reload(Knobs { usage: 300, ..knobs }) },
            Incident { at: 4_282, lasts: 1, account: 1, fault: Rotate },
        ],
    });
}

/// Drops are not seen between the first two readings of each worker, and this one restarts every five minutes.
#[test]
fn replay_1004369() {
    let incident = |at, lasts, fault| Incident { at, lasts, account: 0, fault };
    replay(&History {
        seed: 1_004_369,
        length: 5_888,
        setup: Setup { pipelines: 1, accounts: 1, page: 100, scrape_every: 60, knobs: Knobs::DEFAULT },
        incidents: vec![
            incident(4_353, 2_010, Worker(53_299, Condition::Restarts)),
            incident(4_868, 3_824, Worker(321_721, Condition::Drops)),
        ],
    });
}

/// Slow requests fill the slots before their responses show that.
#[test]
fn replay_2000716() {
    let knobs = Knobs { budget: 184, stale_after: 120, in_flight: 2, expects: true, usage: 60, ..Knobs::DEFAULT };
    let gone = Reply { to: Target::Pipeline(905_257), with: history::Reply::Status(410), one_in: 1, times: 0 };
    let slow = Reply { to: Target::Everything, with: history::Reply::Slow(8_271), one_in: 1, times: 0 };
    let incident = |at, lasts, account, fault| Incident { at, lasts, account, fault };
    replay(&History {
        seed: 2_000_716,
        length: 968,
        setup: Setup { pipelines: 31, accounts: 2, page: 100, scrape_every: 30, knobs },
        incidents: vec![
            incident(34, 0, 0, history::Fault::Reproject(502_975)),
            incident(425, 0, 1, Restart),
            incident(654, 1, 0, gone),
            incident(958, 1, 1, slow),
        ],
    });
}
