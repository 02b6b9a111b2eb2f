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
pub mod second_opinion;
pub mod served;
pub mod shrink;
pub mod told;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use goldrush_exporter::account::{Event, KeyState, Next, Sent, View};
use goldrush_exporter::api::{Error, Operation, PipelineId, Probe, Reason, Request, Response};
use goldrush_exporter::exposition::{Format, Selection, fleet_text, lasting_fleet_text};
use goldrush_exporter::moment::Moment;

use clock::Clock;
use coverage::Coverage;
use daemon::Daemon;
use history::{Fault, History, Incident, Reply};
use invariants::Invariant;
use picture::{Picture, Reader, Series};
use told::{At, Delivery, Told};
use world::{KeyId, Reaction, Said, World};

/// How long the exporter takes to see that a file has changed, at most.
const LOOKS_AT_FILES: Duration = Duration::from_secs(1);

/// At one scrape of so many.
const COMPARES_FORMATS: u64 = 16;

/// At one scrape of so many, what is kept of it is compared with what would be written later.
const KEEPS_TEXT: u64 = 4;

/// How long it may take until the API's last words are shown, once it asks for no more silence.
const SETTLES: Duration = Duration::from_secs(840);
/// A response that takes longer never comes.
const SLOWEST: Duration = Duration::from_secs(12);
/// With a longer interval, usage is not waited for.
const OFTEN: Duration = Duration::from_secs(300);
/// The longest silence that it may ask for, and a backoff.
const LONGEST_SILENCE: Duration = Duration::from_secs(9_600);

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

/// What happens to an incident. One that lasts for no time begins before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Begins,
    Ends,
}

/// An exposition that is served again while nothing has changed, as the daemon does.
struct KeptText {
    text: String,
    at: Moment,
    version: u64,
    good_for: Option<Duration>,
}

struct Simulation {
    scene: Scene,
    invariants: Vec<Box<dyn Invariant>>,
    rng: Rng,
    /// By the monotonic clock, then in the order in which they were planned.
    pending: BTreeMap<(Duration, u64), Pending>,
    planned: u64,
    /// What incidents do, by the world's time.
    agenda: BTreeSet<(Duration, Turn, usize)>,
    digest: DefaultHasher,
    outcome: Outcome,
    /// The series of the troubles at the last scrape.
    troubles: BTreeMap<Box<str>, Rc<Series>>,
    reader: Reader,
    kept: Option<KeptText>,
    key_states: Vec<KeyState>,
}

/// Lives through a history.
///
/// # Errors
/// The first violation of an invariant.
pub fn run(history: &History) -> Result<Outcome, Violation> {
    let mut simulation = Simulation::new(history);
    let result = simulation.run().and_then(|()| simulation.ask_for_a_second_opinion());
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
        let mut agenda = BTreeSet::new();
        for (index, incident) in history.incidents.iter().enumerate() {
            // Not all at whole seconds: where in a second is a matter of the incident alone.
            let begin = Duration::from_millis(incident.at * 1_000 + (index as u64 * 617) % 1_000);
            agenda.insert((begin, Turn::Begins, index));
            if !incident.fault.is_for_good() {
                agenda.insert((begin + Duration::from_secs(incident.lasts), Turn::Ends, index));
            }
        }
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
            reader: Reader::default(),
            kept: None,
            key_states: vec![KeyState::Untried; accounts],
        }
    }

    fn run(&mut self) -> Checked {
        match self.scene.history.setup.pipelines {
            0 => self.scene.coverage.note("fleet of 0"),
            101.. => self.scene.coverage.note("fleet of more than 100"),
            _ => {}
        }
        self.plan(Duration::from_secs(7), Pending::Scrapes);
        self.send_all()?;
        self.run_until(Duration::from_secs(self.scene.history.length), |_| false)
    }

    /// Until that moment of the world, or until it is over, which is looked at once in a second.
    fn run_until(&mut self, end: Duration, is_over: impl Fn(&Scene) -> bool) -> Checked {
        let mut looks = self.scene.now();
        loop {
            if self.scene.now() >= looks {
                if is_over(&self.scene) {
                    return Ok(());
                }
                looks = self.scene.now() + Duration::from_secs(1);
            }
            let clock = &self.scene.clock;
            let agenda = self.agenda.first().map(|(at, ..)| at.saturating_sub(clock.asleep).max(clock.awake));
            let wakes = self.scene.daemon.accounts.iter().enumerate();
            let wake = wakes.filter_map(|(account, driver)| Some((driver.wake?, account))).min();
            let pending = self.pending.keys().next().map(|(at, _)| *at);
            let Some(next) = [agenda, wake.map(|(at, _)| at), pending].into_iter().flatten().min() else {
                return Ok(());
            };
            if next + clock.asleep > end {
                return Ok(());
            }
            let next = next.max(clock.awake);
            if agenda.is_some_and(|at| at <= next) {
                self.compare_with_kept_text(next)?;
                self.scene.clock.awake = next;
                self.act()?;
            } else if let Some(first) = self.pending.first_entry().filter(|first| first.key().0 <= next) {
                let pending = first.remove();
                // A request that arrives at the API changes nothing that is shown.
                if !matches!(pending, Pending::Arrives { .. }) {
                    self.compare_with_kept_text(next)?;
                }
                self.scene.clock.awake = next;
                self.happen(pending)?;
            } else if let Some((_, account)) = wake {
                self.scene.clock.awake = next;
                self.send(account)?;
            }
        }
    }

    /// What has been written is what would be written just before the next event, if it still holds then.
    fn compare_with_kept_text(&mut self, next: Duration) -> Checked {
        let Some(kept) = &self.kept else { return Ok(()) };
        let clock = &mut self.scene.clock;
        clock.awake = clock.awake.max(next.saturating_sub(Duration::from_nanos(1)));
        let (fleet, now) = (&self.scene.daemon.fleet, clock.moment());
        let is_over = kept.good_for.is_some_and(|good_for| now.since(kept.at) >= good_for);
        if fleet.version() != kept.version || is_over || now.wall_stepped_since(kept.at) {
            self.kept = None;
            return Ok(());
        }
        let text = fleet_text(fleet, &Selection::full(), now, Format::Classic);
        // A second's resolution is enough for it.
        let is_lag = |line: &&str| line.starts_with("goldrush_poll_lag_seconds{");
        let lines = |text| str::lines(text).filter(|line| !is_lag(line));
        let differs = lines(&kept.text).zip(lines(&text)).find(|(old, new)| old != new);
        match differs {
            Some((old, new)) => Err(("kept text", format!("{old} is served, and by now it is {new}"))),
            None if lines(&kept.text).count() != lines(&text).count() => {
                Err(("kept text", "another number of samples is served than there is by now".to_owned()))
            }
            None => {
                self.scene.coverage.note("kept text served");
                Ok(())
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
            let now = self.scene.clock.moment().monotonic();
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
            let found = error.as_ref().map(Error::reason);
            if let Some(reason) = hit.reason().filter(|reason| found != Some(*reason)) {
                return Err(("reasons", format!("{hit:?} is {reason}, and {found:?} was made of it")));
            }
            let found = error.as_ref().and_then(Error::retry_after);
            if let Some(wait) = hit.wait().filter(|wait| found != Some(*wait)) {
                return Err(("reasons", format!("{hit:?} asks to wait for {wait:?}, and {found:?} was made of it")));
            }
        }
        if is_of_old_key {
            coverage.note("late response of an old key");
        }
        let driver = &self.scene.daemon.accounts[account];
        let before = matches!(request, Request::Usage).then(|| driver.handle.view(moment));
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
        if let Some(before) = before {
            let is_limit = error.as_ref().is_some_and(|error| error.reason() == Reason::RateLimited);
            touches_nothing_else(&before, &driver.handle.view(moment), is_limit)?;
        }
        let settings = &driver.settings;
        let most = settings.max_pipelines;
        let delivery =
            Delivery { request: &request, error: error.as_ref(), said, events: &events, is_of_old_key, most, at };
        self.scene.told[account].hear(&delivery, |item| daemon::includes(settings, item));
        if matches!(request, Request::Page(_)) {
            let view = driver.handle.view(moment);
            let dropped = self.scene.told[account].keep(|id| view.pipelines.contains_key(id));
            if view.listing.latest().is_some_and(|list| list.at == moment) {
                self.scene.told[account].keep_topics();
            }
            // After a reload that lowers the limit, those that the list shows first stay.
            if view.pipelines.len() < most {
                self.is_gone(account, &dropped)?;
            }
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
            let lies = matches!(incident.fault, Fault::WrongKey(_) | Fault::Reply { with: Reply::NoPagination, .. });
            lies && Duration::from_secs(incident.at) <= scene.now()
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
        driver.handle.change(|account| account.key_replaced(moment.wall(), moment.monotonic()));
        self.check(&Step::Rotated { account })?;
        self.send(account)
    }

    /// The next beginning or end on the agenda.
    fn act(&mut self) -> Checked {
        let Some((_, turn, index)) = self.agenda.pop_first() else { return Ok(()) };
        let incident = self.scene.history.incidents[index].clone();
        let account = usize::from(incident.account);
        self.scene.disturbed = self.scene.now();
        let now = self.scene.now();
        if turn == Turn::Ends {
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
            self.scene.told[account].start_again();
            self.check(&Step::Reloaded { account, is_another_key })?;
        }
        self.send_all()
    }

    fn restart(&mut self) -> Checked {
        self.scene.coverage.note("restarted");
        let knobs = self.scene.daemon.knobs;
        let epoch = self.scene.daemon.accounts.iter().map(|driver| driver.epoch).max().unwrap_or_default() + 1;
        self.kept = None;
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
        let (text, good_for) = lasting_fleet_text(fleet, &Selection::full(), moment, Format::Classic);
        let picture = self.reader.read(&text, false).map_err(|what| ("well-formed", what))?;
        text.hash(&mut self.digest);
        if text.contains(world::API_KEY) {
            return Err(("secrets", "a key of by_api_key is shown".to_owned()));
        }
        // Reading everything twice each time would cost half of the campaign.
        if self.outcome.scrapes.is_multiple_of(COMPARES_FORMATS) {
            let text = fleet_text(fleet, &Selection::full(), moment, Format::OpenMetrics);
            let other = self.reader.read(&text, true).map_err(|what| ("well-formed", what))?;
            if let Some(sample) = picture.difference(&other).or_else(|| other.difference(&picture)) {
                return Err(("formats agree", format!("{sample} is in one of both texts only")));
            }
        }
        if self.outcome.scrapes.is_multiple_of(KEEPS_TEXT) {
            self.kept = Some(KeptText { text, at: moment, version: fleet.version(), good_for });
        }
        self.outcome.scrapes += 1;
        self.note_troubles(&picture);
        let views: Vec<View> = self.scene.daemon.accounts.iter().map(|driver| driver.handle.view(moment)).collect();
        self.check(&Step::Scraped { picture: &picture, views: &views })
    }

    /// The faults of the API and of the keys come to an end, and the platform stays as it is then. What is shown is at last
    /// what a naive poller makes of it that asks everything once.
    fn ask_for_a_second_opinion(&mut self) -> Checked {
        let begins_later: BTreeSet<usize> =
            self.agenda.iter().filter(|(_, turn, _)| *turn == Turn::Begins).map(|(.., index)| *index).collect();
        let incidents = &self.scene.history.incidents;
        let is_on = |index: &usize| {
            let is_of_api = matches!(
                incidents[*index].fault,
                Fault::Reply { .. } | Fault::WrongKey(_) | Fault::Revoke | Fault::Rotate
            );
            is_of_api && !begins_later.contains(index)
        };
        let now = self.scene.now();
        let ends = self.agenda.iter().map(|(.., index)| *index).filter(is_on);
        self.agenda = ends.map(|index| (now, Turn::Ends, index)).collect();
        let is_silent = |scene: &Scene| {
            let moment = scene.clock.moment();
            let paused = |driver: &daemon::Driver| driver.handle.view(moment).budget.paused_until.is_some();
            scene.daemon.accounts.iter().any(paused)
        };
        self.run_until(now + Duration::from_secs(2), |_| false)?;
        self.run_until(now + LONGEST_SILENCE, |scene| !is_silent(scene))?;
        let frozen = self.scene.now();
        self.scene.world.freeze(frozen);
        self.run_until(frozen + SETTLES, |scene| {
            let is_done = |account| has_read_all(scene, account, frozen + SLOWEST) || !can_be_known(scene, account);
            (0..scene.daemon.accounts.len()).all(is_done)
        })?;
        self.scrape()?;
        let text = fleet_text(&self.scene.daemon.fleet, &Selection::full(), self.scene.clock.moment(), Format::Classic);
        for account in 0..self.scene.daemon.accounts.len() {
            if !can_be_known(&self.scene, account) {
                continue;
            }
            let (name, mut settings) = (daemon::name(account), self.scene.daemon.accounts[account].settings.clone());
            let usage = &self.scene.told[account].usage;
            let is_known = usage.probe.read.is_some_and(|at| at.world > frozen + SLOWEST);
            settings.poll.usage = settings.poll.usage.filter(|_| is_known);
            let world = &mut self.scene.world;
            second_opinion::compare(&text, name, &settings, &mut |path| world.get(account, path, frozen))
                .map_err(|what| ("second opinion", format!("{name}: {what}")))?;
            self.scene.coverage.note("the second opinion agrees");
        }
        Ok(())
    }

    fn note_troubles(&mut self, picture: &Picture) {
        let now: BTreeMap<_, _> = picture.troubles.iter().map(|series| (series.text.clone(), series.clone())).collect();
        let only_in = |some: &BTreeMap<Box<str>, Rc<Series>>, others: &BTreeMap<Box<str>, Rc<Series>>| {
            let some = some.iter().filter(|(text, _)| !others.contains_key(*text));
            some.filter_map(|(_, series)| series.kind.clone()).collect::<Vec<_>>()
        };
        for kind in only_in(&now, &self.troubles) {
            self.scene.coverage.note(format!("trouble {kind} raised"));
        }
        for kind in only_in(&self.troubles, &now) {
            self.scene.coverage.note(format!("trouble {kind} healed"));
        }
        self.troubles = now;
    }
}

/// Whether all that the API says is to be shown: what is not read often enough is withdrawn, and what a list cuts off is not
/// known.
fn can_be_known(scene: &Scene, account: usize) -> bool {
    let driver = &scene.daemon.accounts[account];
    let budget = driver.handle.view(scene.clock.moment()).budget;
    budget.required <= budget.allowed && scene.world.of(account).count() <= driver.settings.max_pipelines
}

/// Whether everything that exists has been read since then, and nothing else is known.
fn has_read_all(scene: &Scene, account: usize, since: Duration) -> bool {
    let told = &scene.told[account];
    let settings = &scene.daemon.accounts[account].settings;
    let ours = scene.world.of(account).filter(|pipeline| settings.account.projects.matches(pipeline.project));
    let view = scene.daemon.accounts[account].handle.view(scene.clock.moment());
    let is_new = |at: &At| at.world > since;
    let is_complete = |begun: &At| view.listing.latest().is_some_and(|list| list.at.monotonic() >= begun.monotonic);
    let is_read = |pipeline: &told::PipelineTold| {
        let probes = &pipeline.probes;
        is_new(&pipeline.listed) && probes.iter().all(|probe| probe.read.as_ref().is_some_and(is_new))
    };
    let usage = settings.poll.usage.is_none_or(|interval| interval > OFTEN)
        || told.usage.probe.read.as_ref().is_some_and(is_new);
    let listed = told.list_begun.as_ref().is_some_and(|begun| is_new(begun) && is_complete(begun));
    usage && listed && ours.count() == told.pipelines.len() && told.pipelines.values().all(is_read)
}

/// A response about usage changes nothing that is known of keys, lists and pipelines; a 429 lengthens the pause.
fn touches_nothing_else(before: &View, after: &View, is_limit: bool) -> Checked {
    let probes = |view: &View| {
        let mut attempts = Vec::new();
        for (id, pipeline) in &view.pipelines {
            attempts.push((id.clone(), Probe::ALL_VALUES.map(|probe| pipeline.failure(probe)), pipeline.read_at()));
        }
        attempts
    };
    let failure = |view: &View| view.listing.failure().map(Error::reason);
    let same = before.credential.state() == after.credential.state()
        && before.read_at == after.read_at
        && failure(before) == failure(after)
        && before.listing.latest() == after.listing.latest()
        && probes(before) == probes(after)
        && (is_limit || before.budget.paused_until == after.budget.paused_until);
    if same { Ok(()) } else { Err(("usage", "a response about it has changed something else".to_owned())) }
}
