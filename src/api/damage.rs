//! The promise of lenient reading, for fuzzers and property tests: damage to one value of a valid response, other than
//! an id or the envelope, changes no other reading.

use std::borrow::Cow;

use super::fuzzing::open;
use super::{DestinationHealth, ListPage, Operation, PipelineMetrics, Status, UnknownField, Usage};

/// Uses these bytes to choose a valid response, one of its values, and the damage to it. Panics if the damage changes
/// anything else.
pub(crate) fn damage(data: &[u8]) {
    let mut choices = Choices(data);
    let operation = choices.of(Operation::ALL);
    let response = response(operation, &mut choices);
    let clean = Body::of(&response, None);
    let undamaged = || String::from_utf8_lossy(&clean.json);
    let (before, unknown) = read(operation, &clean.json).unwrap_or_else(|error| panic!("{error} of {}", undamaged()));
    assert_eq!(unknown, [], "{}", undamaged());
    let target = choices.below(clean.values);
    let damaged = Body::of(&response, Some((target, &damaged_value(&mut choices))));
    is_as_before(operation, &before, &damaged.target, &damaged.json);
}

/// Checks that the damage at `target` changes no other reading and counts as no other field.
fn is_as_before(operation: Operation, before: &[Reading], target: &str, damaged: &[u8]) {
    let shown = || format!("{target} in {}", String::from_utf8_lossy(&damaged[..damaged.len().min(2000)]));
    let (after, unknown) = read(operation, damaged).unwrap_or_else(|error| panic!("{error} of {}", shown()));
    assert_eq!(before.len(), after.len(), "{}", shown());
    for (reading, reading_after) in before.iter().zip(&after) {
        let name = &reading.path;
        assert_eq!(*name, reading_after.path, "{}", shown());
        assert!(reading.value == reading_after.value || reading.depends_on(target), "{name} of {}", shown());
    }
    for field in unknown {
        let concerned = before.iter().any(|reading| reading.field == field && reading.depends_on(target));
        assert!(concerned, "{field} of {}", shown());
    }
}

/// Bytes as choices; when none are left, always the first option.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % count
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(self.0.len().min(most));
        self.0 = rest;
        taken
    }
}

/// JSON whose values can be replaced with bytes.
enum Node {
    Value(&'static str),
    Object(Vec<(&'static str, Node)>),
    List(Vec<Node>),
}

/// A response as JSON, with at most one value replaced.
#[derive(Default)]
struct Body {
    json: Vec<u8>,
    /// How many values may be damaged: not ids, not the envelope, and not their containers.
    values: usize,
    /// The path of the damaged value.
    target: String,
}

impl Body {
    /// `damage` is the index of the value, and the bytes that replace it.
    fn of(response: &Node, damage: Option<(usize, &[u8])>) -> Self {
        let mut body = Self::default();
        body.write(response, &mut String::new(), damage);
        body
    }

    fn write(&mut self, node: &Node, path: &mut String, damage: Option<(usize, &[u8])>) {
        let is_item = path.starts_with("data.items[") && path.ends_with(']');
        let is_envelope = matches!(path.as_str(), "" | "data" | "error" | "data.items" | "data.aggregate");
        if !is_envelope && !is_item && !path.ends_with("].id") {
            self.values += 1;
            if let Some((_, bytes)) = damage.filter(|(target, _)| *target == self.values - 1) {
                self.target.clone_from(path);
                return self.json.extend(bytes);
            }
        }
        let end = path.len();
        match node {
            Node::Value(json) => self.json.extend(json.bytes()),
            Node::Object(fields) => {
                self.json.push(b'{');
                for (index, (name, child)) in fields.iter().enumerate() {
                    path.push_str(if end == 0 { "" } else { "." });
                    path.push_str(name);
                    let comma = if index == 0 { "" } else { "," };
                    self.json.extend([comma, "\"", name, "\":"].concat().bytes());
                    self.write(child, path, damage);
                    path.truncate(end);
                }
                self.json.push(b'}');
            }
            Node::List(items) => {
                self.json.push(b'[');
                for (index, child) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    self.json.extend((index > 0).then_some(b','));
                    self.write(child, path, damage);
                    path.truncate(end);
                }
                self.json.push(b']');
            }
        }
    }
}

const TEXTS: &[&str] = &[
    r#""analytics-prod""#,
    r#""a \"b\" \u00e9 🚀\n\ud83d\ude80""#,
    "null",
    r#""""#,
    r#""base.mainnet.ref.block.logs""#,
];
const NUMBERS: &[&str] = &["7", "0", "null", "-1.5e3", "18446744073709551616", "\"123\""];
const COUNTS: &[&str] = &["7", "0", "null", "1.5e3", "18446744073709551616", "\"123\""];
const FLAGS: &[&str] = &["true", "false", "null"];
const TIMES: &[&str] = &[r#""2023-11-07T05:31:56Z""#, "null", r#""2024-02-29T23:59:60.123456789+05:30""#];
const BLOCKS: &[&str] = &[r#""44745000""#, r#""""#, "null"];

fn response(operation: Operation, choices: &mut Choices<'_>) -> Node {
    let data = match operation {
        Operation::List => list(choices),
        Operation::Status => object(
            choices,
            &[
                ("uid", TEXTS),
                ("status", &[r#""RUNNING""#, r#""DEPLOYING""#, "null", r#""""#]),
                ("replicas", NUMBERS),
                ("ready", NUMBERS),
                ("start_time", TIMES),
            ],
        ),
        Operation::Metrics => object(
            choices,
            &[
                ("uid", TEXTS),
                ("records_consumed", NUMBERS),
                ("last_offset", NUMBERS),
                ("last_block_height", NUMBERS),
                ("pending_records", NUMBERS),
                ("processing_delay_ms", NUMBERS),
                ("records_per_second", NUMBERS),
                ("normalization_errors", NUMBERS),
            ],
        ),
        Operation::DestinationHealth => object(
            choices,
            &[
                ("healthy", FLAGS),
                ("last_checked_at", TIMES),
                ("latency_ms", NUMBERS),
                ("last_error", &["null", r#""dial tcp: connection refused""#, r#""timeout""#]),
                ("new", TEXTS),
            ],
        ),
        Operation::Usage => usage(choices),
    };
    Node::Object(vec![
        ("data", data),
        ("error", Node::Value("false")),
        ("error_message", Node::Value("null")),
        ("error_code", Node::Value("null")),
    ])
}

fn usage(choices: &mut Choices<'_>) -> Node {
    let sums = object(
        choices,
        &[("credits_consumed", COUNTS), ("premium_credits", COUNTS), ("free_credits", COUNTS), ("plan", TEXTS)],
    );
    let Node::Object(mut sums) = sums else { unreachable!() };
    sums.push(("flex_credits", object(choices, &[("limit", COUNTS), ("used", COUNTS)])));
    // Without any of its fields, it would not be a usage response.
    sums.push(("max_credits", Node::Value("300000")));
    let by_api_key = Node::List(vec![object(choices, &[("apikey", TEXTS), ("credits", COUNTS)])]);
    let by_day = Node::List(vec![object(choices, &[("date", TEXTS), ("premium_credits", COUNTS)])]);
    Node::Object(vec![("by_api_key", by_api_key), ("aggregate", Node::Object(sums)), ("by_day", by_day)])
}

fn list(choices: &mut Choices<'_>) -> Node {
    const IDS: [&str; 3] = [r#""pipe_1""#, r#""pipe_2""#, r#""pipe_3""#];
    let count = choices.of(&[2, 1, 3]);
    let items = IDS[..count].iter().map(|id| {
        let mut fields = vec![("id", Node::Value(id))];
        let Node::Object(described) = object(
            choices,
            &[
                ("name", TEXTS),
                ("project", TEXTS),
                ("topic", TEXTS),
                ("destination_type", TEXTS),
                ("description", TEXTS),
                ("abi_unmatched", TEXTS),
                ("execution_mode", &[r#""bounded""#, "null", r#""unbounded""#]),
                ("execution_start_from", BLOCKS),
                ("execution_stop_from", BLOCKS),
                ("status", &[r#""running""#, r#""paused""#, "null"]),
                ("created_at", TIMES),
                ("updated_at", TIMES),
            ],
        ) else {
            unreachable!()
        };
        fields.extend(described);
        fields.push(("destination_config", object(choices, &[("url", TEXTS), ("password", TEXTS)])));
        fields.push(("transforms", object(choices, &[("swaps", TEXTS)])));
        fields.push(("created_by", object(choices, &[("id", TEXTS), ("email", TEXTS)])));
        fields.push((
            "group",
            object(
                choices,
                &[
                    ("id", TEXTS),
                    ("name", TEXTS),
                    ("slug", TEXTS),
                    ("is_paid", FLAGS),
                    ("is_over_limit", FLAGS),
                    ("is_free_trial_expired", FLAGS),
                ],
            ),
        ));
        Node::Object(fields)
    });
    let items = items.collect();
    let pagination = object(choices, &[("has_more", FLAGS), ("page_size", NUMBERS), ("total_count", COUNTS)]);
    Node::Object(vec![("items", Node::List(items)), ("pagination", pagination)])
}

/// An object with some of these fields, each with one of its values.
fn object(choices: &mut Choices<'_>, fields: &[(&'static str, &[&'static str])]) -> Node {
    let mut chosen = Vec::new();
    for (name, values) in fields {
        let choice = usize::from(choices.byte());
        // Keeps half of them, so that building a response costs less than testing it.
        if choice % 2 == 1 {
            chosen.push((*name, Node::Value(values[choice / 2 % values.len()])));
        }
    }
    Node::Object(chosen)
}

/// What a value can turn into: any JSON, and what some writers mistake for JSON.
fn damaged_value(choices: &mut Choices<'_>) -> Vec<u8> {
    const LITERALS: &[&str] = &[
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "-1e999",
        "99999999999999999999999999999999",
        "NaN",
        "-Infinity",
        "+5",
        ".5",
        "007",
        "\"\"",
        "{}",
        "[]",
        r#"{"id":7,"name":[{}]}"#,
        r#"[null,{"id":"pipe_9"}]"#,
        r#""NaN""#,
        r#""0001-01-01T00:00:00Z""#,
        r#""9999-12-31T23:59:59Z""#,
        r#""-009999-01-01T00:00:00Z""#,
        r#""a\r\n\u2028\u0085\u000b""#,
    ];
    let quoted = |inside: Vec<u8>| [b"\"", &*inside, b"\""].concat();
    match choices.byte() % 7 {
        0 => choices.of(LITERALS).into(),
        // Raw bytes: control characters and invalid UTF-8.
        1 => quoted(choices.bytes(60).iter().copied().filter(|byte| !matches!(byte, b'"' | b'\\')).collect()),
        // Any code units, lone surrogates included.
        2 => quoted(
            choices
                .bytes(40)
                .chunks_exact(2)
                .flat_map(|unit| format!("\\u{:02x}{:02x}", unit[0], unit[1]).into_bytes())
                .collect(),
        ),
        // Escapes that do not exist.
        3 => quoted(choices.bytes(20).iter().filter(|byte| **byte != b'"').flat_map(|byte| [b'\\', *byte]).collect()),
        4 => {
            // Deeper than the JSON parser accepts.
            let depth = choices.below(300);
            [vec![b'['; depth], b"7".to_vec(), vec![b']'; depth]].concat()
        }
        5 => quoted(vec![choices.byte() | 1; choices.below(1_000)].into_iter().filter(u8::is_ascii_digit).collect()),
        _ => {
            let digits = choices.bytes(400).iter().map(|byte| b'0' + byte % 10);
            [b"1".to_vec(), digits.collect()].concat()
        }
    }
}

struct Reading {
    /// The path of its source value, or of the object whose `parts` are its sources.
    path: Cow<'static, str>,
    parts: &'static [&'static str],
    field: UnknownField,
    value: String,
}

impl Reading {
    /// Whether the value at `target`, or one inside it, is a source of this reading.
    fn depends_on(&self, target: &str) -> bool {
        let is_source = |rest: &str| if self.parts.is_empty() { rest.is_empty() } else { self.parts.contains(&rest) };
        let is_inside = |rest: &str| rest.is_empty() || rest.starts_with('.');
        self.path.strip_prefix(target).is_some_and(is_inside) || target.strip_prefix(&*self.path).is_some_and(is_source)
    }
}

fn read(operation: Operation, body: &[u8]) -> Result<(Vec<Reading>, Vec<UnknownField>), super::Error> {
    use UnknownField as F;
    let mut readings = Vec::new();
    let mut unknown = Vec::new();
    let mut add = |path: &'static str, field: UnknownField, value: &dyn std::fmt::Debug| {
        readings.push(Reading { path: path.into(), parts: &[], field, value: format!("{value:?}") });
    };
    match operation {
        Operation::Status => {
            let status: Status = open(body)?.unwrap_or_default();
            add("data.status", F::Phase, &status.phase);
            add("data.replicas", F::Replicas, &status.replicas);
            add("data.ready", F::Ready, &status.ready);
            add("data.start_time", F::StartTime, &status.start_time());
            unknown.extend(status.unknown_fields());
        }
        Operation::Metrics => {
            let metrics: PipelineMetrics = open(body)?.unwrap_or_default();
            add("data.records_consumed", F::RecordsConsumed, &metrics.records_consumed);
            add("data.last_offset", F::LastOffset, &metrics.last_offset);
            add("data.last_block_height", F::LastBlockHeight, &metrics.last_block_height);
            add("data.pending_records", F::PendingRecords, &metrics.pending_records);
            add("data.processing_delay_ms", F::ProcessingDelay, &metrics.processing_delay_seconds);
            add("data.records_per_second", F::RecordsPerSecond, &metrics.records_per_second);
            add("data.normalization_errors", F::NormalizationErrors, &metrics.normalization_errors);
            unknown.extend(metrics.unknown_fields());
        }
        Operation::DestinationHealth => {
            let health: DestinationHealth = open(body)?.unwrap_or_default();
            add("data.healthy", F::Healthy, &health.healthy);
            add("data.last_checked_at", F::LastCheckedAt, &health.last_checked_at());
            add("data.latency_ms", F::Latency, &health.latency_seconds);
            add("data.last_error", F::LastError, &health.last_error);
            unknown.extend(health.unknown_fields());
        }
        Operation::Usage => {
            let usage: Usage = open(body)?.unwrap_or_default();
            add("data.aggregate.credits_consumed", F::CreditsConsumed, &usage.credits_consumed);
            add("data.aggregate.max_credits", F::MaxCredits, &usage.credits_limit);
            add("data.aggregate.flex_credits.limit", F::FlexCredits, &usage.flex_credits_limit);
            add("data.aggregate.premium_credits", F::PremiumCredits, &usage.premium_credits);
            add("data.aggregate.free_credits", F::FreeCredits, &usage.free_credits);
            add("data.aggregate.plan", F::Plan, &usage.plan);
            unknown.extend(usage.unknown_fields());
        }
        Operation::List => {
            let page: ListPage = open(body)?.unwrap_or_default();
            let pagination = page.pagination.clone().unwrap_or_default();
            add("data.pagination.has_more", F::Pagination, &pagination.has_more);
            add("data.pagination.total_count", F::Pagination, &pagination.total_count);
            unknown.extend(page.unknown_fields());
            for (index, pipeline) in page.items.iter().flatten().enumerate() {
                let mut add =
                    |field: &str, parts: &'static [&'static str], known: UnknownField, value: &dyn std::fmt::Debug| {
                        let path = format!("data.items[{index}].{field}").into();
                        readings.push(Reading { path, parts, field: known, value: format!("{value:?}") });
                    };
                add("id", &[], F::Id, &pipeline.id());
                add("name", &[], F::Name, &pipeline.name);
                add("project", &[], F::Project, &pipeline.project);
                add("topic", &[], F::Topic, &(&pipeline.topic, pipeline.chain()));
                add("destination_type", &[], F::DestinationType, &pipeline.destination_type);
                add("execution_mode", &[], F::ExecutionMode, &pipeline.execution_mode);
                add("execution_start_from", &[], F::ExecutionStartFrom, &pipeline.start_block);
                add("execution_stop_from", &[], F::ExecutionStopFrom, &pipeline.stop_block);
                add("status", &[], F::DesiredStatus, &pipeline.desired_status());
                add("created_at", &[], F::CreatedAt, &pipeline.created_at());
                add("updated_at", &[], F::UpdatedAt, &pipeline.updated_at());
                let group = pipeline.group.clone().unwrap_or_default();
                add("group.is_paid", &[], F::IsPaid, &group.is_paid);
                add("group.is_over_limit", &[], F::IsOverLimit, &group.is_over_limit);
                add("group.is_free_trial_expired", &[], F::IsFreeTrialExpired, &group.is_free_trial_expired);
                add("group", &[".name", ".slug", ".id"], F::Group, &group.label());
                unknown.extend(pipeline.unknown_fields());
            }
        }
    }
    Ok((readings, unknown))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes a few seconds; set `PROPTEST_CASES` for more cases.
    fn cases() -> ProptestConfig {
        let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
        ProptestConfig::with_cases(asked.unwrap_or(4000))
    }

    proptest! {
        #![proptest_config(cases())]
        #[test]
        fn one_damaged_value_changes_no_other_reading(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            damage(&data);
        }
    }

    #[test]
    fn each_value_of_each_response_is_damaged_in_each_way() {
        for operation in 0..Operation::COUNT as u8 {
            for path in 0..60 {
                for way in 0..7 {
                    // 100 bytes are enough for any response; the repeated byte selects every field.
                    let mut data = vec![operation, 2];
                    data.extend([7; 120]);
                    let mut choices = Choices(&data);
                    let operation = choices.of(Operation::ALL);
                    let _ = response(operation, &mut choices);
                    let used = data.len() - choices.0.len();
                    data.truncate(used);
                    data.extend([path, 0, way, 0xed, 0xa0, 0x80, b'\n', 0xd8, 0x3d, 0xff, b'u', b'"', b'\\', b'x']);
                    damage(&data);
                }
            }
        }
    }
}
