//! The named scenarios of the simulated API.

use std::str::FromStr;
use std::time::Duration;

use super::answers;
use super::catalogue;
use super::demo;
use super::living::Condition;
use super::pipeline::SimulatedPipeline;
use crate::labels::closed_set;

/// One row per scenario: its variant, its name, and a line for help texts.
macro_rules! scenarios {
    ($($variant:ident = $name:literal: $description:literal,)+) => {
        closed_set! {
            /// What is wrong on the simulated platform; can be switched while the simulator runs.
            pub enum Scenario { $(#[doc = $description] $variant = $name,)+ }
        }

        impl Scenario {
            /// One line for a help text.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)+ }
            }
        }
    };
}

scenarios! {
    Demo = "demo": "a small lively fleet in two groups, with many things wrong at once",
    Healthy = "healthy": "everything works",
    Empty = "empty": "the list is empty",
    RevokedKey = "revoked-key": "every key in use gets 401; a key added later is accepted",
    ReadOnlyKey = "read-only-key": "every key gets 403: it is not a ServiceKey",
    ForeignPipeline = "foreign-pipeline": "requests for the first pipeline listed get 403",
    DestinationDown = "destination-down": "a third of the destinations are unreachable, backlog and delay grow",
    FailedPipeline = "failed-pipeline": "the first pipeline is FAILED",
    Stalled = "stalled": "a third of the pipelines are RUNNING and ready, but their numbers stand still",
    Lagging = "lagging": "a third of the pipelines fall ever further behind their chains",
    EndedEarly = "ended-early": "bounded pipelines are STOPPED before their stop block",
    Restarting = "restarting": "the first pipeline's worker restarts every 20 s",
    RateLimited = "rate-limited": "more than 2 requests per second of one key get 429 with Retry-After: 2",
    ServerErrors = "server-errors": "every third request gets 500, 502 or 503, partly with HTML",
    Slow = "slow": "each response takes 3 s",
    Html = "html": "each response is an HTML page with status 200, as of a captive portal",
    OverLimit = "over-limit": "every group is over its limit",
    CreditsLow = "credits-low": "the account's last credits are used up within 5 s",
}

impl Scenario {
    /// The latency of each response, in addition to the configured one.
    pub(super) const fn latency(self) -> Duration {
        match self {
            Self::Slow => Duration::from_secs(3),
            _ => Duration::ZERO,
        }
    }

    /// The scenario's condition for a pipeline with this index in a group that started with `size` pipelines.
    pub(super) fn condition(self, pipeline: &SimulatedPipeline, index: usize, size: usize) -> Condition {
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
            Self::EndedEarly if pipeline.execution_mode == "bounded" => Condition::Finished,
            Self::Stalled if first_third => Condition::Stalled,
            Self::Lagging if first_third => Condition::Lagging,
            _ => Condition::Well,
        }
    }

    /// Credits that each account has used when the scenario has lasted this long.
    pub(super) fn credits_consumed(self, lasted: Duration) -> f64 {
        let seconds = lasted.as_secs() as f64;
        match self {
            Self::CreditsLow => answers::ALL_CREDITS - (600.0 - 120.0 * seconds).max(0.0),
            _ => 120_000.0 + 0.05 * seconds,
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

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|scenario| scenario.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|scenario| scenario.as_str()).collect();
            format!("unknown scenario {name:?}, expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse(), Ok(*scenario));
        }
        let error = "nonsense".parse::<Scenario>().unwrap_err();
        assert!(error.contains("revoked-key"), "{error}");
    }
}
