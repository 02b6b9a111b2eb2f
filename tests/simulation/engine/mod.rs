//! A deterministic simulation of everything that the exporter decides: accounts, exposition, judgement, reload, restart and
//! rotation of keys, against a simulated API, on one simulated clock and one thread.
//!
//! One seed is one [`History`]: a fleet, a configuration and all that happens to them. After every step, invariants compare
//! what the exporter shows and does with what it was told ([`told`]) and with the truth ([`world`]).
//!
//! * To add a fault: a variant of [`history::Fault`] or [`history::Reply`], see there.
//! * To add an invariant: a type that implements [`invariants::Invariant`], and a line in [`invariants::all`].
//! * To demand that something happens in a campaign: a line in [`coverage`].
//!
//! A violation is shrunk to a short history and printed as a test that can be pasted into `tests/simulation/main.rs`.

pub mod campaign;
pub mod clock;
pub mod coverage;
pub mod daemon;
pub mod history;
pub mod invariants;
pub mod picture;
pub mod prometheus;
pub mod shrink;
pub mod told;
pub mod world;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use fastrand::Rng;
use goldrush_exporter::account::{Event, KeyState, Next, Sent, View};
use goldrush_exporter::api::{Error, Operation, PipelineId, Request, Response};
use goldrush_exporter::exposition::{Format, Selection, fleet_text};

use clock::Clock;
use coverage::Coverage;
use daemon::Daemon;
use history::{Fault, History, Incident, Reply};
use invariants::Invariant;
use picture::Picture;
use told::{At, Delivery, Told};
use world::{KeyId, Reaction, Said, World};

/// How long the exporter takes to see that a file has changed, at most.
const LOOKS_AT_FILES: Duration = Duration::from_secs(1);

/// At one scrape of so many.
const COMPARES_FORMATS: u64 = 16;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
    /// In seconds since the beginning.
    pub at: u64,
}

/// What a history came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    pub coverage: Coverage,
    /// Over everything that was sent and shown: equal for equal histories.
    pub digest: u64,
    pub requests: u64,
    pub scrapes: u64,
}

/// What has just happened.
pub enum Step<'a> {
    Sent {
        account: usize,
        request: &'a Request,
    },
    Delivered {
        account: usize,
        sent: Sent,
        error: Option<&'a Error>,
        request: &'a Request,
    },
    /// The exporter has read another key.
    Rotated {
        account: usize,
    },
    Reloaded {
        account: usize,
        is_another_key: bool,
    },
    Restarted,
    Suspended,
    Scraped {
        picture: &'a Picture,
        views: &'a [View],
    },
}

/// Everything that invariants may look at.
pub struct Scene {
    pub clock: Clock,
    pub world: World,
    pub daemon: Daemon,
    pub told: Vec<Told>,
    pub history: History,
    /// When anything last began or ended that is no step of the workers' own, in the world's time.
    pub disturbed: Duration,
    pub coverage: Coverage,
}

impl Scene {
    pub fn now(&self) -> Duration {
        self.clock.world()
    }

    /// How long nothing has begun or ended.
    pub fn calm_for(&self) -> Duration {
        self.now().saturating_sub(self.disturbed)
    }
}

enum Pending {
    Arrives { account: usize, epoch: u64, key: KeyId, request: Request, sent: Sent },
    Delivers { account: usize, epoch: u64, sent: Sent, response: Box<Response>, said: Option<Said>, hit: Option<Reply> },
    Looks { account: usize },
    Scrapes,
}

struct Simulation {
    scene: Scene,
    invariants: Vec<Box<dyn Invariant>>,
    rng: Rng,
    /// By the monotonic clock, then in the order in which they were planned.
    pending: BTreeMap<(Duration, u64), Pending>,
    planned: u64,
    /// Beginnings and ends of incidents, by the world's time, the latest first.
    agenda: Vec<(Duration, usize, bool)>,
    digest: DefaultHasher,
    outcome: Outcome,
    troubles: BTreeMap<String, ()>,
    key_states: Vec<KeyState>,
}

/// Lives through a history.
///
/// # Errors
/// The first violation of an invariant.
pub fn run(history: &History) -> Result<Outcome, Violation> {
    let mut simulation = Simulation::new(history);
    let result = simulation.run();
    result.map_err(|(invariant, what)| Violation { invariant, what, at: simulation.scene.now().as_secs() })?;
    simulation.outcome.digest = simulation.digest.finish();
    simulation.outcome.coverage = simulation.scene.coverage;
    Ok(simulation.outcome)
}

type Checked = Result<(), (&'static str, String)>;

impl Simulation {
    fn new(history: &History) -> Self {
        let clock = Clock::new();
        let mut rng = Rng::with_seed(history.seed ^ 0x5eed);
        let world = World::new(&history.setup);
        let daemon = Daemon::start(history.setup.knobs, &world, &clock, &mut rng);
        let mut agenda = Vec::new();
        for (index, incident) in history.incidents.iter().enumerate() {
            // Not all at whole seconds: where in a second is a matter of the incident alone.
            let begin = Duration::from_millis(incident.at * 1_000 + (index as u64 * 617) % 1_000);
            agenda.push((begin, index, true));
            agenda.push((begin + Duration::from_secs(incident.lasts), index, false));
        }
        agenda.sort_by(|a, b| b.cmp(a));
        let accounts = usize::from(history.setup.accounts);
        let scene = Scene {
            clock,
            world,
            daemon,
            told: (0..accounts).map(|_| Told::default()).collect(),
            history: history.clone(),
            disturbed: Duration::ZERO,
            coverage: Coverage::default(),
        };
        Self {
            scene,
            invariants: invariants::all(accounts),
            rng,
            pending: BTreeMap::new(),
            planned: 0,
            agenda,
            digest: DefaultHasher::new(),
            outcome: Outcome::default(),
            troubles: BTreeMap::new(),
            key_states: vec![KeyState::Untried; accounts],
        }
    }

    fn run(&mut self) -> Checked {
        match self.scene.history.setup.pipelines {
            0 => self.scene.coverage.note("fleet of 0"),
            101.. => self.scene.coverage.note("fleet of more than 100"),
            _ => {}
        }
        let end = Duration::from_secs(self.scene.history.length);
        self.plan(Duration::from_secs(7), Pending::Scrapes);
        self.send_all()?;
        loop {
            let clock = &self.scene.clock;
            let agenda = self.agenda.last().map(|(at, ..)| at.saturating_sub(clock.asleep).max(clock.awake));
            let wakes = self.scene.daemon.accounts.iter().enumerate();
            let wake = wakes.filter_map(|(account, driver)| Some((driver.wake?, account))).min();
            let pending = self.pending.keys().next().map(|(at, _)| *at);
            let Some(next) = [agenda, wake.map(|(at, _)| at), pending].into_iter().flatten().min() else {
                return Ok(());
            };
            if next + clock.asleep > end {
                return Ok(());
            }
            self.scene.clock.awake = next.max(clock.awake);
            if agenda == Some(next) {
                self.act()?;
            } else if pending == Some(next) {
                let (_, pending) = self.pending.pop_first().expect("it is there");
                self.happen(pending)?;
            } else if let Some((_, account)) = wake {
                self.send(account)?;
            }
        }
    }

    fn plan(&mut self, after: Duration, what: Pending) {
        self.planned += 1;
        self.pending.insert((self.scene.clock.awake + after, self.planned), what);
    }

    fn check(&mut self, step: &Step) -> Checked {
        for invariant in &mut self.invariants {
            invariant.check(step, &mut self.scene).map_err(|what| (invariant.name(), what))?;
        }
        Ok(())
    }

    fn send_all(&mut self) -> Checked {
        (0..self.scene.daemon.accounts.len()).try_for_each(|account| self.send(account))
    }

    /// As the poller does: everything that may be sent now.
    fn send(&mut self, account: usize) -> Checked {
        loop {
            let now = self.scene.clock.moment().monotonic;
            let driver = &mut self.scene.daemon.accounts[account];
            driver.wake = None;
            match driver.right.next(now) {
                Next::Send(request, sent) => {
                    let (epoch, key) = (driver.epoch, driver.key);
                    (account, &request, self.scene.clock.awake).hash(&mut self.digest);
                    self.outcome.requests += 1;
                    self.check(&Step::Sent { account, request: &request })?;
                    let way = Duration::from_millis(self.rng.u64(5..150));
                    self.plan(way, Pending::Arrives { account, epoch, key, request, sent });
                }
                Next::WaitUntil(until) => {
                    if until <= now {
                        return Err(("waits", "next() waits for a moment that is over".to_owned()));
                    }
                    driver.wake = Some(self.scene.clock.since_origin(until));
                    return Ok(());
                }
                Next::Idle => return Ok(()),
            }
        }
    }

    fn happen(&mut self, pending: Pending) -> Checked {
        match pending {
            Pending::Arrives { account, epoch, key, request, sent } => {
                let now = self.scene.now();
                let reaction = self.scene.world.react(account, key, &request, now, &mut self.rng);
                let Reaction { response, said, hit, delay } = reaction;
                let way = Duration::from_millis(self.rng.u64(5..150));
                self.plan(
                    way + delay,
                    Pending::Delivers { account, epoch, sent, response: Box::new(response), said, hit },
                );
                Ok(())
            }
            Pending::Delivers { account, epoch, sent, response, said, hit } => {
                if self.scene.daemon.accounts[account].epoch == epoch {
                    self.deliver(account, sent, *response, said.as_ref(), hit)?;
                    self.send(account)?;
                }
                Ok(())
            }
            Pending::Looks { account } => self.look_at_file(account),
            Pending::Scrapes => {
                self.plan(Duration::from_secs(self.scene.history.setup.scrape_every), Pending::Scrapes);
                self.scrape()
            }
        }
    }

    fn deliver(
        &mut self,
        account: usize,
        sent: Sent,
        response: Response,
        said: Option<&Said>,
        hit: Option<Reply>,
    ) -> Checked {
        let moment = self.scene.clock.moment();
        let at = At::new(self.scene.now(), moment);
        let (request, error) = (response.request(), response.error().cloned());
        let operation: Operation = request.operation();
        let is_of_old_key = sent.generation != self.scene.daemon.accounts[account].generation;
        let coverage = &mut self.scene.coverage;
        if let Some(hit) = hit {
            coverage.note(coverage::reply(hit, operation));
        }
        if is_of_old_key {
            coverage.note("late response of an old key");
        }
        let driver = &self.scene.daemon.accounts[account];
        let events = driver.right.answered(sent, response, moment);
        for event in &events {
            match event {
                Event::PipelineIsNew(_) => coverage.note("pipeline is new"),
                Event::PipelineIsGone(_) => coverage.note("pipeline is gone"),
                Event::Truncated { .. } => coverage.note("list truncated"),
                Event::Overloaded { .. } => coverage.note("budget too small"),
                _ => {}
            }
        }
        let settings = &driver.settings;
        let most = settings.max_pipelines;
        let delivery =
            Delivery { request: &request, error: error.as_ref(), said, events: &events, is_of_old_key, most, at };
        self.scene.told[account].hear(&delivery, |item| daemon::includes(settings, item));
        if matches!(request, Request::Page(_)) {
            let view = driver.handle.view(moment);
            let dropped = self.scene.told[account].keep(|id| view.pipelines.contains_key(id));
            self.is_gone(account, &dropped)?;
            self.note_key(account, view.credential.state());
        } else if error.is_some() || self.key_states[account] == KeyState::Untried {
            let state = driver.handle.view(moment).credential.state();
            self.note_key(account, state);
        }
        self.check(&Step::Delivered { account, sent, error: error.as_ref(), request: &request })?;
        if events.iter().any(|event| matches!(event, Event::KeyRefused(_))) {
            self.plan(Duration::from_millis(1), Pending::Looks { account });
        }
        Ok(())
    }

    /// A pipeline that a list drops although its probes succeed does not exist any more, for the key in use at least.
    fn is_gone(&self, account: usize, dropped: &[PipelineId]) -> Checked {
        let scene = &self.scene;
        // A list that hides pipelines and does not say how many there are, twice in a row, is as good as one without them; and
        // a list can be of two groups.
        let may_lie = |incident: &Incident| {
            matches!(incident.fault, Fault::WrongKey(_) | Fault::Reply { with: Reply::NoPagination, .. })
        };
        if scene.history.incidents.iter().any(may_lie) {
            return Ok(());
        }
        let exists = |id: &PipelineId| scene.world.of(account).any(|pipeline| pipeline.id == *id);
        let filters = scene.daemon.accounts[account].settings.account.projects.is_empty();
        match dropped.iter().find(|id| filters && exists(id)) {
            Some(id) => Err(("existence", format!("{id} was dropped, and exists"))),
            None => Ok(()),
        }
    }

    fn note_key(&mut self, account: usize, state: KeyState) {
        let name = |state: KeyState| match state {
            KeyState::Untried => "Untried",
            KeyState::Accepted { .. } => "Accepted",
            KeyState::Refused { .. } => "Refused",
            KeyState::NotServiceKey { .. } => "NotServiceKey",
        };
        let (from, to) = (name(self.key_states[account]), name(state));
        if from != to {
            self.scene.coverage.note(format!("key {from} -> {to}"));
        }
        self.key_states[account] = state;
    }

    /// As the poller does: the file is looked at, and another key is taken.
    fn look_at_file(&mut self, account: usize) -> Checked {
        let scene = &mut self.scene;
        let driver = &mut scene.daemon.accounts[account];
        let key = scene.world.files[account];
        if driver.key == key {
            return Ok(());
        }
        scene.coverage.note("rotated");
        if matches!(self.key_states[account], KeyState::Refused { .. }) {
            scene.coverage.note("rotated while the key was refused");
        }
        let moment = scene.clock.moment();
        driver.key = key;
        driver.generation += 1;
        driver.handle.change(|account| account.key_replaced(moment.wall, moment.monotonic));
        self.check(&Step::Rotated { account })?;
        self.send(account)
    }

    /// The next beginning or end on the agenda.
    fn act(&mut self) -> Checked {
        let Some((_, index, begins)) = self.agenda.pop() else { return Ok(()) };
        let incident = self.scene.history.incidents[index].clone();
        let account = usize::from(incident.account);
        self.scene.disturbed = self.scene.now();
        let now = self.scene.now();
        if !begins {
            self.scene.world.end(index, &incident, now);
            if matches!(incident.fault, Fault::WrongKey(_)) {
                self.plan_look(account);
            }
            return Ok(());
        }
        self.scene.world.begin(index, &incident, now);
        match incident.fault {
            Fault::Rotate | Fault::WrongKey(_) => self.plan_look(account),
            Fault::Reload(knobs) => self.reload(knobs)?,
            Fault::Restart => self.restart()?,
            Fault::StepWall(by) => {
                self.scene.clock.stepped += i64::from(by);
                self.scene.coverage.note("clock stepped");
            }
            Fault::Suspend => {
                self.scene.clock.asleep += Duration::from_secs(incident.lasts);
                self.scene.disturbed = self.scene.now();
                self.scene.coverage.note("suspended");
                self.check(&Step::Suspended)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn plan_look(&mut self, account: usize) {
        let after = LOOKS_AT_FILES.mul_f64(self.rng.f64());
        self.plan(after, Pending::Looks { account });
    }

    fn reload(&mut self, knobs: history::Knobs) -> Checked {
        self.scene.coverage.note("reloaded");
        let scene = &mut self.scene;
        for (account, is_another_key) in scene.daemon.reload(knobs, &scene.world, &scene.clock) {
            let view = self.scene.daemon.accounts[account].handle.view(self.scene.clock.moment());
            self.scene.told[account].keep(|id| view.pipelines.contains_key(id));
            self.check(&Step::Reloaded { account, is_another_key })?;
        }
        self.send_all()
    }

    fn restart(&mut self) -> Checked {
        self.scene.coverage.note("restarted");
        let knobs = self.scene.daemon.knobs;
        let epoch = self.scene.daemon.accounts.iter().map(|driver| driver.epoch).max().unwrap_or_default() + 1;
        self.scene.daemon = Daemon::start(knobs, &self.scene.world, &self.scene.clock, &mut self.rng);
        for (driver, told) in self.scene.daemon.accounts.iter_mut().zip(&mut self.scene.told) {
            driver.epoch = epoch;
            *told = Told::default();
        }
        self.key_states.fill(KeyState::Untried);
        self.troubles.clear();
        self.check(&Step::Restarted)?;
        self.send_all()
    }

    fn scrape(&mut self) -> Checked {
        let moment = self.scene.clock.moment();
        let fleet = &self.scene.daemon.fleet;
        let read = |format: Format| {
            let text = fleet_text(fleet, &Selection::full(), moment, format);
            let picture = Picture::read(&text, format == Format::OpenMetrics).map_err(|what| ("well-formed", what));
            picture.map(|picture| (picture, text))
        };
        let (picture, text) = read(Format::Classic)?;
        text.hash(&mut self.digest);
        // Reading everything twice each time would cost half of the campaign.
        if self.outcome.scrapes.is_multiple_of(COMPARES_FORMATS) {
            let (other, _) = read(Format::OpenMetrics)?;
            let differs = |(series, value): &(&String, &f64)| other.all.get(*series) != Some(*value);
            if let Some((series, value)) = picture.all.iter().find(differs) {
                return Err(("formats agree", format!("{series} {value} is not in the OpenMetrics text")));
            }
            if picture.all.len() != other.all.len() {
                return Err(("formats agree", "the OpenMetrics text has more series".to_owned()));
            }
        }
        self.outcome.scrapes += 1;
        self.note_troubles(&picture);
        let views: Vec<View> = self.scene.daemon.accounts.iter().map(|driver| driver.handle.view(moment)).collect();
        self.check(&Step::Scraped { picture: &picture, views: &views })
    }

    fn note_troubles(&mut self, picture: &Picture) {
        let is_trouble = |series: &&String| {
            series.starts_with("goldrush_pipeline_trouble{") || series.starts_with("goldrush_account_trouble{")
        };
        let now: BTreeMap<String, ()> = picture.all.keys().filter(is_trouble).map(|s| (s.clone(), ())).collect();
        let kind = |series: &str| {
            let (_, rest) = series.split_once("kind=\"").unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        for series in now.keys().filter(|series| !self.troubles.contains_key(*series)) {
            self.scene.coverage.note(format!("trouble {} raised", kind(series)));
        }
        for series in self.troubles.keys().filter(|series| !now.contains_key(*series)) {
            self.scene.coverage.note(format!("trouble {} healed", kind(series)));
        }
        self.troubles = now;
    }
}
