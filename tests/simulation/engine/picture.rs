//! An exposition as a strict reader sees it: series by account and by pipeline.

use std::collections::BTreeMap;

/// A sample's name with the labels that its subject does not have, in the order of the text: `name{probe="status"}`.
pub type Samples = BTreeMap<String, f64>;

#[derive(Debug, Default)]
pub struct AccountPicture {
    pub samples: Samples,
    /// By id.
    pub pipelines: BTreeMap<String, PipelinePicture>,
}

#[derive(Debug, Default, PartialEq)]
pub struct PipelinePicture {
    pub project: String,
    pub name: String,
    pub samples: Samples,
}

#[derive(Debug, Default)]
pub struct Picture {
    pub accounts: BTreeMap<String, AccountPicture>,
    pub of_exporter: Samples,
    /// All series as they are written, for comparing the formats.
    pub all: BTreeMap<String, f64>,
}

impl Picture {
    /// # Errors
    /// What a strict reader does not accept.
    pub fn read(text: &str, openmetrics: bool) -> Result<Self, String> {
        let body = if openmetrics { text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")? } else { text };
        let mut picture = Self::default();
        let mut seen_families = BTreeMap::new();
        for line in body.lines() {
            if let Some(heading) = line.strip_prefix("# TYPE ") {
                if seen_families.insert(heading.to_owned(), ()).is_some() {
                    return Err(format!("a family twice: {line}"));
                }
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("no sample: {line}"))?;
            let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
            if picture.all.insert(series.to_owned(), value).is_some() {
                return Err(format!("a series twice: {series}"));
            }
            picture.take(series, value)?;
        }
        Ok(picture)
    }

    fn take(&mut self, series: &str, value: f64) -> Result<(), String> {
        let (name, labels) = split(series)?;
        let mut account = None;
        let mut pipeline = (None, None, None);
        let mut rest = String::new();
        let is_of_pipeline = name.starts_with("goldrush_pipeline_");
        for (label, text) in labels {
            match label {
                "account" => account = Some(text),
                "project" if is_of_pipeline => pipeline.0 = Some(text),
                "pipeline_id" if is_of_pipeline => pipeline.1 = Some(text),
                "pipeline" if is_of_pipeline => pipeline.2 = Some(text),
                _ => rest = format!("{rest}{}{label}={text:?}", if rest.is_empty() { "" } else { "," }),
            }
        }
        let key = if rest.is_empty() { name.to_owned() } else { format!("{name}{{{rest}}}") };
        let Some(account) = account else {
            self.of_exporter.insert(key, value);
            return Ok(());
        };
        let account = self.accounts.entry(account).or_default();
        if let (Some(project), Some(id), Some(name)) = pipeline {
            let pipeline = account.pipelines.entry(id.clone()).or_default();
            if pipeline.samples.is_empty() {
                (pipeline.project, pipeline.name) = (project, name);
            } else if (&pipeline.project, &pipeline.name) != (&project, &name) {
                return Err(format!("pipeline {id} under two names: {:?} and {name:?}", pipeline.name));
            }
            pipeline.samples.insert(key, value);
        } else {
            account.samples.insert(key, value);
        }
        Ok(())
    }
}

/// Names and values.
type Labels<'a> = Vec<(&'a str, String)>;

/// The name of a series and its labels, unescaped.
fn split(series: &str) -> Result<(&str, Labels<'_>), String> {
    let Some((name, mut rest)) = series.split_once('{') else { return Ok((series, Vec::new())) };
    let mut labels = Vec::new();
    while rest != "}" {
        let (label, after) = rest.split_once("=\"").ok_or_else(|| format!("no label: {series}"))?;
        let quote = after.find('"').ok_or_else(|| format!("a label without an end: {series}"))?;
        let (text, end) = if after[..quote].contains('\\') {
            unescape(after).ok_or_else(|| format!("a wrong escape: {series}"))?
        } else {
            (after[..quote].to_owned(), quote + 1)
        };
        labels.push((label, text));
        rest = after[end..].strip_prefix(',').unwrap_or(&after[end..]);
        if rest.is_empty() {
            return Err(format!("labels without an end: {series}"));
        }
    }
    Ok((name, labels))
}

/// A text up to its quote, and where what follows begins.
fn unescape(after: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut characters = after.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((text, at + 1)),
            (_, '\\') => match characters.next()? {
                (_, 'n') => text.push('\n'),
                (_, c @ ('\\' | '"')) => text.push(c),
                _ => return None,
            },
            (_, c) => text.push(c),
        }
    }
}
