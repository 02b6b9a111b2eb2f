//! Makes a failing history short: fewer incidents, fewer pipelines, less time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::history::{History, Knobs};
use super::{Outcome, Violation, run};

/// As [`run`]; a panic of the exporter is a violation as well.
///
/// # Errors
/// The first violation.
pub fn try_history(history: &History) -> Result<Outcome, Violation> {
    catch_unwind(AssertUnwindSafe(|| run(history))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { invariant: "no panic", what: text.unwrap_or_default(), at: history.length })
    })
}

/// The shortest history that still violates the same invariant, as far as a few hundred tries find it.
pub fn shrink(history: History, violation: Violation) -> (History, Violation) {
    let mut shortest = Shortest { history, violation, tries: 150 };
    let length = shortest.violation.at + 1;
    shortest.attempt(|history| {
        history.length = length;
        history.incidents.retain(|incident| incident.at <= length);
    });
    shortest.drop_incidents();
    shortest.attempt(|history| history.setup.accounts = 1);
    for pipelines in [0, 1, 2, 3, 5, 10, 30] {
        if pipelines >= shortest.history.setup.pipelines {
            break;
        }
        if shortest.attempt(|history| history.setup.pipelines = pipelines) {
            break;
        }
    }
    shortest.attempt(|history| history.setup.knobs = Knobs::DEFAULT);
    shortest.attempt(|history| history.setup.page = 100);
    for index in 0..shortest.history.incidents.len() {
        let incident = &shortest.history.incidents[index];
        let lasts = incident.lasts;
        // What ends as soon as it begins has not happened.
        let shorter = if incident.fault.is_for_good() { &[][..] } else { &[1, 60, 600] };
        _ = shorter
            .iter()
            .take_while(|shorter| **shorter < lasts)
            .any(|shorter| shortest.attempt(|history| history.incidents[index].lasts = *shorter));
    }
    shortest.drop_incidents();
    let length = shortest.violation.at + 1;
    shortest.attempt(|history| history.length = length);
    (shortest.history, shortest.violation)
}

struct Shortest {
    history: History,
    violation: Violation,
    tries: u32,
}

impl Shortest {
    fn attempt(&mut self, change: impl Fn(&mut History)) -> bool {
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let mut history = self.history.clone();
        change(&mut history);
        // An incident of an account that is gone, for example, is no history.
        history.incidents.retain(|incident| incident.account < history.setup.accounts);
        match try_history(&history) {
            Err(violation) if violation.invariant == self.violation.invariant => {
                (self.history, self.violation) = (history, violation);
                true
            }
            _ => false,
        }
    }

    /// Halves first, then ever smaller parts.
    fn drop_incidents(&mut self) {
        let mut size = self.history.incidents.len();
        while size > 0 {
            let mut begin = 0;
            while begin < self.history.incidents.len() {
                let end = (begin + size).min(self.history.incidents.len());
                if !self.attempt(|history| _ = history.incidents.drain(begin..end)) {
                    begin = end;
                }
            }
            size /= 2;
        }
    }
}

/// A test that can be pasted into `tests/simulation/main.rs`.
pub fn as_test(history: &History, violation: &Violation) -> String {
    let History { seed, length, setup, incidents } = history;
    let mut test = format!(
        "/// {}: {}\n#[test]\nfn replay_{seed}() {{\n    replay(&History {{\n        seed: {seed},\n        length: {length},\n        \
         setup: {setup:?},\n        incidents: vec![\n",
        violation.invariant, violation.what
    );
    for incident in incidents {
        test += &format!("            {incident:?},\n");
    }
    test + "        ],\n    });\n}\n"
}
