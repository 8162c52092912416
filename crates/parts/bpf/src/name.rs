//! [`Name`]: the name of a program, a map or an event.

use core::fmt;

use arrayvec::ArrayString;

/// The name of a program, a map or an event, cut where it is longer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Name(ArrayString<31>);

impl Name {
    /// Returns a name, of which characters that cannot be shown are `?`.
    pub fn new(text: &str) -> Self {
        let mut name = ArrayString::new();
        for character in text.chars() {
            let shown = if character.is_ascii_graphic() { character } else { '?' };
            if name.try_push(shown).is_err() {
                break;
            }
        }
        Self(name)
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
