//! Wires the parts together: pollers, the web server, reload, shutdown.

mod service_manager;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{error, info, warn};

use crate::api::{Client, ClientError};
use crate::config::{self, Config, ConfigError};
use crate::exposition::Exposition;
use crate::fleet::Fleet;
use crate::poll::{Poller, Pulse};
use crate::service_key::{KeyError, KeyHolder};
use crate::web::{self, Access, App, ListenError, ReloadRequest, Server};
use service_manager::Watchdog;

/// Scrapes in flight get this long to finish; the rest of the five seconds is for the process to end.
const DRAIN: Duration = Duration::from_secs(4);

/// How often it is looked whether something is kept for scrapers that do not come any more.
const TIDY: Duration = Duration::from_secs(5);

/// Where the configuration comes from: read once at the start and again at each reload.
#[derive(Debug, Clone)]
pub enum ConfigSource {
    /// A file, if there is one, and the environment.
    FileAndEnvironment(Option<PathBuf>),
    /// A configuration of the program's own (the demo's).
    Fixed(Box<Config>),
}

impl ConfigSource {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read or holds something impossible.
    pub fn load(&self) -> Result<Config, ConfigError> {
        match self {
            Self::Fixed(config) => Ok((**config).clone()),
            Self::FileAndEnvironment(file) => {
                // A variable that is not Unicode cannot be one of ours.
                let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                };
                let environment: Vec<(String, String)> = std::env::vars_os().filter_map(text).collect();
                Config::load(file.as_deref(), &environment)
            }
        }
    }
}

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An account has no key to start with.
    #[error("account `{0}`: {1}")]
    Key(String, KeyError),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is nothing to listen on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A part of the daemon ended that must not end; serving on would mean serving old numbers.
    #[error("{0} has ended unexpectedly; the exporter stops, so that it does not serve old numbers")]
    Died(String),
    /// The operating system refuses something basic.
    #[error("cannot {0}: {1}")]
    System(&'static str, std::io::Error),
}

impl Error {
    /// Whether the configuration is to blame.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Key(..))
    }
}

/// What can be set on the command line only.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration comes from.
    pub config: ConfigSource,
    /// Where `/metrics` is.
    pub telemetry_path: String,
    /// Whether `POST /-/reload` is allowed.
    pub enable_lifecycle: bool,
    /// What `--web.config.file` says.
    pub access: Arc<Access>,
    /// Scrapes that may go on at the same time; 0 for as many as come.
    pub max_requests: usize,
}

/// What one account needs to be polled.
struct Prepared {
    account: config::Account,
    client: Client,
    keys: KeyHolder,
}

/// Reads the account's key and sets up its client.
async fn prepare(config: &Config, account: &config::Account) -> Result<Prepared, Error> {
    let keys = KeyHolder::load(account.key.clone()).await;
    let keys = keys.map_err(|error| Error::Key(account.name.clone(), error))?;
    Ok(Prepared { account: account.clone(), client: Client::new(config.api.clone())?, keys })
}

/// One poller for each account, ready to run.
///
/// # Errors
/// [`Error::Key`] or [`Error::Client`].
pub async fn pollers(config: &Config, fleet: &Fleet) -> Result<Vec<(String, Poller)>, Error> {
    let prepared = try_join_all(config.accounts.iter().map(|account| prepare(config, account))).await?;
    Ok(prepared.into_iter().map(|prepared| start(config, fleet, prepared)).collect())
}

fn start(config: &Config, fleet: &Fleet, prepared: Prepared) -> (String, Poller) {
    let Prepared { account, client, keys } = prepared;
    let name = account.name.clone();
    let handle = fleet.account(&name);
    (name, Poller::new(config, account, client, keys, handle))
}

/// Polls and serves until a signal to stop.
///
/// # Errors
/// Any [`Error`]; once it runs, only [`Error::Died`].
pub async fn run(options: Options, listeners: Vec<TcpListener>) -> Result<(), Error> {
    // Signals first: one that comes while keys are read must not be lost.
    let mut signals = Signals::new()?;
    let config = options.config.load()?;
    config.warnings().iter().for_each(|warning| warn!("{warning}"));
    let fleet = Fleet::default();
    let mut polling = Polling { fleet: fleet.clone(), tasks: JoinSet::new(), running: HashMap::new(), config };
    for (name, poller) in pollers(&polling.config, &fleet).await? {
        polling.spawn(name, poller);
    }
    let exposition = Arc::new(Exposition::new(fleet.clone()));
    polling.show_shard(&exposition);
    exposition.own.note_reload(true);

    let (reload, mut reload_requests) = mpsc::channel::<ReloadRequest>(1);
    let app = App {
        exposition: exposition.clone(),
        fleet,
        telemetry_path: options.telemetry_path.clone(),
        reload: options.enable_lifecycle.then_some(reload),
    };
    let (stop, stopped) = watch::channel(());
    options.access.warnings().iter().for_each(|warning| warn!("{warning}"));
    let mut servers = serve_all(listeners, app, &options, &stopped);
    let mut watchdog = Watchdog::of_environment();
    service_manager::ready(&polling.describe());
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            order = signals.next() => match order {
                Order::Stop => break,
                Order::Reload => { let _ = reload_and_note(&mut polling, &options, &exposition).await; }
            },
            Some(request) = reload_requests.recv() => {
                let outcome = reload_and_note(&mut polling, &options, &exposition).await;
                // Whoever asked may have gone away.
                let _ = request.send(outcome);
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
    drop(polling);
    drop(stop);
    let drained = tokio::time::timeout(DRAIN, async { while servers.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!("a client is stuck: its connection is cut");
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
            () = web::keep_access_current(watched, exposition) => {}
            _ = until.changed() => {}
        }
    });
    let server = Server::new(web::router(app), access.clone(), telemetry_path.clone(), *max_requests);
    let server = Arc::new(server);
    for listener in listeners {
        if let Ok(address) = listener.local_addr() {
            info!(address = %address, path = telemetry_path, tls = access.is_tls(), "listening");
        }
        servers.spawn(server.clone().serve(listener, stopped.clone()));
    }
    servers
}

/// One account's poller.
struct Running {
    task: AbortHandle,
    pulse: Pulse,
}

/// The pollers that run, and what they run with.
struct Polling {
    fleet: Fleet,
    config: Config,
    tasks: JoinSet<String>,
    running: HashMap<String, Running>,
}

impl Polling {
    fn spawn(&mut self, name: String, poller: Poller) {
        let account = name.clone();
        let pulse = poller.pulse();
        let task = self.tasks.spawn(async move {
            poller.run().await;
            account
        });
        self.running.insert(name, Running { task, pulse });
    }

    /// An account whose poller is stuck, if there is one.
    fn stuck(&self) -> Option<&str> {
        self.running.iter().find(|(_, poller)| poller.pulse.is_stuck()).map(|(account, _)| account.as_str())
    }

    /// Shows which part of the pipelines is polled.
    fn show_shard(&self, exposition: &Exposition) {
        exposition.own.note_shard(self.config.shard.index, self.config.shard.total);
    }

    /// One line on what runs.
    fn describe(&self) -> String {
        match self.running.len() {
            1 => "Polling 1 account".to_owned(),
            accounts => format!("Polling {accounts} accounts"),
        }
    }

    /// Waits until a poller ends by itself, which only a panic can bring about.
    async fn death(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(account)) => return format!("the poller of account `{account}`"),
                Some(Err(error)) if error.is_panic() => return "a poller (it panicked, see above)".to_owned(),
                // Stopped by a reload.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Puts a new configuration into effect, whole or not at all. Accounts that have not changed poll on.
    async fn reload(&mut self, config: Config) -> Result<(), Error> {
        let shared_settings_stay = self.config.api == config.api
            && self.config.poll == config.poll
            && self.config.shard == config.shard
            && self.config.max_pipelines == config.max_pipelines;
        let stays = |account: &config::Account| shared_settings_stay && self.config.accounts.contains(account);
        let changed = config.accounts.iter().filter(|account| !stays(account));
        let prepared = try_join_all(changed.map(|account| prepare(&config, account))).await?;

        let names: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
        self.running.retain(|name, poller| {
            let goes_on = names.contains(&name.as_str()) && !prepared.iter().any(|new| new.account.name == *name);
            if !goes_on {
                poller.task.abort();
            }
            goes_on
        });
        for prepared in prepared {
            let (name, poller) = start(&config, &self.fleet, prepared);
            self.spawn(name, poller);
        }
        self.fleet.retain(&names);
        self.config = config;
        Ok(())
    }
}

async fn reload_and_note(polling: &mut Polling, options: &Options, exposition: &Exposition) -> Result<(), String> {
    service_manager::reloading();
    let outcome = match options.config.load() {
        Ok(config) => {
            config.warnings().iter().for_each(|warning| warn!("{warning}"));
            polling.reload(config).await
        }
        Err(error) => Err(error.into()),
    };
    polling.show_shard(exposition);
    exposition.own.note_reload(outcome.is_ok());
    match &outcome {
        Ok(()) => {
            info!("the configuration has been loaded");
            service_manager::ready(&polling.describe());
        }
        Err(problem) => {
            error!("the configuration cannot be loaded, the old one stays: {problem}");
            service_manager::ready(&format!("The configuration cannot be loaded, the old one stays: {problem}"));
        }
    }
    outcome.map_err(|problem| problem.to_string())
}

/// The signals that the daemon listens to.
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

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.term.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hangup.recv() => Order::Reload,
        }
    }
}

/// What a signal asks for.
enum Order {
    Stop,
    Reload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poller_that_panics_is_noticed_and_one_that_a_reload_stops_is_not() {
        let config = Config::load(None, &[]).unwrap();
        let mut polling = Polling { fleet: Fleet::default(), config, tasks: JoinSet::new(), running: HashMap::new() };
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
        let mut polling = Polling { fleet, tasks: JoinSet::new(), running: HashMap::new(), config };
        started.into_iter().for_each(|(name, poller)| polling.spawn(name, poller));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((polling.stuck(), polling.describe().as_str()), (None, "Polling 1 account"));
        polling.running["default"].task.abort();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(polling.stuck(), Some("default"));
    }
}
