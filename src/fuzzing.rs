//! One function per fuzzer in `fuzz/`, which panics at a finding. Compiled for fuzzers and for tests, which run the
//! seeds.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::account::{Step, Walk, testing};
use crate::api::{self, DestinationHealth, ListPage, PipelineId, PipelineMetrics, Probe, Status, Usage};
use crate::config::{Config, ConfigFile};
use crate::exposition::{Format, Selection, choose_format, fleet_text};
use crate::fleet::Fleet;
use crate::http::accepts_gzip;
use crate::moment::Moment;
use crate::service_key::{Flaw, ServiceKey};

/// A body of any endpoint: readings are finite, error messages contain nothing private.
pub fn wire(body: &[u8]) {
    let pages = api::fuzzing::open::<ListPage>(body);
    let status = api::fuzzing::open::<Status>(body);
    let metrics = api::fuzzing::open::<PipelineMetrics>(body);
    let health = api::fuzzing::open::<DestinationHealth>(body);
    let usage = api::fuzzing::open::<Usage>(body);
    let errors = [pages.as_ref().err(), status.as_ref().err(), metrics.as_ref().err(), health.as_ref().err()];
    for error in errors.into_iter().chain([usage.as_ref().err()]) {
        let said = error.map(ToString::to_string).unwrap_or_default();
        assert!(!said.contains("canary") && !said.contains('@') && said.len() < 2000, "{said}");
    }
    if let Ok(Some(page)) = pages {
        for pipeline in page.items.iter().flatten() {
            let texts = [&pipeline.name, &pipeline.project, &pipeline.topic, &pipeline.destination_type];
            assert!(texts.into_iter().flatten().all(|text| text.chars().count() <= 200 && !text.contains('\0')));
            let _ = (pipeline.id(), pipeline.unknown_fields().count());
        }
    }
    if let Ok(Some(metrics)) = metrics {
        let PipelineMetrics { records_consumed, last_offset, last_block_height, pending_records, .. } = &metrics;
        let numbers = [records_consumed, last_offset, last_block_height, pending_records];
        let more = [&metrics.processing_delay_seconds, &metrics.records_per_second, &metrics.normalization_errors];
        assert!(numbers.into_iter().chain(more).flatten().all(|number| number.is_finite()), "{metrics:?}");
    }
    if let Ok(Some(usage)) = usage {
        let Usage { credits_consumed, credits_limit, flex_credits_limit, premium_credits, free_credits, .. } = &usage;
        let numbers = [credits_consumed, credits_limit, flex_credits_limit, premium_credits, free_credits];
        assert!(numbers.into_iter().flatten().all(|number| number.is_finite()), "{usage:?}");
        assert!(usage.plan.iter().all(|plan| plan.chars().count() <= 200 && !plan.contains('\0')), "{usage:?}");
    }
    if let Ok(Some(health)) = health {
        let kept = format!("{health:?}");
        assert!(!kept.contains("canary") && !kept.contains('@') && kept.len() < 2000, "{kept}");
    }
}

/// A valid response with one damaged value: every other reading stays the same.
pub fn damage(data: &[u8]) {
    api::fuzzing::damage(data);
}

/// Pages of a list, one per line: each pipeline is returned once, the maximum holds, and the list ends.
pub fn paging(text: &[u8]) {
    const MOST: usize = 10;
    let pages = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<ListPage>(line).ok());
    let pages: Vec<ListPage> = pages.collect();
    let (taken, asked) = walk(&pages, MOST);
    let mut once = taken.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), taken.len());
    assert!(taken.len() <= MOST && asked <= MOST + 1, "{} of {asked} pages", taken.len());
}

/// The pipelines that a walk returns if the list repeats these pages forever, and how many pages it requests.
fn walk(pages: &[ListPage], most: usize) -> (Vec<PipelineId>, usize) {
    let mut walk = Walk::new(most);
    let mut taken = Vec::new();
    for (index, page) in pages.iter().cycle().enumerate() {
        let Ok((new, step)) = walk.take(page.clone()) else { return (taken, index + 1) };
        taken.extend(new.into_iter().map(|(id, _)| id));
        if matches!(step, Step::End(_)) {
            return (taken, index + 1);
        }
    }
    (taken, 0)
}

/// `Retry-After` and, on a second line, `Date`.
pub fn retry_after(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let (retry_after, date) = text.split_once('\n').map_or((&*text, None), |(first, second)| (first, Some(second)));
    for now in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)] {
        let wait = api::fuzzing::retry_after(retry_after, date, now);
        assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(24 * 60 * 60)), "{wait:?}");
    }
}

/// `Accept` or `Accept-Encoding`: case does not matter, and only what it names is chosen.
pub fn accept(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let shouted = text.to_ascii_uppercase();
    assert_eq!(choose_format(Some(&text)), choose_format(Some(&shouted)));
    assert_eq!(accepts_gzip(Some(&text)), accepts_gzip(Some(&shouted)));
    let names = |word: &str| text.to_ascii_lowercase().contains(word);
    assert!(choose_format(Some(&text)) == Format::Classic || names("application/openmetrics-text"));
    assert!(!accepts_gzip(Some(&text)) || names("gzip") || names("*"));
}

/// A configuration: environment variables up to an empty line, then a file, as YAML and as TOML.
pub fn configuration(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let (environment, file) = text.split_once("\n\n").unwrap_or(("", &text));
    let variables: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("GOLDRUSH_EXPORTER__{name}"), value.to_owned()))
        .collect();
    for extension in ["yaml", "toml"] {
        let path = format!("c.{extension}").into();
        match Config::load(Some(&ConfigFile { path, text: file.to_owned() }), &variables) {
            Ok(config) => {
                assert!(!config.accounts.is_empty() && config.poll.requests_per_second > 0.0);
                let _ = config.warnings();
                // The printed configuration loads again, and is the same.
                let printed = ConfigFile { path: "c.yaml".into(), text: config.to_yaml() };
                assert_eq!(Config::load(Some(&printed), &[]).as_ref(), Ok(&config), "{}", printed.text);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// The content of a key file: an accepted key fits into a header and is never printed; a rejected one has the flaw that
/// the error names.
pub fn key_file(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match ServiceKey::new(&text) {
        Ok(key) => {
            assert!(!key.reveal().is_empty() && key.reveal().bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(key.reveal(), text.trim());
            assert_eq!(format!("{key:?}"), "ServiceKey(hidden)");
        }
        Err(Flaw::Empty) => assert!(text.trim().is_empty()),
        Err(Flaw::InnerWhitespace) => assert!(text.trim().contains(char::is_whitespace)),
        Err(Flaw::Unprintable) => assert!(!text.trim().bytes().all(|byte| byte.is_ascii_graphic())),
        Err(_) => {}
    }
}

/// Without the families that are most of the text and depend on nothing in the input but the account's name: reading them
/// would take most of the time.
static SELECTION: LazyLock<Selection> = LazyLock::new(|| {
    let text = "metrics: {exclude: [goldrush_api_.*, goldrush_trouble_kind_info]}".to_owned();
    let config = Config::load(Some(&ConfigFile { path: "c.yaml".into(), text }), &[]);
    Selection::of(&config.expect("a configuration").metrics).expect("names of families")
});

/// Texts, separated by the byte 0xff, and then numbers of eight bytes: an independent reader of the format reads the
/// values of a pipeline as they were written.
pub fn exposition(data: &[u8]) {
    let mut parts = data.splitn(6, |byte| *byte == 0xff);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (account, name, project, topic, group) = (text(), text(), text(), text(), text());
    let numbers = parts.next().unwrap_or_default().chunks_exact(8);
    let numbers: Vec<f64> = numbers.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap_or_default())).collect();
    let number = |index: usize| numbers.get(index).copied().filter(|number| number.abs() <= 1e24);
    let fleet = Fleet::default();
    let now = Moment::now();
    let mut polled = testing::account(&[], now);
    let listed = |id: &str, name: &str, project: &str| json!({"id": id, "name": name, "project": project, "topic": topic, "group": {"name": group}});
    polled.lists(&[listed("pipe_1", &name, &project), listed("pipe_2", &project, &name)], now);
    for id in ["pipe_1", "pipe_2"] {
        let metrics = json!({"records_consumed": number(0), "pending_records": number(1), "last_offset": number(2)});
        polled.probed(id, testing::reading(Probe::Metrics, metrics), now);
    }
    fleet.insert(&account, polled);
    // Like the wire types: texts too long for a label are truncated, characters that no label can contain are replaced.
    let label = api::fuzzing::label;
    let read = |format| {
        let text = fleet_text(&fleet, &SELECTION, now, format);
        read_exposition(&text, format == Format::OpenMetrics).unwrap_or_else(|why| panic!("{why} in {text}"))
    };
    let samples = read(Format::Classic);
    assert_eq!(samples.len(), read(Format::OpenMetrics).len());
    for (id, name, project) in [("pipe_1", &name, &project), ("pipe_2", &project, &name)] {
        let labels = [("account", account.clone()), ("pipeline", label(name)), ("pipeline_id", id.to_owned())];
        let labels = labels.into_iter().chain([("project", label(project))]);
        let mut labels: BTreeMap<String, String> = labels.map(|(name, value)| (name.to_owned(), value)).collect();
        for (index, family) in ["records_consumed", "pending_records", "last_offset"].iter().enumerate() {
            let sample = (format!("goldrush_pipeline_{family}"), labels.clone());
            assert_eq!(samples.get(&sample).copied(), number(index), "{sample:?}");
        }
        labels
            .extend([("topic", label(&topic)), ("group", label(&group))].map(|(name, value)| (name.to_owned(), value)));
        let topic = label(&topic);
        let chain = match topic.splitn(3, '.').collect::<Vec<_>>()[..] {
            [chain, network, ..] if !chain.is_empty() && !network.is_empty() => format!("{chain}.{network}"),
            _ => String::new(),
        };
        labels.insert("chain".to_owned(), chain);
        labels.insert("destination_type".to_owned(), String::new());
        labels.insert("execution_mode".to_owned(), "unbounded".to_owned());
        labels.insert("team".to_owned(), String::new());
        assert_eq!(samples.get(&("goldrush_pipeline_info".to_owned(), labels)), Some(&1.0));
    }
}

/// A sample's name and labels.
type Series = (String, BTreeMap<String, String>);

/// Reads an exposition strictly, by the grammar of the formats, independently of the writer.
fn read_exposition(text: &str, openmetrics: bool) -> Result<BTreeMap<Series, f64>, String> {
    let body = if openmetrics { text.strip_suffix("# EOF\n").ok_or("no end")? } else { text };
    let mut samples = BTreeMap::new();
    for line in body.split_terminator('\n').filter(|line| !line.starts_with("# ")) {
        let name_end = line.find(['{', ' ']).ok_or_else(|| format!("no sample: {line:?}"))?;
        let (name, mut rest) = line.split_at(name_end);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("no name: {line:?}"));
        }
        let mut labels = BTreeMap::new();
        if let Some(pairs) = rest.strip_prefix('{') {
            rest = pairs;
            while !rest.starts_with('}') {
                let (label, value) = rest.split_once("=\"").ok_or_else(|| format!("no label: {line:?}"))?;
                if label.is_empty() || !label.chars().all(is_name) {
                    return Err(format!("no name of a label: {line:?}"));
                }
                let mut text = String::new();
                let mut chars = value.char_indices();
                let end = loop {
                    match chars.next() {
                        Some((at, '"')) => break at + 1,
                        Some((_, '\\')) => match chars.next() {
                            Some((_, 'n')) => text.push('\n'),
                            Some((_, c @ ('\\' | '"'))) => text.push(c),
                            other => return Err(format!("an escape of {other:?}: {line:?}")),
                        },
                        Some((_, c)) => text.push(c),
                        None => return Err(format!("no end of a label: {line:?}")),
                    }
                };
                if labels.insert(label.to_owned(), text).is_some() {
                    return Err(format!("a label twice: {line:?}"));
                }
                rest = value[end..].strip_prefix(',').unwrap_or(&value[end..]);
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok()).ok_or_else(|| format!("{line:?}"))?;
        if samples.insert((name.to_owned(), labels), value).is_some() {
            return Err(format!("twice: {line:?}"));
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_pass() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 8] = [
            ("wire", wire),
            ("damage", damage),
            ("paging", paging),
            ("retry_after", retry_after),
            ("accept", accept),
            ("configuration", configuration),
            ("key_file", key_file),
            ("exposition", exposition),
        ];
        for (name, target) in targets {
            let folder = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
            let seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|seed| seed.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{folder}");
            for seed in seeds {
                target(&std::fs::read(seed).unwrap());
            }
        }
    }
}
