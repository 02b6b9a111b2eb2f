//! The sections of the configuration, as written.

use std::time::Duration;

use serde::Deserialize;

use super::account::AccountSection;
use super::metrics::MetricsSection;
use super::policy::Policy;
use super::poll::Poll;
use super::quantities::duration;
use super::shard::Shard;
use crate::settings::{Section, Text, boolean, list, whole};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sections {
    pub api: Section<ApiSection>,
    pub poll: Section<Poll>,
    #[serde(deserialize_with = "list")]
    pub accounts: Vec<Section<AccountSection>>,
    #[serde(deserialize_with = "list")]
    pub policies: Vec<Policy>,
    pub metrics: Section<MetricsSection>,
    pub shard: Section<Shard>,
    #[serde(deserialize_with = "whole::<1, _, _>")]
    pub max_pipelines: usize,
}

impl Default for Sections {
    fn default() -> Self {
        Self {
            api: Section::default(),
            poll: Section::default(),
            accounts: Vec::new(),
            policies: Vec::new(),
            metrics: Section::default(),
            shard: Section::default(),
            max_pipelines: 20_000,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiSection {
    pub base_url: Text,
    #[serde(deserialize_with = "boolean")]
    pub allow_http: bool,
    #[serde(with = "duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "whole::<1024, _, _>")]
    pub max_response_bytes: u64,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            base_url: Text("https://api.covalenthq.com/platform/pipeline-api/".to_owned()),
            allow_http: false,
            timeout: Duration::from_secs(10),
            max_response_bytes: 8 * 1024 * 1024,
        }
    }
}
