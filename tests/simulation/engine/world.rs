//! The simulated truth: groups, keys, pipelines and their workers, and what the API says of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;
use goldrush_exporter::api::{self, Error, PipelineId, Probe, Request, Response, Waiting};

use super::clock::EPOCH;
use super::history::{Condition, Fault, Incident, Reply, Setup, Target, WrongKey};
use super::picture::Map;

/// What a response says, whole and undamaged.
#[derive(Debug, Clone)]
pub enum Said {
    Page(Vec<Item>),
    Status(StatusFacts),
    Metrics(MetricsFacts),
    Health(HealthFacts),
    Usage(UsageFacts),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: PipelineId,
    pub name: String,
    pub project: String,
    pub paused: bool,
    pub bounded: bool,
    pub blocks: Option<Blocks>,
    pub topic: &'static str,
    pub created: f64,
    pub updated: f64,
    pub over_limit: bool,
    pub trial_expired: bool,
}

/// Where a pipeline begins and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blocks {
    pub start: f64,
    pub stop: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StatusFacts {
    pub phase: Option<&'static str>,
    pub replicas: Option<f64>,
    pub ready: Option<f64>,
    pub start: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MetricsFacts {
    pub consumed: Option<f64>,
    pub offset: Option<f64>,
    pub height: Option<f64>,
    pub pending: Option<f64>,
    pub delay_ms: Option<f64>,
    pub rate: Option<f64>,
    pub dropped: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HealthFacts {
    pub healthy: Option<bool>,
    pub checked: Option<f64>,
    pub latency_ms: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UsageFacts {
    pub consumed: f64,
    pub limit: f64,
    pub flex: f64,
}

/// The credits of a group.
#[derive(Debug, Clone, Copy, Default)]
struct Credits {
    consumed: f64,
    /// Up to when they are counted.
    settled: Duration,
}

/// A key, as an index into [`World::keys`].
pub type KeyId = usize;

#[derive(Debug, Clone, Copy)]
struct Key {
    group: usize,
    kind: Option<WrongKey>,
    revoked: bool,
}

/// What happens to one pipeline, and since when.
#[derive(Debug, Clone, Copy)]
pub struct Active {
    incident: usize,
    pub is: Condition,
    pub since: Duration,
}

#[derive(Debug, Clone)]
pub struct Pipeline {
    pub id: PipelineId,
    pub name: String,
    pub project: &'static str,
    pub group: usize,
    pub bounded: bool,
    /// Of some bounded ones, the blocks that they process are known.
    blocks: Option<Blocks>,
    /// When it last reached its last block, or began again.
    pub turned: Duration,
    number: u32,
    created: Duration,
    updated: Duration,
    started: Duration,
    /// Up to when the counts below are settled.
    settled: Duration,
    consumed: f64,
    dropped: f64,
    pub conditions: Vec<Active>,
}

pub struct World {
    /// In the order of creation, which is that of the list.
    pub pipelines: Vec<Pipeline>,
    /// Where each of them is.
    places: Map<PipelineId, usize>,
    keys: Vec<Key>,
    /// The key in each account's file.
    pub files: Vec<KeyId>,
    /// Faults of the API that are on, and how often each has hit.
    faults: Vec<(usize, Incident, u32)>,
    revoked_for_a_while: Vec<(usize, KeyId)>,
    group_flags: Vec<(usize, usize, Fault)>,
    credits: [Credits; GROUPS],
    /// Groups that spend more than usual: by incident, and how many credits in an hour.
    spending: Vec<(usize, usize, u32)>,
    /// Since when nothing moves any more.
    frozen: Option<Duration>,
    /// What each account's client remembers.
    page_size_refused: Vec<bool>,
    created: u32,
    page: usize,
}

/// What came of a request, to be delivered after the delay.
pub struct Reaction {
    pub response: Response,
    /// What was said, if nothing was wrong with it.
    pub said: Option<Said>,
    pub hit: Option<Reply>,
    pub delay: Duration,
}

/// Those of the accounts, and one that no account has.
pub const GROUPS: usize = 3;
/// What each group spends at least. That lasts for longer than a month.
const CREDITS_PER_HOUR: f64 = 1.0;
const CREDITS: UsageFacts = UsageFacts { consumed: 100.0, limit: 1_000.0, flex: 200.0 };
const PROJECTS: [&str; 3] = ["analytics", "trading \"prod\"", "hidden"];
const TOPICS: [&str; 4] = [
    "base.mainnet.ref.block.logs",
    "eth.mainnet.ref.block.transfers",
    "base.mainnet.ref.block.traces",
    "hypercore.mainnet.ref.block.fills",
];
const RECORDS_PER_BLOCK: f64 = 7.0;
/// Responses about usage hold keys, which must not be shown.
pub const API_KEY: &str = "cqt_canary";
const TIMEOUT: Duration = Duration::from_secs(10);
const RESTARTS_EVERY: Duration = Duration::from_secs(300);
/// In seconds.
const FLAPS_EVERY: u64 = 150;
/// In seconds.
const CRASHES_EVERY: u64 = 200;
/// In seconds.
const RUN_AGAIN_EVERY: u64 = 400;

/// The id of the first pipeline of an account, which configurations expect.
pub fn first_id(account: usize) -> String {
    format!("pipe_{account}_0")
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        let accounts = usize::from(setup.accounts);
        let mut world = Self {
            pipelines: Vec::new(),
            places: Map::default(),
            keys: (0..accounts).map(|group| Key { group, kind: None, revoked: false }).collect(),
            files: (0..accounts).collect(),
            faults: Vec::new(),
            revoked_for_a_while: Vec::new(),
            group_flags: Vec::new(),
            credits: [Credits { consumed: CREDITS.consumed, settled: Duration::ZERO }; GROUPS],
            spending: Vec::new(),
            frozen: None,
            page_size_refused: vec![false; accounts],
            created: 0,
            page: setup.page as usize,
        };
        for _ in 0..setup.pipelines {
            for group in 0..accounts {
                world.create(group, Duration::ZERO);
            }
        }
        world
    }

    fn create(&mut self, group: usize, now: Duration) {
        let number = self.created;
        self.created += 1;
        let position = self.pipelines.iter().filter(|pipeline| pipeline.group == group).count();
        let text = if number < 1_000_000 && now.is_zero() {
            format!("pipe_{group}_{position}")
        } else {
            format!("pipe_new_{number}")
        };
        let bounded = number % 5 == 3;
        let start = 1_000.0 * f64::from(number);
        // It processes them within a quarter of an hour, or within hours.
        let blocks = Blocks { start, stop: start + 4_000.0 * f64::from(1 + number % 9) };
        let id = PipelineId::new(&text).expect("a usable id");
        self.places.insert(id.clone(), self.pipelines.len());
        self.pipelines.push(Pipeline {
            id,
            name: format!("swaps \\ \"{number}\" 転送"),
            project: PROJECTS[number as usize % 2],
            group,
            bounded,
            blocks: (bounded && number % 3 != 2).then_some(blocks),
            turned: now,
            number,
            created: now,
            updated: now,
            started: now,
            settled: now,
            consumed: 0.0,
            dropped: 0.0,
            conditions: Vec::new(),
        });
    }

    /// The pipeline of a group at a place, modulo their number.
    fn at(&mut self, group: usize, place: u32) -> Option<&mut Pipeline> {
        self.find(group, place, |_| true)
    }

    /// The same among some of them.
    fn find(&mut self, group: usize, place: u32, is_meant: impl Fn(&Pipeline) -> bool) -> Option<&mut Pipeline> {
        let count = self.of(group).filter(|pipeline| is_meant(pipeline)).count();
        let place = place as usize % count.max(1);
        self.pipelines.iter_mut().filter(|pipeline| pipeline.group == group && is_meant(pipeline)).nth(place)
    }

    /// The pipelines of a group.
    pub fn of(&self, group: usize) -> impl Iterator<Item = &Pipeline> {
        self.pipelines.iter().filter(move |pipeline| pipeline.group == group)
    }

    /// The group whose pipelines the account's key shows, if it is a ServiceKey that is valid now.
    pub fn shown_group(&self, account: usize) -> Option<usize> {
        let key = self.files[account];
        let kind = self.keys[key].kind;
        (!self.is_refused(key) && kind != Some(WrongKey::ReadOnly)).then_some(self.keys[key].group)
    }

    fn is_refused(&self, key: KeyId) -> bool {
        let Key { kind, revoked, .. } = self.keys[key];
        revoked || kind == Some(WrongKey::Malformed) || self.revoked_for_a_while.iter().any(|(_, id)| *id == key)
    }

    fn put_key(&mut self, account: usize, kind: Option<WrongKey>) {
        let group = if kind == Some(WrongKey::OtherGroup) { (account + 1) % GROUPS } else { account };
        self.keys.push(Key { group, kind, revoked: false });
        self.files[account] = self.keys.len() - 1;
    }

    /// Whether anything of the API or the keys is out of order.
    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
            || !self.revoked_for_a_while.is_empty()
            || (0..self.files.len()).any(|account| self.shown_group(account) != Some(account))
    }

    /// An incident begins, unless it is none of the world's.
    pub fn begin(&mut self, index: usize, incident: &Incident, now: Duration) {
        let account = usize::from(incident.account);
        match &incident.fault {
            Fault::Create(count) => (0..*count).for_each(|_| self.create(account, now)),
            Fault::Delete(place) => {
                if let Some(id) = self.at(account, *place).map(|pipeline| pipeline.id.clone()) {
                    self.pipelines.retain(|pipeline| pipeline.id != id);
                    let ids = self.pipelines.iter().map(|pipeline| pipeline.id.clone());
                    self.places = ids.zip(0..).collect();
                }
            }
            Fault::Rename(place) => {
                if let Some(pipeline) = self.at(account, *place) {
                    pipeline.name = format!("{} renamed at {}", pipeline.number, now.as_secs());
                    pipeline.updated = now;
                }
            }
            Fault::Reproject(place) => {
                if let Some(pipeline) = self.at(account, *place) {
                    pipeline.project = PROJECTS[(*place / 7) as usize % PROJECTS.len()];
                    pipeline.updated = now;
                }
            }
            Fault::MoveGroup(place) => {
                if let Some(pipeline) = self.at(account, *place) {
                    pipeline.group = (account + 1) % GROUPS;
                }
            }
            Fault::Worker(place, is) => {
                let ends = matches!(is, Condition::Ended | Condition::RunsAgain);
                let may_be_so = |pipeline: &Pipeline| !ends || pipeline.bounded;
                if let Some(pipeline) = self.find(account, *place, may_be_so) {
                    pipeline.settle(now);
                    if *is == Condition::Restarts {
                        pipeline.restart(now);
                    }
                    pipeline.conditions.push(Active { incident: index, is: *is, since: now });
                }
            }
            Fault::QuietTopic(place) => {
                let topic = TOPICS[*place as usize % TOPICS.len()];
                let reads = |pipeline: &&mut Pipeline| {
                    pipeline.group == account && pipeline.topic() == topic && !pipeline.bounded
                };
                for pipeline in self.pipelines.iter_mut().filter(reads) {
                    pipeline.settle(now);
                    pipeline.conditions.push(Active { incident: index, is: Condition::Quiet, since: now });
                }
            }
            Fault::BadDay => {
                for pipeline in self.pipelines.iter_mut().filter(|pipeline| pipeline.group == account) {
                    pipeline.settle(now);
                    pipeline.conditions.push(Active { incident: index, is: Condition::Flickers, since: now });
                }
            }
            Fault::OverLimit | Fault::TrialExpired => {
                self.group_flags.push((index, account, incident.fault.clone()));
            }
            Fault::Spend(per_hour) => {
                self.settle_credits(account, now);
                self.spending.push((index, account, *per_hour));
            }
            Fault::NewMonth => self.credits[account] = Credits { consumed: 0.0, settled: now },
            Fault::Reply { .. } => self.faults.push((index, incident.clone(), 0)),
            Fault::Rotate => self.put_key(account, None),
            Fault::WrongKey(kind) => self.put_key(account, Some(*kind)),
            Fault::Revoke => self.revoked_for_a_while.push((index, self.files[account])),
            Fault::Reload(_) | Fault::Restart | Fault::StepWall(_) | Fault::Suspend => {}
        }
    }

    /// An incident is over.
    pub fn end(&mut self, index: usize, incident: &Incident, now: Duration) {
        match &incident.fault {
            Fault::Worker(..) | Fault::QuietTopic(_) | Fault::BadDay => {
                for pipeline in &mut self.pipelines {
                    if pipeline.conditions.iter().any(|active| active.incident == index) {
                        pipeline.settle(now);
                        pipeline.conditions.retain(|active| active.incident != index);
                    }
                }
            }
            Fault::OverLimit | Fault::TrialExpired => self.group_flags.retain(|(of, ..)| *of != index),
            Fault::Spend(_) => {
                self.settle_credits(usize::from(incident.account), now);
                self.spending.retain(|(of, ..)| *of != index);
            }
            Fault::Reply { .. } => self.faults.retain(|(of, ..)| *of != index),
            Fault::Rotate => {
                // All keys of the account but the one in use are revoked at last.
                let (account, used) = (usize::from(incident.account), self.files[usize::from(incident.account)]);
                for (id, key) in self.keys.iter_mut().enumerate() {
                    key.revoked |= id != used && key.group == account && key.kind.is_none();
                }
            }
            Fault::WrongKey(_) => self.put_key(usize::from(incident.account), None),
            Fault::Revoke => self.revoked_for_a_while.retain(|(of, _)| *of != index),
            _ => {}
        }
    }

    /// What the API, or what stands before it, makes of a request.
    pub fn react(&mut self, account: usize, key: KeyId, request: &Request, now: Duration, rng: &mut Rng) -> Reaction {
        let now = self.frozen.unwrap_or(now);
        let hit = self.fault_for(account, request, rng);
        let mut delay = Duration::ZERO;
        let broken =
            |error| Reaction { response: failed(request.clone(), error), said: None, hit, delay: Duration::ZERO };
        match hit {
            Some(Reply::Timeout) => {
                let error = Error::Timeout { after: TIMEOUT, waiting: Waiting::Headers };
                return Reaction { delay: TIMEOUT, ..broken(error) };
            }
            Some(Reply::Dns) => return broken(Error::Dns("no address".to_owned())),
            Some(Reply::Tls) => return broken(Error::Tls("no trust".to_owned())),
            Some(Reply::Connect) => return broken(Error::Connect("refused".to_owned())),
            Some(Reply::Disconnected) => return broken(Error::Disconnected("reset".to_owned())),
            Some(Reply::Unsent) => return broken(Error::Unsent("GOAWAY".to_owned())),
            Some(Reply::TooLarge) => return broken(Error::TooLarge { limit: 8 << 20 }),
            Some(Reply::Slow(milliseconds)) => delay = Duration::from_millis(milliseconds.into()),
            _ => {}
        }
        let right = self.right_response(key, request, now, hit);
        let (status, headers, body, said) = match hit.and_then(|hit| damage(hit, &right)) {
            Some((status, headers, body)) => (status, headers, body, None),
            None => {
                let Right { status, body, said } = right;
                (status, Vec::new(), body, said)
            }
        };
        let said = if matches!(hit, Some(Reply::NullData)) { nothing_of(request) } else { said };
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut response = api::read(request.clone(), status, &headers, body.as_bytes());
        // As the client does, whose next request then does not name a size: see `Client::list_page`.
        if let Response::Page(number, Err(error)) = &response
            && matches!(error, Error::UnexpectedStatus { status: 422, .. })
        {
            let named = !self.page_size_refused[account];
            self.page_size_refused[account] = named;
            if named {
                response = Response::Page(*number, Err(Error::PageSizeRefused(Box::new(error.clone()))));
            }
        }
        Reaction { response, said, hit, delay }
    }

    fn fault_for(&mut self, account: usize, request: &Request, rng: &mut Rng) -> Option<Reply> {
        let (pipelines, faults) = (&self.pipelines, &mut self.faults);
        let is_at = |place: u32, id: &PipelineId| {
            let ours = || pipelines.iter().filter(|pipeline| pipeline.group == account);
            let place = place as usize % ours().count().max(1);
            ours().nth(place).is_some_and(|pipeline| pipeline.id == *id)
        };
        for (_, incident, hits) in faults {
            let Fault::Reply { to, with, one_in, times } = incident.fault else { continue };
            let is_meant = match (to, request) {
                (Target::Everything, Request::Page(_)) | (Target::List, Request::Page(_)) => true,
                (_, Request::Page(_)) | (Target::List, _) => false,
                _ if with.is_of_list_only() => false,
                (Target::Everything, _) | (Target::Usage, Request::Usage) => true,
                (Target::Usage, _) | (_, Request::Usage) => false,
                (Target::Status, Request::Probe(_, probe)) => *probe == Probe::Status,
                (Target::Metrics, Request::Probe(_, probe)) => *probe == Probe::Metrics,
                (Target::DestinationHealth, Request::Probe(_, probe)) => *probe == Probe::DestinationHealth,
                (Target::Pipeline(place), Request::Probe(id, _)) => is_at(place, id),
            };
            let is_on = usize::from(incident.account) == account && (times == 0 || *hits < times);
            if is_meant && is_on && rng.u32(..one_in) == 0 {
                *hits += 1;
                return Some(with);
            }
        }
        None
    }

    fn right_response(&mut self, key: KeyId, request: &Request, now: Duration, hit: Option<Reply>) -> Right {
        let Key { group, kind, .. } = self.keys[key];
        if self.is_refused(key) {
            return Right::refusal(401);
        }
        if kind == Some(WrongKey::ReadOnly) && (matches!(request, Request::Page(_)) || key.is_multiple_of(2)) {
            return Right::refusal(403);
        }
        match request {
            Request::Page(number) => self.page_of(group, *number as usize, hit),
            Request::Probe(id, probe) => {
                let Some(pipeline) = self.places.get(id).map(|place| &mut self.pipelines[*place]) else {
                    return Right::refusal(404);
                };
                if pipeline.group != group {
                    return Right::refusal(403);
                }
                pipeline.settle(now);
                pipeline.reading(*probe, now)
            }
            Request::Usage => {
                self.settle_credits(group, now);
                let facts = UsageFacts { consumed: self.credits[group].consumed.floor(), ..CREDITS };
                let UsageFacts { consumed, limit, flex } = facts;
                let data = format!(
                    r#"{{"aggregate":{{"credits_consumed":{consumed},"max_credits":{limit},"flex_credits":{{"limit":{flex}}},"premium_credits":{consumed},"free_credits":0,"plan":"Plan {group}"}},"by_api_key":[{{"apikey":"{API_KEY}","credits":{consumed}}}]}}"#
                );
                Right::data(&data, Said::Usage(facts))
            }
        }
    }

    fn settle_credits(&mut self, group: usize, now: Duration) {
        let spent: f64 =
            self.spending.iter().filter(|(_, of, _)| *of == group).map(|(.., more)| f64::from(*more)).sum();
        let credits = &mut self.credits[group];
        credits.consumed += (CREDITS_PER_HOUR + spent) * now.saturating_sub(credits.settled).as_secs_f64() / 3_600.0;
        credits.settled = now;
    }

    /// From now on, every response is the same for ever.
    pub fn freeze(&mut self, now: Duration) {
        self.frozen = Some(now);
        self.pipelines.iter_mut().for_each(|pipeline| pipeline.settle(now));
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// The right response to the key in the account's file, as a client sees it that knows nothing but addresses.
    pub fn get(&mut self, account: usize, path: &str, now: Duration) -> (u16, String) {
        let request = match path.trim_matches('/').split_once('/') {
            Some(("..", "usage/?duration=1")) => Request::Usage,
            Some((id, name)) => {
                let probe = Probe::ALL.iter().find(|probe| probe.as_str().replace('_', "-") == name);
                let id = PipelineId::new(id).expect("an id of the list");
                Request::Probe(id, *probe.unwrap_or_else(|| panic!("no such path: {path}")))
            }
            None => {
                let number = path.trim_start_matches("?page_number=");
                let number = number.split('&').next().unwrap_or_default();
                Request::Page(number.parse().unwrap_or_else(|_| panic!("no such path: {path}")))
            }
        };
        let now = self.frozen.unwrap_or(now);
        let Right { status, body, .. } = self.right_response(self.files[account], &request, now, None);
        (status, body)
    }

    pub fn is_flagged(&self, group: usize, flag: &Fault) -> bool {
        self.group_flags.iter().any(|(_, of, on)| *of == group && on == flag)
    }

    fn page_of(&self, group: usize, number: usize, hit: Option<Reply>) -> Right {
        let over_limit = self.is_flagged(group, &Fault::OverLimit);
        let trial_expired = self.is_flagged(group, &Fault::TrialExpired);
        let all: Vec<&Pipeline> = self.of(group).collect();
        let number = if matches!(hit, Some(Reply::Repeats)) { 1 } else { number };
        let begin = ((number - 1) * self.page).min(all.len());
        let end = (begin + self.page).min(all.len());
        let mut items: Vec<Item> =
            all[begin..end].iter().map(|pipeline| pipeline.item(over_limit, trial_expired)).collect();
        let mut without_id = 0;
        match hit {
            Some(Reply::Hides(tenths)) => {
                let hidden = (items.len() * tenths as usize).div_ceil(10);
                items.truncate(items.len() - hidden);
            }
            Some(Reply::NoIds) => without_id = items.len().div_ceil(2),
            _ => {}
        }
        let mut body = String::from(r#"{"data":{"items":["#);
        let lacking = items.len() - without_id;
        for (index, item) in items.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let id = if index >= lacking { serde_json::Value::Null } else { item.id.as_str().into() };
            let (name, project) =
                (serde_json::Value::from(item.name.as_str()), serde_json::Value::from(item.project.as_str()));
            let status = if item.paused { "paused" } else { "running" };
            let mode = if item.bounded { "bounded" } else { "unbounded" };
            let [start, stop] = item
                .blocks
                .map_or_else(Default::default, |blocks| [blocks.start, blocks.stop].map(|block| block.to_string()));
            let [created, updated] = [item.created, item.updated].map(|at| rfc3339(at as u64));
            let _ = write!(
                body,
                r#"{comma}{{"id":{id},"name":{name},"project":{project},"topic":"{}","destination_type":"postgres","execution_mode":"{mode}","execution_start_from":"{start}","execution_stop_from":"{stop}","status":"{status}","group":{{"name":"group {group}","is_paid":false,"is_over_limit":{over_limit},"is_free_trial_expired":{trial_expired}}},"created_at":"{created}","updated_at":"{updated}"}}"#,
                item.topic
            );
        }
        let has_more = end < all.len() || matches!(hit, Some(Reply::Repeats));
        let pagination = match hit {
            Some(Reply::NoPagination) => "null".to_owned(),
            _ => format!(r#"{{"has_more":{has_more},"page_number":{number},"total_count":{}}}"#, all.len()),
        };
        let _ = write!(body, r#"],"pagination":{pagination}}},"error":false,"error_message":null,"error_code":null}}"#);
        items.truncate(lacking);
        Right { status: 200, body, said: Some(Said::Page(items)) }
    }
}

/// The response of an API that nothing is wrong with.
struct Right {
    status: u16,
    body: String,
    said: Option<Said>,
}

impl Right {
    fn refusal(status: u16) -> Self {
        Self { status, body: refusal_body(status), said: None }
    }

    fn data(data: &str, said: Said) -> Self {
        let body = format!(r#"{{"data":{data},"error":false,"error_message":null,"error_code":null}}"#);
        Self { status: 200, body, said: Some(said) }
    }
}

fn refusal_body(status: u16) -> String {
    format!(r#"{{"data":null,"error":true,"error_message":"no","error_code":{status}}}"#)
}

type Wire = (u16, Vec<(&'static str, String)>, String);

/// What comes instead of the right response; `None` if it comes as it is.
fn damage(hit: Reply, right: &Right) -> Option<Wire> {
    let wait = |seconds: u32| vec![("retry-after", seconds.to_string())];
    let html = "<html><body>Sign in</body></html>".to_owned();
    Some(match hit {
        Reply::Status(status) => (status, Vec::new(), refusal_body(status)),
        Reply::StatusAndWait(status, seconds) => (status, wait(seconds), refusal_body(status)),
        Reply::Bare(status) => (status, Vec::new(), String::new()),
        Reply::Foreign(status) => (status, vec![("content-type", "text/html".to_owned())], html),
        Reply::ForeignAndWait(status, seconds) => (status, wait(seconds), html),
        Reply::ErrorTrue(code) => (200, Vec::new(), refusal_body(code)),
        Reply::Cut => (200, Vec::new(), right.body.chars().take(right.body.len() / 3).collect()),
        Reply::WrongShape => (200, Vec::new(), r#"{"data":[1,2],"error":false}"#.to_owned()),
        Reply::NullData => (200, Vec::new(), r#"{"data":null,"error":false}"#.to_owned()),
        _ => return None,
    })
}

fn nothing_of(request: &Request) -> Option<Said> {
    match request {
        Request::Page(_) | Request::Usage => None,
        Request::Probe(_, Probe::Status) => Some(Said::Status(StatusFacts::default())),
        Request::Probe(_, Probe::Metrics) => Some(Said::Metrics(MetricsFacts::default())),
        Request::Probe(_, Probe::DestinationHealth) => Some(Said::Health(HealthFacts::default())),
    }
}

fn failed(request: Request, error: Error) -> Response {
    match request {
        Request::Page(number) => Response::Page(number, Err(error)),
        Request::Probe(id, probe) => Response::Probe(id, api::ProbeResponse::failed(probe, error)),
        Request::Usage => Response::Usage(Err(error)),
    }
}

impl Pipeline {
    pub fn has(&self, is: Condition) -> bool {
        self.conditions.iter().any(|active| active.is == is)
    }

    /// Since when it is so.
    pub fn since(&self, is: Condition) -> Option<Duration> {
        self.conditions.iter().filter(|active| active.is == is).map(|active| active.since).min()
    }

    pub fn phase(&self) -> Option<&'static str> {
        use Condition as C;
        let crashed = self.since(C::CrashLoops).is_some_and(|since| {
            let turns = self.settled.saturating_sub(since).as_secs() / CRASHES_EVERY;
            !turns.is_multiple_of(2)
        });
        let again = self.since(C::RunsAgain).map(|since| {
            let turn = self.settled.saturating_sub(since).as_secs() / RUN_AGAIN_EVERY % 3;
            ["STOPPED", "DEPLOYING", "RUNNING"][turn as usize]
        });
        let order = [
            (C::Paused, Some("PAUSED")),
            (C::Failed, Some("FAILED")),
            (C::Deploying, Some("DEPLOYING")),
            (C::CrashLoops, Some(if crashed { "FAILED" } else { "DEPLOYING" })),
            (C::RunsAgain, again),
            (C::WorkerPaused, Some("PAUSED")),
            (C::StrangePhase, Some("UNKNOWN")),
            (C::NoPhase, None),
            (C::Flickers, Some(if self.is_well(self.settled) { "RUNNING" } else { "FAILED" })),
        ];
        // Some workers go on RUNNING at their last block, with nothing to do.
        if (self.bounded && self.has(C::Ended)) || (self.is_complete() && self.number.is_multiple_of(2)) {
            return Some("STOPPED");
        }
        order.into_iter().find(|(is, _)| self.has(*is)).map_or(Some("RUNNING"), |(_, phase)| phase)
    }

    /// Whether nothing is wrong in this second with what flickers.
    fn is_well(&self, now: Duration) -> bool {
        let second = now.as_secs().wrapping_add(u64::from(self.number) << 32);
        !self.has(Condition::Flickers) || fastrand::Rng::with_seed(second).bool()
    }

    fn moves(&self) -> bool {
        let stands = [Condition::Stalled, Condition::Quiet].into_iter().any(|is| self.has(is));
        !stands && !self.is_complete() && !matches!(self.phase(), Some("PAUSED" | "FAILED" | "DEPLOYING" | "STOPPED"))
    }

    fn rate(&self) -> f64 {
        f64::from(10 + self.number % 50)
    }

    /// How many records it will have read at its last block.
    fn records(&self) -> f64 {
        self.blocks.map_or(f64::INFINITY, |blocks| (blocks.stop - blocks.start) * RECORDS_PER_BLOCK)
    }

    /// Whether blocks would be missing if it ended now.
    pub fn is_short(&self) -> bool {
        let left = self.records() - self.consumed;
        self.blocks.is_some() && left / RECORDS_PER_BLOCK > 0.001 * self.records() / RECORDS_PER_BLOCK + 2.0
    }

    /// Whether it has processed its last block.
    pub fn is_complete(&self) -> bool {
        self.consumed >= self.records()
    }

    fn topic(&self) -> &'static str {
        TOPICS[self.number as usize % TOPICS.len()]
    }

    fn restart(&mut self, now: Duration) {
        if self.is_complete() {
            self.turned = now;
        }
        self.consumed = 0.0;
        self.dropped = 0.0;
        self.started = now;
    }

    fn settle(&mut self, now: Duration) {
        if self.has(Condition::Restarts) && now.saturating_sub(self.started) >= RESTARTS_EVERY {
            self.restart(now);
        }
        let seconds = now.saturating_sub(self.settled).as_secs_f64();
        if self.moves() {
            self.consumed = (self.consumed + self.rate() * seconds).min(self.records());
            if self.is_complete() {
                self.turned = now;
            }
            if self.has(Condition::Drops) {
                self.dropped += self.rate() * seconds / 10.0;
            }
        }
        self.settled = now;
    }

    fn item(&self, over_limit: bool, trial_expired: bool) -> Item {
        Item {
            id: self.id.clone(),
            name: self.name.clone(),
            project: self.project.to_owned(),
            paused: self.has(Condition::Paused),
            bounded: self.bounded,
            blocks: self.blocks,
            topic: self.topic(),
            created: (EPOCH + self.created.as_secs()) as f64,
            updated: (EPOCH + self.updated.as_secs()) as f64,
            over_limit,
            trial_expired,
        }
    }

    fn reading(&self, probe: Probe, now: Duration) -> Right {
        match probe {
            Probe::Status => {
                let replicas = f64::from(1 + self.number % 3);
                let ready = if self.has(Condition::LacksReplicas) { 0.0 } else { replicas };
                let start = (EPOCH + self.started.as_secs()) as f64;
                let facts = StatusFacts {
                    phase: self.phase(),
                    replicas: Some(replicas),
                    ready: Some(ready),
                    start: Some(start),
                };
                let phase = match facts.phase {
                    None => "null".to_owned(),
                    Some("UNKNOWN") => "\"CRASHED\"".to_owned(),
                    Some(phase) => format!("{phase:?}"),
                };
                let start = rfc3339(start as u64);
                let data =
                    format!(r#"{{"status":{phase},"replicas":{replicas},"ready":{ready},"start_time":"{start}"}}"#);
                Right::data(&data, Said::Status(facts))
            }
            Probe::Metrics => {
                let backlog = self.since(Condition::Backlog).map(|since| 30_000.0 + (now - since).as_secs() as f64);
                let stalled = self.has(Condition::Stalled).then_some(100.0);
                let lag = self.has(Condition::Lag).then_some(900_000.0);
                let critical = self.has(Condition::LagCritical).then_some(4_000_000.0);
                let consumed = self.consumed.floor();
                let jumped = (!self.is_well(now)).then_some(2_000.0);
                let pending = backlog.or(stalled).or(jumped).unwrap_or(0.0);
                let delay = critical.or(lag).unwrap_or(f64::from(self.number % 900));
                let rate = if self.moves() { self.rate() } else { 0.0 };
                let dropped = self.dropped.floor();
                let start = self.blocks.map_or(0.0, |blocks| blocks.start);
                let height = start + (consumed / RECORDS_PER_BLOCK).floor();
                let facts = MetricsFacts {
                    consumed: Some(consumed),
                    offset: Some(consumed + 5.0),
                    height: Some(height),
                    pending: Some(pending),
                    delay_ms: Some(delay),
                    rate: Some(rate),
                    dropped: Some(dropped),
                };
                let data = format!(
                    r#"{{"records_consumed":{consumed},"last_offset":{},"last_block_height":{height},"pending_records":{pending},"processing_delay_ms":{delay},"records_per_second":{rate},"normalization_errors":{dropped}}}"#,
                    consumed + 5.0
                );
                Right::data(&data, Said::Metrics(facts))
            }
            Probe::DestinationHealth => {
                let flaps = self.since(Condition::Flaps).map_or(0, |since| (now - since).as_secs() / FLAPS_EVERY);
                let healthy = !self.has(Condition::Unhealthy) && flaps.is_multiple_of(2) && self.is_well(now);
                let age = if self.has(Condition::CheckOld) { 7_200 } else { 0 };
                let checked = EPOCH + now.as_secs() / 30 * 30 - age;
                let facts =
                    HealthFacts { healthy: Some(healthy), checked: Some(checked as f64), latency_ms: Some(12.0) };
                let error = if healthy { "null" } else { "\"connection refused\"" };
                let checked = rfc3339(checked);
                let data = format!(
                    r#"{{"healthy":{healthy},"last_checked_at":"{checked}","latency_ms":12,"last_error":{error}}}"#
                );
                Right::data(&data, Said::Health(facts))
            }
        }
    }
}

fn rfc3339(seconds: u64) -> String {
    jiff::Timestamp::from_second(seconds as i64).expect("a time of this century").to_string()
}

/// By id, for comparing.
pub fn by_id<'a>(pipelines: impl Iterator<Item = &'a Pipeline>) -> BTreeMap<&'a PipelineId, &'a Pipeline> {
    pipelines.map(|pipeline| (&pipeline.id, pipeline)).collect()
}
