//! The environment's settings, laid over those of the file.

use std::collections::BTreeMap;

use ::config::{Map, Value, ValueKind};

use super::error::ConfigError;

/// With two underscores: those with one are Kubernetes' own, which has some for every service.
const PREFIX: &str = "GOLDRUSH_EXPORTER__";

/// One step of a path; indices in order, not as texts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// What the environment says of one place of the configuration.
#[derive(Default)]
struct Node<'a> {
    /// A variable's name and value.
    value: Option<(&'a str, &'a str)>,
    below: BTreeMap<Step, Node<'a>>,
}

/// Lays the variables over `value`; gives the variable behind every path that they have set.
///
/// An index within a list changes that element, one beyond its end appends, in the order of the indices.
pub(super) fn merge(env: &[(String, String)], value: &mut Value) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut root = Node::default();
    for (variable, text) in env {
        let Some(path) = variable.strip_prefix(PREFIX) else { continue };
        let node = path.split("__").fold(&mut root, |node, step| {
            let key = || Step::Key(step.to_ascii_lowercase());
            node.below.entry(step.parse().map_or_else(|_| key(), Step::Index)).or_default()
        });
        if let Some((other, _)) = node.value.replace((variable, text)) {
            return Err(refused(variable, format!("sets the same as {other}; one of them is enough")));
        }
    }
    let mut variables = BTreeMap::new();
    root.lay_over(value, "", &mut variables)?;
    Ok(variables)
}

impl Node<'_> {
    fn lay_over(
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
                    node.lay_over(&mut elements[index], &format!("{path}[{index}]"), variables)?;
                }
                (ValueKind::Table(settings), _) => {
                    let key = match step {
                        Step::Index(index) => index.to_string(),
                        Step::Key(key) => key.clone(),
                    };
                    let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    node.lay_over(settings.entry(key).or_default(), &below, variables)?;
                }
                (ValueKind::Array(_), Step::Key(_)) => {
                    let problem = format!("`{path}` is a list; its name takes an index, as in …__0");
                    return Err(refused(node.variable(), problem));
                }
                _ => {
                    return Err(refused(
                        node.variable(),
                        format!("`{path}` is set to a single value; it has no settings below"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The name of a variable that speaks of this place or of one below it.
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
