//! An exposition as a strict reader sees it: series by account and by pipeline.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use foldhash::fast::FixedState;

/// By what is not random.
pub type Map<K, V> = HashMap<K, V, FixedState>;

/// By a sample's name with the labels that its subject does not have, in the order of the text: `name{probe="status"}`.
pub type Samples = Map<Rc<str>, f64>;

#[derive(Debug, Default, PartialEq)]
pub struct AccountPicture {
    pub samples: Samples,
    /// By id.
    pub pipelines: Map<Rc<str>, PipelinePicture>,
    /// The kinds of its troubles.
    pub kinds: BTreeSet<Rc<str>>,
}

#[derive(Debug, PartialEq)]
pub struct PipelinePicture {
    pub project: Rc<str>,
    pub name: Rc<str>,
    pub samples: Samples,
    /// The kinds of its troubles.
    pub kinds: BTreeSet<Rc<str>>,
    /// Whether `goldrush_pipeline_info` is shown, and how many series of it.
    pub infos: usize,
}

#[derive(Debug, Default, PartialEq)]
pub struct Picture {
    pub accounts: Map<Rc<str>, AccountPicture>,
    pub of_exporter: Samples,
    /// All series of troubles.
    pub troubles: Vec<Rc<Series>>,
}

/// A series, taken apart.
#[derive(Debug, PartialEq)]
pub struct Series {
    pub text: Box<str>,
    pub name: Box<str>,
    /// Names and values, unescaped.
    labels: Vec<(Box<str>, Rc<str>)>,
    /// See [`Samples`].
    key: Rc<str>,
    pub account: Option<Rc<str>>,
    pipeline: Option<Subject>,
    /// Of a trouble.
    pub kind: Option<Rc<str>>,
}

#[derive(Debug, PartialEq)]
struct Subject {
    id: Rc<str>,
    project: Rc<str>,
    name: Rc<str>,
}

/// Reads expositions. It remembers the series that it has taken apart, because nearly all of them come again.
#[derive(Default)]
pub struct Reader {
    series: Map<Box<str>, Rc<Series>>,
    keys: HashSet<Rc<str>, FixedState>,
}

impl Reader {
    /// # Errors
    /// What a strict reader does not accept.
    pub fn read(&mut self, text: &str, openmetrics: bool) -> Result<Picture, String> {
        let body = if openmetrics { text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")? } else { text };
        let mut picture = Picture::default();
        let mut seen_families = HashSet::with_hasher(FixedState::default());
        for line in body.lines() {
            if let Some(heading) = line.strip_prefix("# TYPE ") {
                if !seen_families.insert(heading) {
                    return Err(format!("a family twice: {line}"));
                }
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("no sample: {line}"))?;
            let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
            picture.take(self.series(series)?, value)?;
        }
        Ok(picture)
    }

    fn series(&mut self, text: &str) -> Result<&Rc<Series>, String> {
        if !self.series.contains_key(text) {
            let series = Rc::new(self.take_apart(text)?);
            self.series.insert(text.into(), series);
        }
        self.series.get(text).ok_or_else(|| format!("{text} is forgotten"))
    }

    fn take_apart(&mut self, text: &str) -> Result<Series, String> {
        let (name, labels) = split(text)?;
        let labels: Vec<(Box<str>, Rc<str>)> =
            labels.into_iter().map(|(label, text)| (label.into(), self.key(&text))).collect();
        let find = |wanted: &str| labels.iter().find(|(label, _)| &**label == wanted).map(|(_, text)| text.clone());
        let is_of_pipeline = name.starts_with("goldrush_pipeline_");
        let subject = find("pipeline_id").zip(find("project")).zip(find("pipeline")).filter(|_| is_of_pipeline);
        let is_of_subject = |label: &str| {
            label == "account" || (is_of_pipeline && matches!(label, "project" | "pipeline_id" | "pipeline"))
        };
        let rest = labels.iter().filter(|(label, _)| !is_of_subject(label));
        let rest: Vec<String> = rest.map(|(label, text)| format!("{label}={text:?}")).collect();
        let key = if rest.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", rest.join(",")) };
        Ok(Series {
            text: text.into(),
            name: name.into(),
            account: find("account"),
            pipeline: subject.map(|((id, project), name)| Subject { id, project, name }),
            kind: find("kind").filter(|_| name.ends_with("_trouble")),
            key: self.key(&key),
            labels,
        })
    }

    fn key(&mut self, text: &str) -> Rc<str> {
        if let Some(key) = self.keys.get(text) {
            return key.clone();
        }
        let key: Rc<str> = text.into();
        self.keys.insert(key.clone());
        key
    }
}

impl Series {
    /// Its labels, without those that are empty, which are none.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(label, text)| (&**label, &**text)).filter(|(_, text)| !text.is_empty())
    }
}

impl Picture {
    fn take(&mut self, series: &Rc<Series>, value: f64) -> Result<(), String> {
        let Series { key, kind, .. } = &**series;
        if kind.is_some() {
            self.troubles.push(series.clone());
        }
        let Some(account) = &series.account else { return put(&mut self.of_exporter, series, value) };
        let account = entry(&mut self.accounts, account, AccountPicture::default);
        let Some(subject) = &series.pipeline else {
            account.kinds.extend(kind.clone());
            return put(&mut account.samples, series, value);
        };
        let pipeline = entry(&mut account.pipelines, &subject.id, || PipelinePicture::new(subject));
        if pipeline.name != subject.name || pipeline.project != subject.project {
            return Err(format!("pipeline {} under two names: {:?} and {:?}", subject.id, pipeline.name, subject.name));
        }
        pipeline.kinds.extend(kind.clone());
        pipeline.infos += usize::from(key.starts_with("goldrush_pipeline_info{"));
        put(&mut pipeline.samples, series, value)
    }

    /// The first sample that the other one does not have as well.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let lacks = |samples: &Samples, others: Option<&Samples>| {
            let differs = |(key, value): &(&Rc<str>, &f64)| others.and_then(|others| others.get(*key)) != Some(*value);
            samples.iter().find(differs).map(|(key, value)| format!("{key} {value}"))
        };
        let in_accounts = || {
            self.accounts.iter().find_map(|(name, account)| {
                let others = other.accounts.get(name);
                let in_pipelines = || {
                    account.pipelines.iter().find_map(|(id, pipeline)| {
                        let others = others.and_then(|account| account.pipelines.get(id));
                        lacks(&pipeline.samples, others.map(|pipeline| &pipeline.samples))
                    })
                };
                lacks(&account.samples, others.map(|account| &account.samples)).or_else(in_pipelines)
            })
        };
        lacks(&self.of_exporter, Some(&other.of_exporter)).or_else(in_accounts)
    }
}

impl PipelinePicture {
    fn new(subject: &Subject) -> Self {
        let Subject { project, name, .. } = subject;
        Self {
            project: project.clone(),
            name: name.clone(),
            samples: Samples::default(),
            kinds: BTreeSet::new(),
            infos: 0,
        }
    }
}

/// A name is not cloned where the map has it.
fn entry<'a, T>(map: &'a mut Map<Rc<str>, T>, name: &Rc<str>, new: impl FnOnce() -> T) -> &'a mut T {
    map.entry(name.clone()).or_insert_with(new)
}

fn put(samples: &mut Samples, series: &Series, value: f64) -> Result<(), String> {
    match samples.insert(series.key.clone(), value) {
        None => Ok(()),
        Some(_) => Err(format!("a series twice: {}", series.text)),
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
