//! Why something in the laboratory did not pass.

use core::fmt;

use rhumb_monitor::Text;

/// The reason why a test, a stress test or a measurement did not pass, in one sentence.
pub struct Failure {
    reason: Text<112>,
    pub is_skipped: bool,
}

impl Failure {
    /// Returns the failure of a kernel that did not do its work: one sentence.
    pub fn because(reason: impl fmt::Display) -> Self {
        Self { reason: Text::of(reason), is_skipped: false }
    }

    /// Returns the excuse of a test that could not look, because of how the machine is used now: one sentence.
    pub fn skipped(reason: impl fmt::Display) -> Self {
        Self { reason: Text::of(reason), is_skipped: true }
    }

    /// Returns the sentence alone.
    pub fn reason(&self) -> impl fmt::Display {
        &self.reason
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_skipped { "skipped" } else { "FAILED" };
        write!(f, "{verdict}: {}", self.reason)
    }
}

/// Fails with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::lab::failure::Failure::because(format_args!($($message)+)));
        }
    };
}
pub(crate) use ensure;
