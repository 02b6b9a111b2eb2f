//! The catalogue of what has to happen sometimes: a campaign in which an event never happened has not tried it.

use std::collections::BTreeMap;

use goldrush_exporter::api::Operation;
use goldrush_exporter::trouble::{Kind, kinds};

use super::history::Reply;

/// How often each event has happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    pub fn note(&mut self, event: impl Into<String>) {
        *self.0.entry(event.into()).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (event, count) in &other.0 {
            *self.0.entry(event.clone()).or_default() += count;
        }
    }

    /// Events of the catalogue that never happened.
    pub fn missing(&self) -> Vec<String> {
        catalogue().into_iter().filter(|event| !self.0.contains_key(event)).collect()
    }

    pub fn report(&self) -> String {
        let mut report = String::new();
        for (event, count) in &self.0 {
            report += &format!("{count:>12}  {event}\n");
        }
        let (missing, all) = (self.missing(), catalogue().len());
        report += &format!("{} of {all} events of the catalogue happened\n", all - missing.len());
        missing.iter().for_each(|event| report += &format!("       never  {event}\n"));
        report
    }
}

/// What a reply to an operation is called.
pub fn reply(reply: Reply, operation: Operation) -> String {
    format!("reply {} to {operation:?}", reply.name())
}

/// Everything that has to happen.
pub fn catalogue() -> Vec<String> {
    let mut events = Vec::new();
    for operation in Operation::ALL {
        events.extend(Reply::ANY.iter().map(|with| reply(*with, *operation)));
    }
    events.extend(Reply::LIST.iter().map(|with| reply(*with, Operation::List)));
    for (from, to) in KEY_TRANSITIONS {
        events.push(format!("key {from} -> {to}"));
    }
    for kind in Kind::ALL {
        events.push(format!("trouble {kind} raised"));
        events.push(format!("trouble {kind} healed"));
        if matches!(kind.row().rule, kinds::Rule::Generated(_)) {
            events.push(format!("alert {} fired", kind.row().alert));
        }
    }
    events.extend(OTHERS.iter().map(|event| (*event).to_owned()));
    events
}

const KEY_TRANSITIONS: &[(&str, &str)] = &[
    ("Untried", "Accepted"),
    ("Untried", "Refused"),
    ("Untried", "NotServiceKey"),
    ("Accepted", "Refused"),
    ("Accepted", "NotServiceKey"),
    ("Refused", "Accepted"),
    ("Refused", "NotServiceKey"),
    ("NotServiceKey", "Accepted"),
    ("NotServiceKey", "Refused"),
];

const OTHERS: &[&str] = &[
    "calm: the picture was compared with the truth",
    "clock stepped",
    "suspended",
    "reloaded",
    "restarted",
    "rotated",
    "rotated while the key was refused",
    "late response of an old key",
    "pipeline is new",
    "pipeline is gone",
    "list truncated",
    "budget too small",
    "regular turns were compared with their share of a small budget",
    "lists came in time",
    "the second opinion agrees",
    "kept text served",
    "all parts agree with the whole",
    "the page agrees with the exposition",
    "what is kept was compared with the live fleet",
    "fleet of 0",
    "fleet of more than 100",
];
