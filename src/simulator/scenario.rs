//! The named situations that the simulated API can be put into.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::catalogue;
use super::demo;
use super::living::Condition;
use super::world::Pipeline;

/// What goes on in the simulated platform; it can be switched while the simulator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// A small fleet of its own in which many things are wrong at once.
    Demo,
    /// Everything works.
    Healthy,
    /// The key's group has no pipeline.
    Empty,
    /// Every key known when the scenario began has been revoked; a key added since is accepted.
    RevokedKey,
    /// Every key turns out to be a read-only API key.
    ReadOnlyKey,
    /// The first pipeline of each list belongs to another group.
    ForeignPipeline,
    /// The destinations of the first third of each group's pipelines are unreachable.
    DestinationDown,
    /// The first pipeline of each group has failed.
    FailedPipeline,
    /// The first third of the pipelines look alive, but nothing moves.
    Stalled,
    /// The first third of the pipelines write more slowly than their chains grow.
    Lagging,
    /// The first pipeline's worker restarts every 20 s.
    Restarting,
    /// More than 2 requests/s of one key are answered 429.
    RateLimited,
    /// Each third request is answered 500, 502 or 503.
    ServerErrors,
    /// Each answer takes 3 s.
    Slow,
    /// Something in front of the API answers with an HTML page and status 200.
    Html,
    /// Every group is over its limit.
    OverLimit,
}

impl Scenario {
    /// Every scenario, in the order in which a help text lists them.
    pub const ALL: [Self; 16] = [
        Self::Demo,
        Self::Healthy,
        Self::Empty,
        Self::RevokedKey,
        Self::ReadOnlyKey,
        Self::ForeignPipeline,
        Self::DestinationDown,
        Self::FailedPipeline,
        Self::Stalled,
        Self::Lagging,
        Self::Restarting,
        Self::RateLimited,
        Self::ServerErrors,
        Self::Slow,
        Self::Html,
        Self::OverLimit,
    ];

    /// The name by which a user asks for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Healthy => "healthy",
            Self::Empty => "empty",
            Self::RevokedKey => "revoked-key",
            Self::ReadOnlyKey => "read-only-key",
            Self::ForeignPipeline => "foreign-pipeline",
            Self::DestinationDown => "destination-down",
            Self::FailedPipeline => "failed-pipeline",
            Self::Stalled => "stalled",
            Self::Lagging => "lagging",
            Self::Restarting => "restarting",
            Self::RateLimited => "rate-limited",
            Self::ServerErrors => "server-errors",
            Self::Slow => "slow",
            Self::Html => "html",
            Self::OverLimit => "over-limit",
        }
    }

    /// One line on what it does, for a help text.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Demo => "a small lively fleet of its own in two groups, many things wrong at once",
            Self::Healthy => "everything works",
            Self::Empty => "the list is empty",
            Self::RevokedKey => "every key in use is answered 401; a key added later is accepted",
            Self::ReadOnlyKey => "every key is answered 403: it is not a ServiceKey",
            Self::ForeignPipeline => "the first pipeline listed answers 403 to its own requests",
            Self::DestinationDown => "a third of the destinations are unreachable, backlog and delay grow",
            Self::FailedPipeline => "the first pipeline is FAILED",
            Self::Stalled => "a third of the pipelines are RUNNING and ready, but their numbers stand still",
            Self::Lagging => "a third of the pipelines fall ever further behind their chains",
            Self::Restarting => "the first pipeline's worker restarts every 20 s",
            Self::RateLimited => "more than 2 requests per second of one key are answered 429 with Retry-After: 2",
            Self::ServerErrors => "each third request is answered 500, 502 or 503, partly with HTML",
            Self::Slow => "each answer takes 3 s",
            Self::Html => "each answer is an HTML page with status 200",
            Self::OverLimit => "every group is over its limit",
        }
    }

    /// How long each answer takes beyond the configured latency.
    pub(super) const fn latency(self) -> Duration {
        match self {
            Self::Slow => Duration::from_secs(3),
            _ => Duration::ZERO,
        }
    }

    /// The condition that the scenario puts a pipeline into: the `index`th of a group that started with `size`.
    pub(super) fn condition(self, pipeline: &Pipeline, index: usize, size: usize) -> Condition {
        let first = index == 0;
        let first_third = index * 3 < size;
        match self {
            Self::Demo => demo::condition(pipeline.group(), index),
            Self::ForeignPipeline if first => Condition::Foreign,
            Self::FailedPipeline if first => Condition::Failed,
            Self::Restarting if first => {
                Condition::Restarting { period: Duration::from_secs(20), deploying: Duration::from_secs(4) }
            }
            Self::DestinationDown if first_third => {
                Condition::DestinationDown(catalogue::last_error(&pipeline.destination_type, index))
            }
            Self::Stalled if first_third => Condition::Stalled,
            Self::Lagging if first_third => Condition::Lagging,
            _ => Condition::Well,
        }
    }

    /// Whether the scenario puts a group over its limit.
    pub(super) const fn over_limit(self, group: usize) -> bool {
        match self {
            Self::OverLimit => true,
            Self::Demo => group == demo::STAGING,
            _ => false,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No scenario has that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScenario(String);

impl fmt::Display for UnknownScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Scenario::ALL.map(Scenario::name).join(", ");
        write!(f, "unknown scenario {:?}, expected one of {names}", self.0)
    }
}

impl std::error::Error for UnknownScenario {}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name).ok_or_else(|| UnknownScenario(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse(), Ok(scenario));
        }
        let error = "nonsense".parse::<Scenario>().unwrap_err().to_string();
        assert!(error.contains("revoked-key"), "{error}");
    }
}
