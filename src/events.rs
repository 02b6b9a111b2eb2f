//! Turns an account's events into log lines. They report each change once, rather than the state at every poll.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::account::{Change, Event, PipelineName};
use crate::api::{Error, Phase, Reason};
use crate::service_key::KeySource;

/// Maximum lines per [`WINDOW`] about the same [`News`]: an outage changes every probe of every pipeline, and a key of
/// another group every pipeline.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct EventLog {
    account: String,
    source: KeySource,
    /// When the current window began.
    began: Option<Instant>,
    /// How often there were these news in this window.
    counts: HashMap<News, u32>,
}

/// What one cause can bring about for all pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum News {
    /// A list says this about a pipeline.
    Listed(&'static str),
    Failed,
    /// Any other phase than `FAILED`.
    Phase(Option<Phase>),
    Unhealthy,
    Healthy,
    ProbeFails(Reason),
    ProbeSucceeds,
}

impl EventLog {
    /// For the account with this name, whose key comes from `source`.
    pub fn new(account: String, source: KeySource) -> Self {
        Self { account, source, began: None, counts: HashMap::new() }
    }

    /// Writes the event, if it deserves a line.
    pub fn write(&mut self, event: &Event, now: Instant) {
        let (account, source) = (&*self.account, &self.source);
        match event {
            Event::KeyRefused(error) => error!(account, %source, "{error}"),
            Event::KeyAcceptedAgain => info!(account, %source, "the ServiceKey is accepted again"),
            Event::ListFails(error @ Error::Forbidden(_)) => {
                error!(account, %source, "the list of pipelines fails: {}", error.of_list());
            }
            Event::ListFails(error) => {
                let reason = error.reason().as_str();
                warn!(account, reason, "the list of pipelines fails: {}", error.of_list());
            }
            Event::ListSucceeds { pipelines } => info!(account, pipelines, "the list of pipelines succeeds"),
            Event::UsageFails(error) => {
                let reason = error.reason().as_str();
                warn!(account, reason, "the usage of credits fails: {}", error.of_usage());
            }
            Event::UsageSucceeds => info!(account, "the usage of credits succeeds"),
            Event::Truncated { most } => {
                let max_pipelines = most;
                warn!(account, max_pipelines, "the list is truncated: pipelines beyond max_pipelines are not polled");
            }
            Event::Overloaded { required, allowed } => warn!(
                account,
                required,
                allowed,
                "the intervals need more requests per second than poll.requests_per_second allows: they are stretched"
            ),
            Event::Paused { retry_after, wait } => {
                let retry_after =
                    retry_after.map_or("none".to_owned(), |wait| humantime::format_duration(wait).to_string());
                warn!(
                    account,
                    retry_after,
                    seconds = wait.as_secs_f64(),
                    "polling is paused, because a response demanded it"
                );
            }
            Event::PipelineIsNew(name) => {
                self.write_listed(name, "pipeline is new", "more pipelines are new", None, now)
            }
            Event::PipelineIsGone(name) => {
                let message = "pipeline is gone: it is not listed any more";
                self.write_listed(name, message, "more pipelines are gone", None, now);
            }
            Event::PipelineChanged(name, change) => self.write_change(name, change, now),
        }
    }

    /// Writes what a list says about a pipeline.
    fn write_listed(
        &mut self,
        PipelineName { id, name }: &PipelineName,
        message: &'static str,
        more: &str,
        status: Option<&str>,
        now: Instant,
    ) {
        let pipeline_id = id.as_str();
        let pipeline = name.as_deref().unwrap_or_default();
        let is_shown = self.is_shown(News::Listed(message), more, now);
        let account = &*self.account;
        match is_shown {
            true => info!(account, pipeline_id, pipeline, status, "{message}"),
            false => debug!(account, pipeline_id, pipeline, status, "{message}"),
        }
    }

    fn write_change(&mut self, name: &PipelineName, change: &Change, now: Instant) {
        let pipeline_id = name.id.as_str();
        let pipeline = name.name.as_deref().unwrap_or_default();
        match change {
            // The first reading is not a change: otherwise startup would log a line for each pipeline.
            Change::Phase { was: None, is } if *is != Some(Phase::Failed) => {}
            Change::Phase { was, is: Some(Phase::Failed) } => {
                let is_shown = self.is_shown(News::Failed, "more pipelines have failed", now);
                let (account, was) = (&*self.account, was.map_or("none", Phase::as_str));
                match is_shown {
                    true => warn!(account, pipeline_id, pipeline, was, "pipeline has failed"),
                    false => debug!(account, pipeline_id, pipeline, was, "pipeline has failed"),
                }
            }
            Change::Phase { was, is } => {
                let is_shown = self.is_shown(News::Phase(*is), "more phases have changed", now);
                let [was, phase] = [was, is].map(|phase| phase.map_or("none", Phase::as_str));
                let account = &*self.account;
                match is_shown {
                    true => info!(account, pipeline_id, pipeline, phase, was, "phase has changed"),
                    false => debug!(account, pipeline_id, pipeline, phase, was, "phase has changed"),
                }
            }
            Change::Desired(is) => {
                let status = is.map_or("none", |status| status.as_str());
                let more = "more desired statuses have changed";
                self.write_listed(name, "desired status has changed", more, Some(status), now);
            }
            Change::DestinationUnhealthy(detail) => {
                let is_shown = self.is_shown(News::Unhealthy, "more destinations are unhealthy", now);
                let account = &*self.account;
                match is_shown {
                    true => warn!(account, pipeline_id, pipeline, detail, "destination is unhealthy"),
                    false => debug!(account, pipeline_id, pipeline, detail, "destination is unhealthy"),
                }
            }
            Change::DestinationHealthy => {
                let is_shown = self.is_shown(News::Healthy, "more destinations are healthy again", now);
                let account = &*self.account;
                match is_shown {
                    true => info!(account, pipeline_id, pipeline, "destination is healthy again"),
                    false => debug!(account, pipeline_id, pipeline, "destination is healthy again"),
                }
            }
            // The account already logs a refused key once.
            Change::Probe { failure: Some((Reason::Unauthorized, _)), .. } => {}
            Change::Probe { was: Some(Reason::Unauthorized), failure: None, .. } => {}
            Change::Probe { probe, failure: Some((reason, detail)), .. } => {
                let is_shown = self.is_shown(News::ProbeFails(*reason), &format!("more probes fail ({reason})"), now);
                let (account, probe, reason) = (&*self.account, probe.as_str(), reason.as_str());
                match is_shown {
                    true => warn!(account, pipeline_id, pipeline, probe, reason, detail, "probe fails"),
                    false => debug!(account, pipeline_id, pipeline, probe, reason, detail, "probe fails"),
                }
            }
            Change::Probe { probe, failure: None, .. } => {
                let is_shown = self.is_shown(News::ProbeSucceeds, "more probes succeed again", now);
                let (account, probe) = (&*self.account, probe.as_str());
                match is_shown {
                    true => info!(account, pipeline_id, pipeline, probe, "probe succeeds again"),
                    false => debug!(account, pipeline_id, pipeline, probe, "probe succeeds again"),
                }
            }
        }
    }

    /// Whether a line above the debug log says these news of this pipeline; else one has said that there are `more`.
    fn is_shown(&mut self, news: News, more: &str, now: Instant) -> bool {
        let lines = self.count(news, now);
        if lines == LINES + 1 {
            let account = &*self.account;
            const REST: &str = "for a minute, only the debug log shows each";
            match news {
                News::Failed | News::Unhealthy | News::ProbeFails(_) => warn!(account, "{more}: {REST}"),
                _ => info!(account, "{more}: {REST}"),
            }
        }
        lines <= LINES
    }

    /// How often there were these news in this window, including now.
    fn count(&mut self, news: News, now: Instant) -> u32 {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            self.began = Some(now);
            self.counts.clear();
        }
        let count = self.counts.entry(news).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::DefaultGuard;

    use super::*;
    use crate::api::{PipelineId, Probe};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// What this thread logs above the debug log, until the guard is dropped.
        fn capture() -> (Self, DefaultGuard) {
            let lines = Self::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
            let subscriber = subscriber.with_writer(move || writer.clone()).finish();
            (lines, tracing::subscriber::set_default(subscriber))
        }

        /// What was logged since it was last taken.
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_fleet_that_goes_and_comes_back_logs_a_few_lines() {
        let (lines, _log) = Lines::capture();
        let mut log = EventLog::new("prod".to_owned(), KeySource::BuiltIn("sk_1"));
        let name = |number| PipelineName { id: PipelineId::new(&format!("pipe_{number}")).unwrap(), name: None };
        let changes = [
            ("WARN", Change::Phase { was: Some(Phase::Running), is: Some(Phase::Failed) }),
            ("INFO", Change::Phase { was: Some(Phase::Failed), is: Some(Phase::Running) }),
            ("INFO", Change::Desired(Some(crate::api::DesiredStatus::Paused))),
            ("WARN", Change::DestinationUnhealthy("refused".to_owned())),
            ("INFO", Change::DestinationHealthy),
        ];
        type Make = Box<dyn Fn(PipelineName) -> Event>;
        let mut events: Vec<(&str, Make)> =
            vec![("INFO", Box::new(Event::PipelineIsGone)), ("INFO", Box::new(Event::PipelineIsNew))];
        for (level, change) in changes {
            events.push((level, Box::new(move |name| Event::PipelineChanged(name, change.clone()))));
        }
        for (level, event) in events {
            let now = Instant::now();
            (0..10_000).for_each(|number| log.write(&event(name(number)), now));
            let text = lines.take();
            let counted = ["pipe_", "only the debug log shows each", level].map(|what| text.matches(what).count());
            assert_eq!(counted, [10, 1, 11], "{text:.2000}");
            let last = text.lines().next_back().unwrap();
            assert!(last.contains("only the debug log shows each"), "after the others: {last}");
        }
    }

    #[test]
    fn the_first_phase_is_news_only_if_it_is_a_failure() {
        let (lines, _log) = Lines::capture();
        let mut log = EventLog::new("prod".to_owned(), KeySource::BuiltIn("sk_1"));
        for (id, is) in [("pipe_runs", Phase::Running), ("pipe_failed", Phase::Failed)] {
            let name = PipelineName { id: PipelineId::new(id).unwrap(), name: None };
            log.write(&Event::PipelineChanged(name, Change::Phase { was: None, is: Some(is) }), Instant::now());
        }
        let text = lines.take();
        let counted = ["pipe_runs", "pipe_failed", "pipeline has failed"].map(|what| text.matches(what).count());
        assert_eq!(counted, [0, 1, 1], "{text}");
    }

    #[test]
    fn an_outage_logs_a_few_lines_and_does_not_hide_another_failure() {
        let (lines, _log) = Lines::capture();
        let start = Instant::now();
        let mut log = EventLog::new("prod".to_owned(), KeySource::BuiltIn("sk_1"));
        // How often each line about that many probes is logged.
        let mut told = |probes: u32, failure: Option<Reason>, seconds| {
            for number in 0..probes {
                let name = PipelineName { id: PipelineId::new(&format!("pipe_{number}")).unwrap(), name: None };
                let failure = failure.map(|reason| (reason, "why".to_owned()));
                let change = Change::Probe { probe: Probe::Status, was: None, failure };
                log.write(&Event::PipelineChanged(name, change), start + Duration::from_secs(seconds));
            }
            let text = lines.take();
            ["probe fails", "probe succeeds again", "only the debug log shows"].map(|what| text.matches(what).count())
        };
        assert_eq!(told(1, Some(Reason::Timeout), 0), [1, 0, 0]);
        assert_eq!(told(1, None, 1), [0, 1, 0]);
        assert_eq!(told(100, Some(Reason::Timeout), 2), [9, 0, 1], "an outage");
        assert_eq!(told(1, Some(Reason::NotFound), 3), [1, 0, 0], "something else");
        assert_eq!(told(100, None, 59), [0, 9, 1]);
        assert_eq!(told(100, Some(Reason::Timeout), 60), [10, 0, 1], "the next minute");
        assert_eq!(told(3, Some(Reason::Unauthorized), 61), [0, 0, 0], "another line reports the key");
    }
}
