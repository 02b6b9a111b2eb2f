//! What the exporter keeps is bounded by the fleet: by what is listed and expected, not by what has ever been.

use std::collections::BTreeSet;
use std::time::Duration;

use goldrush_exporter::account::{Concern, View};

use super::super::daemon;
use super::super::picture::AccountPicture;
use super::super::world::GROUPS;
use super::{Invariant, Scene, Step};

/// All that an account keeps is checked at every 256th scrape.
const EVERY: u64 = 256;
/// The first of them.
const FIRST: u64 = 24;

/// The most characters that describe an account without pipelines, and each pipeline of it. On a bad day, the changes of half an
/// hour are half of these.
const BASE: usize = 10_000;
const OF_PIPELINE: usize = 24_000;

/// Series of an account beyond those of its groups, chains, teams and expected pipelines.
const SERIES: usize = 240;

/// A request that takes longer gets no response.
const SLOWEST: Duration = Duration::from_secs(60);

#[derive(Default, Clone)]
struct Account {
    /// The highest limit since the start.
    most: usize,
    /// Pipelines that were kept at the last look although they neither exist nor are polled or expected.
    departed: BTreeSet<String>,
    /// When that was.
    looked: Duration,
}

pub struct Memory {
    scrapes: u64,
    accounts: Vec<Account>,
}

impl Memory {
    pub fn new(accounts: usize) -> Self {
        Self { scrapes: 0, accounts: vec![Account::default(); accounts] }
    }
}

impl Invariant for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted => self.accounts.fill(Account::default()),
            Step::Scraped { picture, views } => {
                self.scrapes += 1;
                if picture.accounts.len() != views.len() {
                    return Err(format!("{} accounts are shown, and {} polled", picture.accounts.len(), views.len()));
                }
                for (index, view) in views.iter().enumerate() {
                    let settings = &scene.daemon.accounts[index].settings;
                    let known = &mut self.accounts[index];
                    known.most = known.most.max(settings.max_pipelines);
                    if view.pipelines.len() > known.most {
                        return Err(format!("{} pipelines are kept, {} at most", view.pipelines.len(), known.most));
                    }
                    let expect = &settings.account.expect;
                    let is_expected =
                        |concern: &&Concern| !matches!(concern, Concern::Missing(id) if !expect.contains(id));
                    let concerns: Vec<&Concern> = view.listing.concerns().map(|(concern, _)| concern).collect();
                    let most = expect.len() + 2 * GROUPS + 1;
                    if !concerns.iter().all(is_expected) || concerns.len() > most {
                        return Err(format!(
                            "there are concerns that nothing listed or expected gives: {:?}",
                            view.listing
                        ));
                    }
                    let list = view.listing.latest();
                    if list.is_some_and(|list| list.groups.len() > GROUPS || list.expected.len() > expect.len()) {
                        return Err(format!("more is kept of the list than it says: {list:?}"));
                    }
                    picture
                        .accounts
                        .get(daemon::name(index))
                        .map_or(Ok(()), |shown| series(shown, view, expect.len()))?;
                    if self.scrapes % EVERY == FIRST {
                        known.look(index, view, scene)?;
                        scene.coverage.note("what is kept was compared with the live fleet");
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An account has a number of series that its pipelines hardly change.
fn series(shown: &AccountPicture, view: &View, expected: usize) -> Result<(), String> {
    let chains: BTreeSet<&str> = view.pipelines.values().filter_map(|pipeline| pipeline.listed().chain()).collect();
    // Each group has three flags and two troubles, each policy a team.
    let most = SERIES + 5 * GROUPS + chains.len() + view.policies.len() + expected;
    let found = shown.samples.len();
    if found > most { Err(format!("{found} series of an account, {most} at most")) } else { Ok(()) }
}

impl Account {
    /// Looks through everything, with the fields that nothing else shows.
    fn look(&mut self, index: usize, view: &View, scene: &Scene) -> Result<(), String> {
        let driver = &scene.daemon.accounts[index];
        let all = driver.handle.read(|account| format!("{account:?}"));
        let expect = &driver.settings.account.expect;
        let live = view.pipelines.len() + expect.len();
        if all.len() > BASE + OF_PIPELINE * live {
            return Err(format!("{} characters describe an account with {live} pipelines", all.len()));
        }
        // Of each topic in use, it is known which pipeline is the furthest, which may have departed.
        let texts = all.split('"').zip(all.split('"').skip(1));
        let ids = texts.filter(|(before, text)| text.starts_with("pipe_") && !before.ends_with("by: "));
        let mentioned: BTreeSet<&str> = ids.map(|(_, id)| id).collect();
        let mut live: BTreeSet<&str> = view.pipelines.keys().chain(expect).map(|id| id.as_str()).collect();
        live.extend(scene.world.pipelines.iter().map(|pipeline| pipeline.id.as_str()));
        let departed: BTreeSet<String> = mentioned.difference(&live).map(|id| (*id).to_owned()).collect();
        // A list that began and ended since then did not show them.
        let begun = scene.told[index].list_begun.filter(|begun| begun.world > self.looked + SLOWEST);
        let latest = view.listing.latest().map(|list| list.at.monotonic());
        let is_listed = begun.is_some_and(|begun| latest >= Some(begun.monotonic));
        if let (Some(id), true) = (departed.intersection(&self.departed).next(), is_listed) {
            // Where it stands says which field keeps it.
            let end = all.find(id).unwrap_or_default() + id.len() + 1;
            let context: Vec<char> = all[..end].chars().rev().take(200).collect();
            let context: String = context.into_iter().rev().collect();
            return Err(format!("{id} does not exist any more, and it is kept: {context}"));
        }
        self.departed = departed;
        self.looked = scene.now();
        Ok(())
    }
}
