//! From the picture to the text that Prometheus reads: one table of families, two text formats.
//!
//! Only this module names prometheus-client, which keeps the exporter's own metrics. The fleet's families
//! are written straight from the picture: that is what keeps a forgotten series from living on.

mod families;
mod negotiate;
mod own;
#[cfg(target_os = "linux")]
mod process;
#[cfg(test)]
mod tests;
mod writer;

use std::time::Instant;

pub use families::{FAMILIES, Family, Subject};
pub use negotiate::{accepts_gzip, choose_format};
pub use own::Own;
pub use writer::{Format, Kind};

use crate::fleet::{Account, Fleet, Moment};
use families::{AccountView, PipelineView, Read};
use writer::{Labels, Writer};

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Exposition {
    fleet: Fleet,
    /// The exporter's own metrics.
    pub own: Own,
}

impl Exposition {
    /// An exposition of that fleet.
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet, own: Own::new() }
    }

    /// Writes everything as it is now. Takes milliseconds for thousands of pipelines: not for an async task.
    pub fn render(&self, format: Format) -> Vec<u8> {
        let begin = Instant::now();
        self.own.count_scrape();
        // Read before the fleet: whoever sees a reload as done sees the fleet after it.
        let own = self.own.encode();
        let mut writer = Writer::new(format);
        render_fleet(&mut writer, &self.fleet, Moment::now());
        writer.append_openmetrics(&own);
        let body = writer.finish();
        self.own.note_render(begin.elapsed(), body.len());
        body
    }
}

/// Writes the families of the table.
fn render_fleet(writer: &mut Writer, fleet: &Fleet, now: Moment) {
    // Pipelines are shared with the picture, so its lock is held for no longer than this takes.
    let accounts: Vec<(String, Account)> =
        fleet.accounts().iter().map(|handle| (handle.name().to_owned(), handle.lock().clone())).collect();
    let accounts: Vec<AccountView> =
        accounts.iter().map(|(name, account)| AccountView { name, account, now }).collect();
    let account_labels: Vec<Labels> = accounts.iter().map(AccountView::labels).collect();
    // Escaped once for all the families of a pipeline.
    let pipelines: Vec<(PipelineView, Labels)> = accounts
        .iter()
        .flat_map(|account| account.account.pipelines().map(move |pipeline| PipelineView { account, pipeline }))
        .map(|view| (view, view.labels()))
        .collect();
    for family in FAMILIES {
        let mut samples = writer.family(family);
        match family.read {
            Read::Account(read) => {
                for (view, labels) in accounts.iter().zip(&account_labels) {
                    samples.of(labels);
                    read(view, &mut samples);
                }
            }
            Read::Pipeline(read) => {
                for (view, labels) in &pipelines {
                    samples.of(labels);
                    read(view, &mut samples);
                }
            }
        }
    }
}
