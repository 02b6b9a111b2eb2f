//! Every setting in effect, as YAML that loads again. A key is shown only by its source.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::Value;

use super::quantities::duration;
use super::{Account, Config, Metrics, Policy, Poll, Shard};

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Api {
            base_url: String,
            allow_http: bool,
            #[serde(with = "duration")]
            timeout: Duration,
            max_response_bytes: u64,
        }
        #[derive(Serialize)]
        struct Effective<'a> {
            api: Api,
            poll: &'a Poll,
            accounts: &'a [Account],
            policies: &'a [Policy],
            metrics: &'a Metrics,
            shard: Shard,
            max_pipelines: usize,
        }
        let api = Api {
            base_url: self.api.base_url.to_string(),
            allow_http: self.allow_http,
            timeout: self.api.timeout,
            max_response_bytes: self.api.max_response_bytes,
        };
        let Self { poll, accounts, policies, metrics, shard, max_pipelines, .. } = self;
        Effective { api, poll, accounts, policies, metrics, shard: *shard, max_pipelines: *max_pipelines }
            .serialize(serializer)
    }
}

impl Config {
    /// Every setting, as YAML that loads again.
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        // Serializing into a tree fails only for keys that are not texts.
        if let Ok(Value::Object(settings)) = serde_json::to_value(self) {
            for (name, value) in &settings {
                write_setting(&mut yaml, 0, name, value);
            }
        }
        yaml
    }
}

/// Writes sections as blocks, and lists and filters on one line. JSON scalars are valid YAML.
fn write_setting(yaml: &mut String, indent: usize, name: &str, value: &Value) {
    let _ = write!(yaml, "{:indent$}{name}:", "");
    match value {
        Value::Object(section) if !section.is_empty() && indent == 0 => {
            yaml.push('\n');
            for (name, value) in section {
                write_setting(yaml, indent + 2, name, value);
            }
        }
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            yaml.push('\n');
            for element in elements {
                let begin = yaml.len();
                for (name, value) in element.as_object().into_iter().flatten() {
                    write_setting(yaml, indent + 4, name, value);
                }
                if yaml.len() == begin {
                    let _ = writeln!(yaml, "{:indent$}  - {{}}", "");
                } else {
                    yaml.replace_range(begin + indent + 2..begin + indent + 3, "-");
                }
            }
        }
        inline => {
            yaml.push(' ');
            write_inline(yaml, inline);
            yaml.push('\n');
        }
    }
}

fn write_inline(yaml: &mut String, value: &Value) {
    match value {
        Value::Object(section) => {
            yaml.push('{');
            for (index, (name, value)) in section.iter().enumerate() {
                let separator = if index == 0 { "" } else { ", " };
                let _ = write!(yaml, "{separator}{name}: ");
                write_inline(yaml, value);
            }
            yaml.push('}');
        }
        Value::Array(elements) => {
            yaml.push('[');
            for (index, element) in elements.iter().enumerate() {
                yaml.push_str(if index == 0 { "" } else { ", " });
                write_inline(yaml, element);
            }
            yaml.push(']');
        }
        scalar => {
            let _ = write!(yaml, "{scalar}");
        }
    }
}
