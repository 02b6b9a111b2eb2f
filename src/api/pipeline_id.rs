//! A pipeline's id: a label and a path segment.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::labels::breaks_lines;

/// The id of a pipeline, such as `pipe_3e8678c5fc9e48a7bf9879ca729`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId(Arc<str>);

impl PipelineId {
    /// Longer ids are rejected: they become labels and paths.
    const LONGEST: usize = 256;

    /// `None` for a text that cannot be a path segment (empty, `.`, `..`, absurdly long) or a label (control
    /// characters), or that is damaged: U+FFFD replaces lost bytes, so a request would ask for another id.
    pub fn new(text: &str) -> Option<Self> {
        let unusable = |character| breaks_lines(character) || character == char::REPLACEMENT_CHARACTER;
        let usable = !matches!(text, "" | "." | "..") && text.len() <= Self::LONGEST && !text.contains(unusable);
        usable.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PipelineId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_be_a_path_and_a_label() {
        for refused in ["", ".", "..", "a\0", "a\nb", "a\u{2028}b", "a\u{FFFD}", &"x".repeat(257)] {
            assert_eq!(PipelineId::new(refused), None, "{refused:?}");
        }
        for fine in ["pipe_3e8678c5fc9e48a7bf9879ca729", &"x".repeat(256)] {
            assert!(PipelineId::new(fine).is_some(), "{fine}");
        }
        assert_eq!(format!("{:?}", PipelineId::new("a").unwrap()), "\"a\"");
    }
}
