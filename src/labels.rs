//! Label values: closed sets, as enums whose variants are the only values of a label, and what no label may contain.

/// Control characters and Unicode line separators: parsers of expositions split lines at them, or fail.
pub(crate) fn breaks_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Declares an enum without fields, with the label value of each variant.
///
/// `ALL` and `ALL_VALUES` list the variants in order, `COUNT` is their number, `as_str` returns the label value.
macro_rules! closed_set {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $(#[$meta])*
        $vis enum $name { $($(#[$vmeta])* $variant,)+ }

        #[allow(dead_code)] // not every set needs every form
        impl $name {
            /// All values, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The same as an array, to map each value.
            pub const ALL_VALUES: [Self; Self::COUNT] = [$(Self::$variant,)+];
            pub const COUNT: usize = Self::ALL.len();

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use closed_set;
