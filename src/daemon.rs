//! Wires the parts together: pollers, the web server, reload, shutdown.

mod polling_thread;
mod service_manager;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::account::{Account, ReadAgain, Settings};
use crate::api::{Client, ClientError};
use crate::config::{self, Config, ConfigError, ConfigSource};
use crate::exposition::{Exposition, Selection};
use crate::fleet::Fleet;
use crate::http::{Access, Server};
use crate::moment::Moment;
use crate::poller::Poller;
use crate::pulse::Pulse;
use crate::routes::{self, App, ReloadRequest};
use crate::service_key::{KeyError, KeyHolder, KeyInUse};
use polling_thread::PollingThread;
use service_manager::Watchdog;

/// Scrapes in flight have this long to finish; the rest of the five seconds is for the process to exit.
const DRAIN: Duration = Duration::from_secs(4);

/// A poller that is not stuck ends its turn within this. Signals are not handled meanwhile.
const STOPPING: Duration = Duration::from_millis(500);

/// How often to drop renderings that no scraper requests any more.
const TIDY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An account has no key to start with.
    #[error("account {0:?}: {1}")]
    Key(String, KeyError),
    /// The HTTP client could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A part of the daemon ended that must not end; to continue would mean to serve stale numbers.
    #[error("{0} has ended unexpectedly; the exporter stops, so that it does not serve old numbers")]
    Died(String),
    /// The operating system refused something basic.
    #[error("cannot {0}: {1}")]
    System(&'static str, std::io::Error),
}

/// Settings that exist only on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where a reload reads the configuration.
    pub config: ConfigSource,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Maximum bytes per target of service discovery.
    pub target_size: usize,
    /// Whether `POST /-/reload` is allowed.
    pub enable_lifecycle: bool,
    /// The rules of `--web.config.file`.
    pub access: Arc<Access>,
    /// Maximum concurrent scrapes (0 = unlimited).
    pub max_requests: usize,
    /// Whether to leave out metrics about the exporter itself.
    pub disable_exporter_metrics: bool,
}

/// What is needed to poll one account.
struct Prepared {
    account: config::Account,
    client: Client,
    keys: KeyHolder,
}

/// Reads the account's key and sets up its client.
async fn prepare(config: &Config, account: &config::Account) -> Result<Prepared, Error> {
    let keys = KeyHolder::load(account.key.clone()).await;
    let keys = keys.map_err(|error| Error::Key(account.name.clone(), error))?;
    let settings = config.api.clone();
    let client = reading_certificates(config, "set up the HTTP client", || Client::new(settings)).await?;
    Ok(Prepared { account: account.clone(), client, keys })
}

/// Runs what reads the trusted certificates. They may be on a file system that hangs.
async fn reading_certificates<T: Send + 'static>(
    config: &Config,
    what: &'static str,
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, Error> {
    let late = || io::Error::other("reading the trusted certificates takes longer than api.timeout");
    let worked = timeout(config.api.timeout, spawn_blocking(work)).await.map_err(|_| Error::System(what, late()))?;
    Ok(worked.map_err(|error| Error::System(what, io::Error::other(error)))??)
}

/// One poller for each account, ready to run.
///
/// # Errors
/// [`Error::Key`] or [`Error::Client`].
pub async fn pollers(config: &Config, fleet: &Fleet) -> Result<Vec<(String, Poller)>, Error> {
    let prepared = try_join_all(config.accounts.iter().map(|account| prepare(config, account))).await?;
    Ok(prepared.into_iter().map(|prepared| start(config, fleet, prepared, None)).collect())
}

/// `before` is the key that the account was using.
fn start(config: &Config, fleet: &Fleet, prepared: Prepared, before: Option<KeyInUse>) -> (String, Poller) {
    let Prepared { account, client, keys } = prepared;
    let settings = Settings::of(config, &account);
    let loaded_at = keys.current().loaded_at;
    let now = Moment::now();
    let driver = match fleet.account(&account.name) {
        Some(handle) => {
            let is_another = before.is_none_or(|before| before.differs_from(&keys));
            handle.hand_over(|known| known.reconfigure(settings, ReadAgain { loaded_at, is_another }, now))
        }
        None => {
            let new = Account::new(settings, loaded_at, fastrand::Rng::new(), now);
            fleet.insert(&account.name, new).hand_over(|_| {})
        }
    };
    (account.name, Poller::new(client, keys, driver))
}

/// Polls with this configuration and serves until a signal to stop.
///
/// # Errors
/// Any [`Error`]; once it runs, only [`Error::Died`].
pub async fn run(options: Options, config: Config, listeners: Vec<TcpListener>) -> Result<(), Error> {
    // Signals first: one that arrives while keys are read must not be lost.
    let Signals { mut term, mut interrupt, mut hangup } = Signals::new()?;
    let selection = Selection::of(&config.metrics)?;
    config.warnings().iter().chain(&selection.warnings()).for_each(|warning| warn!("{warning}"));
    let fleet = Fleet::default();
    let thread = PollingThread::start().map_err(|error| Error::System("start the thread that polls", error))?;
    let mut polling = Polling::new(config, fleet.clone(), thread.handle().clone());
    let pollers = tokio::select! {
        pollers = pollers(&polling.config, &fleet) => pollers?,
        _ = term.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    pollers.into_iter().for_each(|(name, poller)| polling.spawn(name, poller));
    let exposition = Exposition::new(fleet.clone());
    let exposition = Arc::new(match options.disable_exporter_metrics {
        true => exposition.without_exporter_metrics(),
        false => exposition,
    });
    exposition.select(selection);
    polling.show_shard(&exposition);
    exposition.own.note_reload(true);

    let (reload, mut reload_requests) = mpsc::channel::<ReloadRequest>(1);
    let app = App {
        exposition: exposition.clone(),
        fleet,
        telemetry_path: options.telemetry_path.clone(),
        target_size: options.target_size,
        reload: options.enable_lifecycle.then_some(reload),
    };
    let (stop, stopped) = watch::channel(());
    options.access.warnings().iter().for_each(|warning| warn!("{warning}"));
    let mut servers = serve_all(listeners, app, &options, &stopped);
    let mut watchdog = Watchdog::of_environment();
    service_manager::ready(&polling.describe());
    let mut tidy = tokio::time::interval(TIDY);
    // At most one reload, which waits for files; signals and the watchdog do not wait for it.
    let mut reloads = FuturesUnordered::new();
    let reload = |polling: &Polling, asked: Option<ReloadRequest>| {
        service_manager::reloading();
        let change = Change::prepare(options.config.clone(), polling.config.clone(), polling.clients());
        async { (change.await, asked) }
    };
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv(), if reloads.is_empty() => reloads.push(reload(&polling, None)),
            Some(asked) = reload_requests.recv(), if reloads.is_empty() => reloads.push(reload(&polling, Some(asked))),
            Some((change, asked)) = reloads.next() => {
                let outcome = change_and_note(&mut polling, change, &exposition).await;
                if let Some(asked) = asked {
                    // The client may have disconnected.
                    let _ = asked.send(outcome);
                }
            }
            () = watchdog.hungry() => watchdog.feed(polling.stuck()),
            _ = tidy.tick() => exposition.forget_unused(),
            died = polling.death() => return Err(Error::Died(died)),
            Some(ended) = servers.join_next() => {
                let why = ended.err().map_or("without an error".to_owned(), |error| error.to_string());
                return Err(Error::Died(format!("the web server ({why})")));
            }
        }
    }
    service_manager::stopping();
    info!("stopping: no more polls, scrapes in flight are finished");
    // Ends waiting requests for a reload, the queued one included: otherwise the servers would wait for them.
    drop((polling, reloads, reload_requests));
    drop(stop);
    let drained = timeout(DRAIN, async { while servers.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!("a client is stuck: closing its connection");
    }
    Ok(())
}

/// Serves all listeners until `stopped` closes.
fn serve_all(listeners: Vec<TcpListener>, app: App, options: &Options, stopped: &watch::Receiver<()>) -> JoinSet<()> {
    let Options { telemetry_path, access, max_requests, .. } = options;
    let mut servers = JoinSet::new();
    let (watched, exposition, mut until) = (access.clone(), app.exposition.clone(), stopped.clone());
    servers.spawn(async move {
        tokio::select! {
            () = watched.watch(|in_use| exposition.own.note_web_config(in_use)) => {}
            _ = until.changed() => {}
        }
    });
    let server = Arc::new(Server::new(routes::site(app, *max_requests), access.clone()));
    for listener in listeners {
        if let Ok(address) = listener.local_addr() {
            info!(address = %address, path = telemetry_path, tls = access.is_tls(), "listening");
        }
        servers.spawn(server.clone().serve(listener, stopped.clone()));
    }
    servers
}

/// A new configuration, and what its new and changed accounts need.
struct Change {
    config: Config,
    selection: Selection,
    prepared: Vec<Prepared>,
}

impl Change {
    /// Reads the configuration and the keys. Nothing takes effect yet, except that accounts that stay get new
    /// connections and read the trusted certificates again. `clients` are those of the running pollers, by account.
    async fn prepare(source: ConfigSource, old: Config, clients: HashMap<String, Client>) -> Result<Self, Error> {
        let config = source.load().await?;
        let selection = Selection::of(&config.metrics)?;
        config.warnings().iter().chain(&selection.warnings()).for_each(|warning| warn!("{warning}"));
        let shared_settings_stay = old.api == config.api
            && old.poll == config.poll
            && old.shard == config.shard
            && old.policies == config.policies
            && old.max_pipelines == config.max_pipelines;
        let stays = |account: &config::Account| shared_settings_stay && old.accounts.contains(account);
        let changed = config.accounts.iter().filter(|account| !stays(account));
        let prepared = try_join_all(changed.map(|account| prepare(&config, account))).await?;
        let staying = config.accounts.iter().filter(|account| stays(account));
        let staying: Vec<Client> = staying.filter_map(|account| clients.get(&account.name).cloned()).collect();
        let renew = move || staying.iter().try_for_each(Client::renew);
        reading_certificates(&config, "renew the connections", renew).await?;
        Ok(Self { config, selection, prepared })
    }
}

/// The poller of one account.
struct Running {
    task: AbortHandle,
    pulse: Pulse,
    client: Client,
    key: KeyInUse,
    /// Closes when the task has been dropped completely.
    gone: oneshot::Receiver<Infallible>,
}

/// The running pollers and their configuration.
struct Polling {
    fleet: Fleet,
    config: Config,
    /// Where they run.
    runtime: Handle,
    tasks: JoinSet<String>,
    running: HashMap<String, Running>,
}

impl Polling {
    fn new(config: Config, fleet: Fleet, runtime: Handle) -> Self {
        Self { fleet, config, runtime, tasks: JoinSet::new(), running: HashMap::new() }
    }

    fn spawn(&mut self, name: String, poller: Poller) {
        let parts = (poller.pulse(), poller.client(), poller.key());
        self.spawn_task(name, parts, poller.run());
    }

    fn spawn_task(
        &mut self,
        name: String,
        (pulse, client, key): (Pulse, Client, KeyInUse),
        poll: impl Future<Output = ()> + Send + 'static,
    ) {
        let account = name.clone();
        let (held, gone) = oneshot::channel();
        let task = async move {
            // Dropped after the poller.
            let _held = held;
            poll.await;
            account
        };
        let task = self.tasks.spawn_on(task, &self.runtime);
        self.running.insert(name, Running { task, pulse, client, key, gone });
    }

    /// Stops the pollers of these accounts and waits for them, so that a response that one is processing is kept. A
    /// stuck poller can no longer change its account once its successor begins (see [`Driver`](crate::fleet::Driver)).
    async fn stop(&mut self, goes: impl Fn(&str) -> bool) {
        let stopped: Vec<Running> = self.running.extract_if(|name, _| goes(name)).map(|(_, poller)| poller).collect();
        stopped.iter().for_each(|poller| poller.task.abort());
        let gone = join_all(stopped.into_iter().map(|poller| poller.gone));
        if timeout(STOPPING, gone).await.is_err() {
            warn!("a replaced poller does not stop: it is stuck");
        }
    }

    /// The client of each account.
    fn clients(&self) -> HashMap<String, Client> {
        self.running.iter().map(|(name, running)| (name.clone(), running.client.clone())).collect()
    }

    /// An account whose poller is stuck, if any.
    fn stuck(&self) -> Option<&str> {
        self.running.iter().find(|(_, poller)| poller.pulse.is_stuck()).map(|(account, _)| account.as_str())
    }

    fn show_shard(&self, exposition: &Exposition) {
        exposition.own.note_shard(self.config.shard.index, self.config.shard.total);
    }

    /// A one-line summary for `systemctl status`.
    fn describe(&self) -> String {
        match self.running.len() {
            1 => "Polling 1 account".to_owned(),
            accounts => format!("Polling {accounts} accounts"),
        }
    }

    /// Waits until a poller ends by itself, which only a panic can cause.
    async fn death(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(account)) => return format!("the poller of account `{account}`"),
                Some(Err(error)) if error.is_panic() => return "a poller (it panicked, see above)".to_owned(),
                // A reload stopped it.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Applies a new configuration. Unchanged accounts continue to poll.
    async fn change(&mut self, Change { config, selection, prepared }: Change, exposition: &Exposition) {
        let names: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
        let mut before: HashMap<String, KeyInUse> =
            self.running.iter().map(|(name, running)| (name.clone(), running.key.clone())).collect();
        self.stop(|name| !names.contains(&name) || prepared.iter().any(|new| new.account.name == name)).await;
        for prepared in prepared {
            let before = before.remove(&prepared.account.name);
            let (name, poller) = start(&config, &self.fleet, prepared, before);
            self.spawn(name, poller);
        }
        self.fleet.retain(&names);
        exposition.select(selection);
        self.config = config;
        self.show_shard(exposition);
    }
}

/// Applies a change completely or not at all, and reports the outcome.
async fn change_and_note(
    polling: &mut Polling,
    change: Result<Change, Error>,
    exposition: &Exposition,
) -> Result<(), String> {
    let outcome = match change {
        Ok(change) => {
            polling.change(change, exposition).await;
            Ok(())
        }
        Err(problem) => Err(problem.to_string()),
    };
    exposition.own.note_reload(outcome.is_ok());
    let status = match &outcome {
        Ok(()) => {
            info!("the configuration has been loaded");
            polling.describe()
        }
        Err(problem) => {
            error!("the configuration cannot be loaded, the old one stays: {problem}");
            format!("The configuration cannot be loaded, the old one stays: {problem}")
        }
    };
    service_manager::ready(&status);
    outcome
}

/// The signals that the daemon handles.
struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::System("listen to signals", error));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poller_that_panics_is_noticed_and_one_that_a_reload_stops_is_not() {
        let config = Config::load(None, &[]).unwrap();
        let mut polling = Polling::new(config, Fleet::default(), Handle::current());
        polling.tasks.spawn(std::future::pending::<String>()).abort();
        polling.tasks.spawn(async { panic!("on purpose") });
        assert_eq!(polling.death().await, "a poller (it panicked, see above)");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_whose_poller_does_not_turn_is_stuck() {
        let environment = [("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), "http://127.0.0.1:9/".to_owned())];
        let mut config = Config::load(None, &environment).unwrap();
        config.accounts[0].key = crate::service_key::KeySource::BuiltIn("sk_1");
        let fleet = Fleet::default();
        let started = pollers(&config, &fleet).await.unwrap();
        let mut polling = Polling::new(config, fleet, Handle::current());
        started.into_iter().for_each(|(name, poller)| polling.spawn(name, poller));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((polling.stuck(), polling.describe().as_str()), (None, "Polling 1 account"));
        polling.running["default"].task.abort();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(polling.stuck(), Some("default"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_poller_that_processes_a_response_is_waited_for() {
        let mut config = Config::load(None, &[]).unwrap();
        config.accounts[0].key = crate::service_key::KeySource::BuiltIn("sk_1");
        let fleet = Fleet::default();
        let (_, poller) = pollers(&config, &fleet).await.unwrap().remove(0);
        let mut polling = Polling::new(config, fleet, Handle::current());
        let (begun, has_begun) = oneshot::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let written = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writes = written.clone();
        polling.spawn_task("default".to_owned(), (poller.pulse(), poller.client(), poller.key()), async move {
            begun.send(()).unwrap();
            goes_on.recv().unwrap();
            writes.store(true, std::sync::atomic::Ordering::SeqCst);
            std::future::pending().await
        });
        has_begun.await.unwrap();
        let mut stopping = std::pin::pin!(polling.stop(|name| name == "default"));
        assert!(futures_util::poll!(stopping.as_mut()).is_pending());
        go_on.send(()).unwrap();
        stopping.await;
        assert!(written.load(std::sync::atomic::Ordering::SeqCst), "it has written its changes");
    }
}
