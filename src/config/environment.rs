//! Merges the settings in the environment over those in the file.

use std::collections::BTreeMap;

use crate::settings::{ConfigError, Map, Value, ValueKind};

/// With two underscores, because Kubernetes sets variables with one for every service.
pub(super) const PREFIX: &str = "GOLDRUSH_EXPORTER__";

/// One step of a path; indexes sort as numbers, not as texts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// What the environment sets at one path of the configuration, and below it.
#[derive(Default)]
struct Node<'a> {
    /// A variable's name and value.
    value: Option<(&'a str, &'a str)>,
    below: BTreeMap<Step, Node<'a>>,
}

/// Merges the variables over `value`. Returns the variable behind every path that they set.
///
/// An index within a list changes that element; a higher one appends, in the order of the indexes.
pub(super) fn merge(env: &[(String, String)], value: &mut Value) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut root = Node::default();
    for (variable, text) in env {
        let Some(path) = variable.strip_prefix(PREFIX) else { continue };
        let node = path.split("__").fold(&mut root, |node, step| {
            let key = || Step::Key(step.to_ascii_lowercase());
            node.below.entry(step.parse().map_or_else(|_| key(), Step::Index)).or_default()
        });
        if let Some((other, _)) = node.value.replace((variable, text)) {
            return Err(refused(variable, format!("sets the same as {other}; remove one of them")));
        }
    }
    let mut variables = BTreeMap::new();
    root.merge_over(value, "", &mut variables)?;
    Ok(variables)
}

impl Node<'_> {
    fn merge_over(
        &self,
        target: &mut Value,
        path: &str,
        variables: &mut BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        if matches!(target.kind, ValueKind::Nil) {
            variables.insert(path.to_owned(), self.variable().to_owned());
        }
        if let Some((variable, text)) = self.value {
            *target = text.into();
            variables.insert(path.to_owned(), variable.to_owned());
        }
        for (step, node) in &self.below {
            if matches!(target.kind, ValueKind::Nil) {
                *target = match step {
                    Step::Index(_) => Vec::<Value>::new().into(),
                    Step::Key(_) => Map::<String, Value>::new().into(),
                };
            }
            match (&mut target.kind, step) {
                (ValueKind::Array(elements), Step::Index(index)) => {
                    let index = (*index).min(elements.len());
                    if index == elements.len() {
                        elements.push(Value::default());
                    }
                    node.merge_over(&mut elements[index], &format!("{path}[{index}]"), variables)?;
                }
                (ValueKind::Table(settings), _) => {
                    let key = match step {
                        Step::Index(index) => index.to_string(),
                        Step::Key(key) => key.clone(),
                    };
                    let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    node.merge_over(settings.entry(key).or_default(), &below, variables)?;
                }
                (ValueKind::Array(_), Step::Key(_)) => {
                    let problem = format!("{path} is a list; name an element by its index, as in …__0");
                    return Err(refused(node.variable(), problem));
                }
                _ => {
                    return Err(refused(
                        node.variable(),
                        format!("{path} is a single value and has no settings below it"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The name of a variable that sets this path or one below it.
    fn variable(&self) -> &str {
        match self.value {
            Some((variable, _)) => variable,
            None => self.below.values().next().map_or("", Node::variable),
        }
    }
}

fn refused(variable: &str, problem: String) -> ConfigError {
    ConfigError { origin: variable.to_owned(), problem }
}
