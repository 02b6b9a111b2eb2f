//! Makes text from users fit for labels.

use std::sync::Arc;

use crate::labels::breaks_lines;

/// Longer labels are truncated to this many characters.
pub(super) const LONGEST_LABEL: usize = 200;

/// A text as a label: characters that would break a line become spaces.
pub(super) fn label(text: &str) -> Arc<str> {
    let end = text.char_indices().nth(LONGEST_LABEL).map_or(text.len(), |(end, _)| end);
    let text = &text[..end];
    if text.contains(breaks_lines) { text.replace(breaks_lines, " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_label_ends_a_line() {
        assert_eq!(
            &*label("a\r\nb\u{2028}c\u{2029}d\u{85}e\u{b}f\u{c}g\0h\u{1b}i\u{7f}j\tk"),
            "a  b c d e f g h i j k"
        );
        assert_eq!(&*label("Zürich \"v3\" → 転送 🦀"), "Zürich \"v3\" → 転送 🦀");
    }

    #[test]
    fn a_label_is_truncated_at_a_character() {
        assert_eq!(*label(&"🚀".repeat(10_000)), "🚀".repeat(LONGEST_LABEL));
    }
}
