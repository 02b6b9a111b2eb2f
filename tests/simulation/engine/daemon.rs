//! The exporter without its sockets: the shelf of accounts, and what the daemon does with them at start and at reload.

use std::time::Duration;

use fastrand::Rng;
use goldrush_exporter::account::{Account, ReadAgain, Settings};
use goldrush_exporter::config::{Config, ConfigFile};
use goldrush_exporter::fleet::{self, AccountHandle, Fleet};

use super::clock::Clock;
use super::history::Knobs;
use super::world::{Item, KeyId, World, first_id};

pub struct Daemon {
    pub fleet: Fleet,
    pub knobs: Knobs,
    pub accounts: Vec<Driver>,
}

/// What drives one account.
pub struct Driver {
    pub handle: AccountHandle,
    /// The right to drive it.
    pub right: fleet::Driver,
    pub settings: Settings,
    /// The key that requests are sent with.
    pub key: KeyId,
    /// As the account counts them.
    pub generation: u64,
    /// Responses to requests of another epoch are lost: their driver has been replaced.
    pub epoch: u64,
    /// When to ask for the next request, on the monotonic clock.
    pub wake: Option<Duration>,
}

/// The names of the accounts.
const NAMES: [&str; 2] = ["account 0", "account 1"];

pub fn name(account: usize) -> &'static str {
    NAMES[account]
}

/// As a user would write it.
fn config(knobs: Knobs, accounts: usize) -> Config {
    let Knobs { budget, stale_after, discovery, in_flight, max_pipelines, filters, expects, usage } = knobs;
    let usage = if usage > 0 { format!(", usage: {usage}s") } else { String::new() };
    let mut text = format!(
        "poll: {{requests_per_second: {}.{}, stale_after: {stale_after}s, discovery: {discovery}s, \
         max_in_flight: {in_flight}{usage}}}\nmax_pipelines: {max_pipelines}\naccounts:\n",
        budget / 10,
        budget % 10
    );
    for account in 0..accounts {
        text += &format!("  - {{name: {}, service_key_file: /simulated/{account}", name(account));
        if filters {
            text += ", projects: {exclude: [hidden]}";
        }
        if expects {
            text += &format!(", expect: [{}, pipe_never]", first_id(account));
        }
        text += "}\n";
    }
    text += "policies: [{projects: [analytics], team: data}]\n";
    let file = ConfigFile { path: "simulated.yaml".into(), text };
    Config::load(Some(&file), &[]).unwrap_or_else(|error| panic!("{error}:\n{}", file.text))
}

/// Whether the configuration takes a pipeline that the list shows.
pub fn includes(settings: &Settings, item: &Item) -> bool {
    settings.account.projects.matches(&item.project)
}

impl Daemon {
    pub fn start(knobs: Knobs, world: &World, clock: &Clock, rng: &mut Rng) -> Self {
        let config = config(knobs, world.files.len());
        let fleet = Fleet::default();
        let moment = clock.moment();
        let start = |(index, account)| {
            let settings = Settings::of(&config, account);
            let core = Account::new(settings.clone(), moment.wall(), rng.fork(), moment);
            let handle = fleet.insert(&account.name, core);
            let right = handle.hand_over(|_| {});
            Driver { handle, right, settings, key: world.files[index], generation: 1, epoch: 0, wake: None }
        };
        let accounts = config.accounts.iter().enumerate().map(start).collect();
        Self { fleet, knobs, accounts }
    }

    /// Returns the accounts that were changed, and whether each has another key now.
    pub fn reload(&mut self, knobs: Knobs, world: &World, clock: &Clock) -> Vec<(usize, bool)> {
        let config = config(knobs, self.accounts.len());
        self.knobs = knobs;
        let now = clock.moment();
        let mut changed = Vec::new();
        for (index, (driver, account)) in self.accounts.iter_mut().zip(&config.accounts).enumerate() {
            let settings = Settings::of(&config, account);
            if settings == driver.settings {
                continue;
            }
            let is_another = driver.key != world.files[index];
            driver.settings = settings.clone();
            driver.key = world.files[index];
            driver.generation += 1;
            driver.epoch += 1;
            let key = ReadAgain { loaded_at: now.wall(), is_another };
            driver.right = driver.handle.hand_over(|account| account.reconfigure(settings, key, now));
            changed.push((index, is_another));
        }
        changed
    }
}
