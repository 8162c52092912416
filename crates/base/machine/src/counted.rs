//! [`Counted`]: a number of things, as a person says it.

use core::fmt;

/// A number and the name of what it counts: `1 frame`, `2 frames`, `0 entries`. The noun is in the singular; the last
/// of its words is the one that takes the plural.
///
/// ```
/// use rhumb_machine::Counted;
/// let said = |count: u64, noun| format!("{}", Counted(count, noun));
/// assert_eq!(said(1, "large page"), "1 large page");
/// assert_eq!(said(2, "large page"), "2 large pages");
/// assert_eq!(said(0, "entry"), "0 entries");
/// assert_eq!(said(3, "local flush"), "3 local flushes");
/// assert_eq!(said(2, "day"), "2 days");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted<N>(pub N, pub &'static str);

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Counted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        if *count == N::from(1) {
            write!(f, "{count} {noun}")
        } else if let Some(stem) = noun.strip_suffix("ry") {
            write!(f, "{count} {stem}ries")
        } else if noun.ends_with("sh") || noun.ends_with("ss") {
            write!(f, "{count} {noun}es")
        } else {
            write!(f, "{count} {noun}s")
        }
    }
}
