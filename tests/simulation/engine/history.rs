//! A history: a fleet, and all that happens to it. Everything is in plain numbers, so that the `Debug` form of a history is
//! the Rust code that replays it, and a shorter history is one with fewer incidents.
//!
//! To add a fault: a variant here, its draw in [`Fault::draw`], and what it does in `world.rs` (platform, API and keys) or
//! `daemon.rs` (the exporter and its machine).

use std::time::Duration;

use fastrand::Rng;
use goldrush_exporter::api::Reason;

/// What is drawn from one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Also seeds latencies, jitter and which responses a fault hits.
    pub seed: u64,
    /// In seconds.
    pub length: u64,
    pub setup: Setup,
    pub incidents: Vec<Incident>,
}

/// The fleet and the configuration at the beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Of each account.
    pub pipelines: u32,
    pub accounts: u8,
    /// The API's largest page.
    pub page: u32,
    pub scrape_every: u64,
    pub knobs: Knobs,
}

/// What a reload can change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knobs {
    /// Tenths of requests per second.
    pub budget: u32,
    pub stale_after: u32,
    pub discovery: u32,
    pub in_flight: u32,
    pub max_pipelines: u32,
    /// Leaves out the project `hidden`.
    pub filters: bool,
    /// Expects a pipeline that is there at first and one that never is.
    pub expects: bool,
    /// `poll.usage`, in seconds; 0 is off.
    pub usage: u32,
}

/// Something that happens, and for how long. Times are in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub at: u64,
    /// 0 for what happens once and [for all](Fault::is_for_good).
    pub lasts: u64,
    pub account: u8,
    pub fault: Fault,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// So many pipelines are created.
    Create(u32),
    /// The pipeline at this place, modulo their number, is deleted; and so on for those that take a place.
    Delete(u32),
    Rename(u32),
    /// To another project, which may be one that is filtered out.
    Reproject(u32),
    /// To the group of another account, or of none.
    MoveGroup(u32),
    /// Something is so with the pipeline at this place.
    Worker(u32, Condition),
    /// Nothing comes from the topic at this place any more.
    QuietTopic(u32),
    /// All pipelines [flicker](Condition::Flickers).
    BadDay,
    OverLimit,
    TrialExpired,
    /// So many more credits are used in an hour.
    Spend(u32),
    /// No credits have been used yet.
    NewMonth,
    /// Requests of these operations get this reply: one in so many, and no more than `times` if that is not 0.
    Reply {
        to: Target,
        with: Reply,
        one_in: u32,
        times: u32,
    },
    /// A new key is put into the file; the old one is revoked so many seconds later (`lasts`).
    Rotate,
    /// A credential of another kind is in the file.
    WrongKey(WrongKey),
    /// The key in use is revoked, until it is replaced or the time is over.
    Revoke,
    Reload(Knobs),
    Restart,
    StepWall(i32),
    /// The machine sleeps.
    Suspend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongKey {
    ReadOnly,
    /// A ServiceKey of another group.
    OtherGroup,
    Malformed,
}

/// What can be so with one pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    Paused,
    Failed,
    Deploying,
    /// It deploys and fails in turns.
    CrashLoops,
    /// A bounded one ends, is deployed again, and runs, in turns.
    RunsAgain,
    /// At any second it is well or not: its worker, what it has to write, and its destination.
    Flickers,
    /// Its worker is, and the user has not asked for it.
    WorkerPaused,
    /// A bounded one has, wherever it is.
    Ended,
    StrangePhase,
    NoPhase,
    LacksReplicas,
    Unhealthy,
    Flaps,
    CheckOld,
    Lag,
    LagCritical,
    Backlog,
    Stalled,
    Quiet,
    Drops,
    Restarts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Everything,
    List,
    Status,
    Metrics,
    DestinationHealth,
    Usage,
    /// All probes of the pipeline at this place.
    Pipeline(u32),
}

/// What comes instead of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The status in the API's envelope.
    Status(u16),
    /// With `Retry-After` in seconds.
    StatusAndWait(u16, u32),
    /// Without a body.
    Bare(u16),
    /// HTML.
    Foreign(u16),
    ForeignAndWait(u16, u32),
    /// `error: true` in a 200.
    ErrorTrue(u16),
    /// JSON that ends too early.
    Cut,
    WrongShape,
    NullData,
    Timeout,
    /// The right response, so many milliseconds later.
    Slow(u32),
    Dns,
    Tls,
    Connect,
    Disconnected,
    Unsent,
    TooLarge,
    /// Of the list: leaves out this share of the items, in tenths, and counts them.
    Hides(u32),
    /// Of the list: some items have no id.
    NoIds,
    /// Of the list: the same page for ever.
    Repeats,
    /// Of the list: nothing says whether there are more pages.
    NoPagination,
}

impl Reply {
    /// Its name in the catalogue, without numbers that do not matter.
    pub fn name(self) -> String {
        match self {
            Self::StatusAndWait(status, _) => format!("StatusAndWait({status})"),
            Self::ForeignAndWait(status, _) => format!("ForeignAndWait({status})"),
            Self::Slow(_) => "Slow".to_owned(),
            Self::Hides(_) => "Hides".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// Why a request fails that gets it, where the contract says so. What is not the API's accuses no key and drops nothing.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Status(401) | Self::Bare(401) => Some(Reason::Unauthorized),
            Self::Status(402) => Some(Reason::PaymentRequired),
            Self::Status(403) => Some(Reason::Forbidden),
            Self::Status(404) | Self::Bare(404) => Some(Reason::NotFound),
            Self::Status(429) | Self::StatusAndWait(429, _) | Self::Bare(429) => Some(Reason::RateLimited),
            Self::Status(500 | 503) | Self::StatusAndWait(503, _) => Some(Reason::ServerError),
            Self::Bare(302) => Some(Reason::Redirect),
            Self::Foreign(200 | 401 | 403 | 404) => Some(Reason::ForeignResponse),
            Self::Cut | Self::WrongShape => Some(Reason::Decode),
            _ => None,
        }
    }

    /// How long it asks to wait. What is not the API's may ask for a minute at most.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::StatusAndWait(_, seconds) => Some(Duration::from_secs(seconds.into())),
            Self::ForeignAndWait(_, seconds) => Some(Duration::from_secs(seconds.min(60).into())),
            _ => None,
        }
    }

    pub fn is_of_list_only(self) -> bool {
        matches!(self, Self::Hides(_) | Self::NoIds | Self::Repeats | Self::NoPagination)
    }

    /// All replies that can come to any request.
    pub const ANY: &[Self] = &[
        Self::Status(401),
        Self::Status(402),
        Self::Status(403),
        Self::Status(404),
        Self::Status(410),
        Self::Status(422),
        Self::Status(429),
        Self::Status(500),
        Self::Status(503),
        Self::StatusAndWait(429, 0),
        Self::StatusAndWait(503, 0),
        Self::Bare(302),
        Self::Bare(401),
        Self::Bare(404),
        Self::Bare(429),
        Self::Bare(502),
        Self::Bare(200),
        Self::Foreign(200),
        Self::Foreign(401),
        Self::Foreign(403),
        Self::Foreign(404),
        Self::Foreign(502),
        Self::ForeignAndWait(503, 0),
        Self::ErrorTrue(401),
        Self::ErrorTrue(500),
        Self::Cut,
        Self::WrongShape,
        Self::NullData,
        Self::Timeout,
        Self::Slow(0),
        Self::Dns,
        Self::Tls,
        Self::Connect,
        Self::Disconnected,
        Self::Unsent,
        Self::TooLarge,
    ];

    pub const LIST: &[Self] = &[Self::Hides(3), Self::NoIds, Self::Repeats, Self::NoPagination];

    fn draw(rng: &mut Rng, to: Target) -> Self {
        let list = if matches!(to, Target::List) && rng.u8(..2) == 0 { Self::LIST } else { Self::ANY };
        match list[rng.usize(..list.len())] {
            Self::StatusAndWait(status, _) => Self::StatusAndWait(status, wait(rng)),
            Self::ForeignAndWait(status, _) => Self::ForeignAndWait(status, wait(rng)),
            Self::Slow(_) => Self::Slow(rng.u32(500..9_500)),
            Self::Hides(_) => Self::Hides(rng.u32(1..=10)),
            other => other,
        }
    }
}

/// Mostly short, sometimes hours.
fn wait(rng: &mut Rng) -> u32 {
    match rng.u8(..8) {
        0 => 0,
        1..6 => rng.u32(1..90),
        6 => rng.u32(90..900),
        _ => rng.u32(900..9_000),
    }
}

impl Condition {
    pub const ALL: &[Self] = &[
        Self::Paused,
        Self::Failed,
        Self::Deploying,
        Self::CrashLoops,
        Self::RunsAgain,
        Self::Flickers,
        Self::WorkerPaused,
        Self::Ended,
        Self::StrangePhase,
        Self::NoPhase,
        Self::LacksReplicas,
        Self::Unhealthy,
        Self::Flaps,
        Self::CheckOld,
        Self::Lag,
        Self::LagCritical,
        Self::Backlog,
        Self::Stalled,
        Self::Quiet,
        Self::Drops,
        Self::Restarts,
    ];
}

impl Knobs {
    pub const DEFAULT: Self = Self {
        budget: 40,
        stale_after: 300,
        discovery: 60,
        in_flight: 8,
        max_pipelines: 20_000,
        filters: false,
        expects: false,
        usage: 0,
    };

    fn draw_usage(rng: &mut Rng) -> u32 {
        [0, 60, 300, 900][rng.usize(..4)]
    }

    /// For a response that takes 150 ms. With fewer, large fleets starve, whatever the budget is.
    fn enough_in_flight(pipelines: u32) -> u32 {
        (pipelines / 30).max(8)
    }

    fn draw(rng: &mut Rng, pipelines: u32) -> Self {
        let need = (pipelines * 4 / 3).max(2);
        Self {
            budget: match rng.u8(..4) {
                // Too small, just enough, ample.
                0 => (need / 2).max(4),
                1 => need * 5 / 4,
                2 => need * 4 + 20,
                _ => need.max(40),
            },
            stale_after: if rng.u8(..4) == 0 { 120 } else { 300 },
            discovery: if rng.u8(..4) == 0 { 30 } else { 60 },
            in_flight: if rng.u8(..5) == 0 && pipelines < 100 { 2 } else { Self::enough_in_flight(pipelines) },
            max_pipelines: if rng.u8(..6) == 0 { (pipelines * 4 / 5).max(1) } else { 20_000 },
            filters: rng.u8(..3) == 0,
            expects: rng.u8(..3) == 0,
            usage: Self::draw_usage(rng),
        }
    }
}

impl Fault {
    /// Whether nothing of it ever ends.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::Delete(_)
            | Self::Rename(_)
            | Self::Reproject(_)
            | Self::MoveGroup(_)
            | Self::NewMonth
            | Self::Reload(_)
            | Self::Restart
            | Self::StepWall(_) => true,
            Self::Worker(..)
            | Self::QuietTopic(_)
            | Self::BadDay
            | Self::OverLimit
            | Self::TrialExpired
            | Self::Spend(_)
            | Self::Reply { .. }
            | Self::Rotate
            | Self::WrongKey(_)
            | Self::Revoke
            | Self::Suspend => false,
        }
    }

    /// Nothing of it can be seen before this time has passed.
    fn lasts_at_least(&self) -> u64 {
        match self {
            // Usage is requested once in a quarter of an hour.
            Self::Reply { to: Target::Usage, .. } => 1_000,
            // See `no_progress`.
            Self::QuietTopic(_) | Self::Worker(_, Condition::Quiet) => 2_400,
            // Once all pipelines have been read a few times, whatever the budget is.
            Self::BadDay => 1_200,
            // The alert fires a while after the first reading.
            Self::Worker(_, Condition::Backlog)
            | Self::Reply { to: Target::Pipeline(_), with: Reply::Status(403), .. } => 2_400,
            // See `not_running`.
            Self::Worker(
                _,
                Condition::Deploying | Condition::CrashLoops | Condition::RunsAgain | Condition::WorkerPaused,
            ) => 1_200,
            _ => 0,
        }
    }

    fn draw(rng: &mut Rng, setup: &Setup) -> Self {
        let place = rng.u32(..1_000_000);
        match rng.u8(..100) {
            0..4 => Self::Create(rng.u32(1..4)),
            4..7 => Self::Delete(place),
            7..9 => Self::Rename(place),
            9..11 => Self::Reproject(place),
            11..13 => Self::MoveGroup(place),
            13..38 => Self::Worker(place, Condition::ALL[rng.usize(..Condition::ALL.len())]),
            38..40 => Self::QuietTopic(place),
            40..42 => Self::OverLimit,
            42 => Self::TrialExpired,
            43..45 => Self::Spend([10, 10_000][rng.usize(..2)]),
            45 => Self::NewMonth,
            46..80 => {
                let to = match rng.u8(..11) {
                    8.. if setup.knobs.usage > 0 => Target::Usage,
                    0..2 => Target::Everything,
                    2..4 => Target::List,
                    4 => Target::Status,
                    5 => Target::Metrics,
                    6 => Target::DestinationHealth,
                    _ => Target::Pipeline(place),
                };
                let one_in = if rng.u8(..3) == 0 { rng.u32(2..10) } else { 1 };
                let times = if rng.u8(..4) == 0 { rng.u32(1..4) } else { 0 };
                Self::Reply { to, with: Reply::draw(rng, to), one_in, times }
            }
            80..84 => Self::Rotate,
            84 => Self::BadDay,
            85..88 => Self::WrongKey([WrongKey::ReadOnly, WrongKey::OtherGroup, WrongKey::Malformed][rng.usize(..3)]),
            88..91 => Self::Revoke,
            91..94 => Self::Reload(Knobs::draw(rng, setup.pipelines)),
            94..96 => Self::Restart,
            96..98 => Self::StepWall(rng.i32(-4_000..4_000)),
            _ => Self::Suspend,
        }
    }
}

/// One history of this number is long, and nothing in it forgets the credits that were used.
const UNINTERRUPTED: u64 = 20;

impl History {
    /// In hours of fleets.
    pub fn hours(&self) -> f64 {
        f64::from(self.setup.accounts) * self.length as f64 / 3_600.0
    }

    /// The history of a seed: busy times, with calm ones in between in which the picture has to come true again.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let pipelines = match rng.u16(..1_000) {
            0..60 => 0,
            60..200 => 1,
            200..800 => rng.u32(2..12),
            800..980 => rng.u32(12..60),
            980..998 => rng.u32(60..300),
            _ => 2_000,
        };
        // Only after a day is it known how long credits last. Some days are not interrupted by anything that forgets them.
        let knows_days = seed.is_multiple_of(UNINTERRUPTED);
        let is_long = rng.u8(..50) == 0 || knows_days;
        let pipelines = if is_long { pipelines.min(2) } else { pipelines };
        let setup = Setup {
            pipelines,
            accounts: if rng.u8(..4) == 0 { 2 } else { 1 },
            page: [2, 5, 100, 100][rng.usize(..4)].max(pipelines / 20),
            scrape_every: if pipelines > 100 || is_long { 300 } else { [15, 30, 60][rng.usize(..3)] },
            knobs: if is_long || rng.bool() {
                let usage = if is_long { 900 } else { Knobs::draw_usage(&mut rng) };
                let in_flight = Knobs::enough_in_flight(pipelines);
                Knobs { budget: Knobs::DEFAULT.budget.max(pipelines * 2), in_flight, usage, ..Knobs::DEFAULT }
            } else {
                Knobs::draw(&mut rng, pipelines)
            },
        };
        let length = match pipelines {
            _ if knows_days => rng.u64(27..37) * 3_600,
            _ if is_long => rng.u64(30..80) * 3_600,
            101.. => 2 * 3_600,
            _ => rng.u64(2..9) * 3_600,
        };
        let mut incidents = Vec::new();
        if is_long {
            let (at, lasts) = (rng.u64(0..7_200), rng.u64(80_000..200_000));
            // Up to 40 in an hour, some are left after a day.
            let spend = if knows_days { rng.u32(8..40) } else { rng.u32(1..60) };
            incidents.push(Incident { at, lasts, account: 0, fault: Fault::Spend(spend) });
            let at = if knows_days { rng.u64(92_000..length - 1_800) } else { rng.u64(100_000..length.max(100_001)) };
            incidents.push(Incident { at, lasts: 0, account: 0, fault: Fault::NewMonth });
        }
        let mut at = rng.u64(0..600);
        while at < length {
            let busy_until = at + rng.u64(60..2_400);
            while at < busy_until {
                let lasts = match rng.u8(..4) {
                    0 => rng.u64(1..30),
                    1 => rng.u64(30..600),
                    2 => rng.u64(300..1_500),
                    _ => rng.u64(600..4_000),
                };
                let account = rng.u8(..setup.accounts);
                let mut fault = Fault::draw(&mut rng, &setup);
                match &mut fault {
                    Fault::Restart | Fault::Spend(_) if knows_days => continue,
                    Fault::Reload(knobs) if knows_days => knobs.usage = setup.knobs.usage,
                    _ => {}
                }
                let lasts = match fault.lasts_at_least() {
                    _ if fault.is_for_good() => 0,
                    least if rng.bool() => lasts.max(least),
                    _ => lasts,
                };
                // Otherwise a start with a key that is refused would be rare.
                let restarts = matches!(fault, Fault::WrongKey(_) | Fault::Revoke) && !knows_days && rng.u8(..4) == 0;
                incidents.push(Incident { at, lasts, account, fault });
                if restarts {
                    incidents.push(Incident { at: at + lasts / 2, lasts: 0, account, fault: Fault::Restart });
                }
                at += rng.u64(1..400);
            }
            at += rng.u64(600..6_000) * if is_long { 5 } else { 1 };
        }
        Self { seed, length, setup, incidents }
    }
}
