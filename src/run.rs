//! Carries out one command and says with which status the process ends.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::api::{self, Client};
use crate::cli::{Cli, Command, Flags, Simulate};
use crate::config::{self, Config};
use crate::daemon::{self, ConfigSource};
use crate::exposition::{Encoding, Exposition, Format};
use crate::fleet::Fleet;
use crate::hardening;
use crate::http::{self, Access};
use crate::logging;
use crate::routes::HEALTH;
use crate::service_key::KeyHolder;
use crate::simulator::{self, Scenario, Simulator};

mod demo;

/// Why a command ended without success, and the exit status that says so.
pub struct Failure {
    status: u8,
    message: Option<String>,
}

impl Failure {
    fn of_request(error: &api::Error) -> u8 {
        match error {
            api::Error::Unauthorized(_) => 3,
            api::Error::Forbidden(_) => 4,
            error if error.answered() => 6,
            _ => 5,
        }
    }

    /// Says what is wrong on standard error, and gives the exit status.
    pub fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("goldrush-exporter: {message}");
        }
        ExitCode::from(self.status)
    }
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        Self { status: if error.is_configuration() { 2 } else { 1 }, message: Some(error.to_string()) }
    }
}

impl From<config::ConfigError> for Failure {
    fn from(error: config::ConfigError) -> Self {
        daemon::Error::from(error).into()
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// A [`Failure`] with the exit status of the contract.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, flags } = cli;
    logging::start(flags.log_level, flags.log_format);
    // Before any key is read.
    hardening::hide_memory();
    let source = ConfigSource::FileAndEnvironment(flags.config_file.clone());
    if flags.config_check {
        return config_check(&source.load()?, &access(&flags).await?).await;
    }
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve(source, &flags).await,
        Command::Check => check(&source.load()?, &access(&flags).await?).await,
        Command::Once => once(&source.load()?).await,
        Command::Simulate(options) => simulate(options).await,
        Command::Demo => demo::run(&flags).await,
        Command::Healthcheck => healthcheck(&flags).await,
    }
}

async fn serve(config: ConfigSource, flags: &Flags) -> Result<(), Failure> {
    // What is wrong with the configuration is said before the port is taken.
    config.load()?;
    let options = daemon_options(config, flags).await?;
    let listeners = listeners(flags).await?;
    Ok(daemon::run(options, listeners).await?)
}

async fn listeners(flags: &Flags) -> Result<Vec<TcpListener>, daemon::Error> {
    if flags.systemd_socket {
        return Ok(http::systemd_sockets()?);
    }
    let mut listeners = Vec::new();
    for address in &flags.listen_addresses {
        listeners.push(http::listen(address).await?);
    }
    Ok(listeners)
}

async fn access(flags: &Flags) -> Result<Access, Failure> {
    Ok(match &flags.web_config_file {
        Some(file) => Access::load(file).await?,
        None => Access::unrestricted()?,
    })
}

async fn daemon_options(config: ConfigSource, flags: &Flags) -> Result<daemon::Options, Failure> {
    let Flags { telemetry_path, enable_lifecycle, max_requests, disable_exporter_metrics, .. } = flags;
    Ok(daemon::Options {
        config,
        telemetry_path: telemetry_path.clone(),
        enable_lifecycle: *enable_lifecycle,
        access: Arc::new(access(flags).await?),
        max_requests: *max_requests,
        disable_exporter_metrics: *disable_exporter_metrics,
    })
}

async fn healthcheck(flags: &Flags) -> Result<(), Failure> {
    for address in &flags.listen_addresses {
        let asked = http::healthcheck(address, HEALTH).await;
        let asked = asked.map_err(|error| Failure { status: 1, message: Some(error.to_string()) })?;
        print(&format!("{asked}: healthy\n"));
    }
    Ok(())
}

/// `println!` that does not panic when nobody reads any more.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

async fn config_check(config: &Config, access: &Access) -> Result<(), Failure> {
    print(&config.to_string());
    warn(config, access);
    for account in &config.accounts {
        let keys = KeyHolder::load(account.key.clone()).await;
        keys.map_err(|error| daemon::Error::Key(account.name.clone(), error))?;
    }
    Ok(())
}

fn warn(config: &Config, access: &Access) {
    for warning in config.warnings().into_iter().chain(access.warnings()) {
        eprintln!("goldrush-exporter: warning: {warning}");
    }
}

async fn check(config: &Config, access: &Access) -> Result<(), Failure> {
    warn(config, access);
    let mut worst = None;
    for account in &config.accounts {
        let name = &account.name;
        let client = Client::new(config.api.clone()).map_err(daemon::Error::from)?;
        let status = match KeyHolder::load(account.key.clone()).await {
            Err(error) => {
                print(&format!("account `{name}`: {error}\n"));
                2
            }
            Ok(keys) => match client.list_page(&keys.current().key, 1).await {
                Ok(page) => {
                    let total = page.pagination.and_then(|pagination| pagination.total_count);
                    let count = total.unwrap_or_else(|| page.items.map_or(0.0, |items| items.len() as f64));
                    print(&format!("account `{name}`: fine, {count} pipelines listed (key from {})\n", account.key));
                    continue;
                }
                Err(error) => {
                    let error_of_list = error.of_list();
                    print(&format!(
                        "account `{name}`: {error_of_list} (key from {}, {})\n",
                        account.key, config.api.base_url
                    ));
                    Failure::of_request(&error)
                }
            },
        };
        worst = worst.into_iter().chain([status]).min();
    }
    worst.map_or(Ok(()), |status| Err(Failure { status, message: None }))
}

async fn once(config: &Config) -> Result<(), Failure> {
    let fleet = Fleet::default();
    let exposition = Arc::new(Exposition::new(fleet.clone()));
    exposition.own.note_shard(config.shard.index, config.shard.total);
    exposition.own.note_reload(true);
    let pollers = daemon::pollers(config, &fleet).await?;
    let polls = pollers.into_iter().map(|(name, poller)| async move { (name, poller.once().await) });
    let mut failures = Vec::new();
    for (name, outcome) in futures_util::future::join_all(polls).await {
        if let Err(error) = outcome {
            failures.push((Failure::of_request(&error), format!("account `{name}`: {}", error.of_list())));
        }
    }
    match exposition.scrape(Format::Classic, Encoding::Identity).await {
        Ok(body) => body.for_each(|piece| print(&String::from_utf8_lossy(&piece))),
        Err(error) => {
            return Err(Failure { status: 1, message: Some(format!("cannot write the exposition: {error}")) });
        }
    }
    let Some(status) = failures.iter().map(|(status, _)| *status).min() else { return Ok(()) };
    let messages: Vec<String> = failures.into_iter().map(|(_, message)| message).collect();
    Err(Failure { status, message: Some(messages.join("\ngoldrush-exporter: ")) })
}

async fn simulate(options: Simulate) -> Result<(), Failure> {
    let usage = |message: String| Failure { status: 2, message: Some(message) };
    let address = options.listen_address;
    if !address.ip().is_loopback() {
        return Err(usage(format!(
            "{address} (--simulator.listen-address) is not loopback: a simulation is for this machine only"
        )));
    }
    let listener = http::listen(&address.to_string()).await.map_err(daemon::Error::from)?;
    let simulator = Simulator::new(simulator::Options {
        pipelines: options.pipelines,
        scenario: options.scenario,
        max_page_size: options.page_size,
        latency: options.latency,
        service_key: options.service_key.clone(),
        ..simulator::Options::default()
    });
    let address = local_address(&listener)?;
    print(&format!(
        "A simulated Pipeline API answers at http://{address}{base}\n\
         Poll it:            GOLDRUSH_EXPORTER__API__BASE_URL=http://{address}{base} \\\n                    \
                             GOLDRUSH_SERVICE_KEY={key} goldrush-exporter\n\
         Change what goes on: curl -X PUT http://{address}/simulator/scenario/NAME\n\
         Names:              {names}\n",
        base = simulator::BASE_PATH,
        key = options.service_key,
        names = Scenario::ALL.iter().map(|scenario| scenario.name()).collect::<Vec<_>>().join(" "),
    ));
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    simulator.serve(listener, stop).await.map_err(|error| daemon::Error::System("serve the simulation", error).into())
}

fn local_address(listener: &TcpListener) -> Result<std::net::SocketAddr, daemon::Error> {
    listener.local_addr().map_err(|error| daemon::Error::System("tell the address listened on", error))
}
