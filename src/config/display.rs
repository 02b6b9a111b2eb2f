//! Every setting in effect, as YAML that can be loaded again. Of keys it shows where they come from.

use std::fmt;

use humantime::format_duration;

use super::filter::Pattern;
use super::{Account, Config, Filter, Poll};
use crate::service_key::KeySource;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api, poll, accounts, shard, max_pipelines } = self;
        writeln!(f, "api:")?;
        writeln!(f, "  base_url: {}", quoted(&api.base_url.to_string()))?;
        writeln!(f, "  allow_http: {}", self.is_plain_http_abroad())?;
        writeln!(f, "  timeout: {}", format_duration(api.timeout))?;
        writeln!(f, "  max_response_bytes: {}", api.max_response_bytes)?;
        poll.fmt(f)?;
        writeln!(f, "accounts:")?;
        for account in accounts {
            account.fmt(f)?;
        }
        writeln!(f, "shard: {{index: {}, total: {}}}", shard.index, shard.total)?;
        writeln!(f, "max_pipelines: {max_pipelines}")
    }
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "poll:")?;
        writeln!(f, "  discovery: {}", format_duration(self.discovery))?;
        writeln!(f, "  status: {}", format_duration(self.status))?;
        writeln!(f, "  metrics: {}", format_duration(self.metrics))?;
        writeln!(f, "  destination_health: {}", format_duration(self.destination_health))?;
        writeln!(f, "  transitional: {}", format_duration(self.transitional))?;
        writeln!(f, "  stale_after: {}", format_duration(self.stale_after))?;
        writeln!(f, "  requests_per_second: {}", self.requests_per_second)?;
        writeln!(f, "  max_in_flight: {}", self.max_in_flight)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  - name: {}", quoted(&self.name))?;
        match &self.key {
            KeySource::File(path) => writeln!(f, "    service_key_file: {}", quoted(&path.to_string_lossy()))?,
            KeySource::Env(variable) => writeln!(f, "    service_key_env: {}", quoted(variable))?,
            // Only the demo has one, and that does not come from a file.
            KeySource::BuiltIn(_) => {}
        }
        writeln!(f, "    projects: {}", self.projects)?;
        writeln!(f, "    pipelines: {}", self.pipelines)?;
        writeln!(f, "    pipeline_ids: {}", self.pipeline_ids)?;
        writeln!(f, "    expect: {}", listed(self.expect.iter().map(|id| id.as_str())))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |patterns: &[Pattern]| listed(patterns.iter().map(|pattern| pattern.text.as_str()));
        write!(f, "{{include: {}, exclude: {}}}", list(&self.include), list(&self.exclude))
    }
}

fn listed<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(quoted).collect::<Vec<_>>().join(", "))
}

/// JSON's strings are YAML's double-quoted ones.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
