//! Records for the kernel's log, which `dmesg` shows.

use core::fmt;

use rhumb_module_abi::types::Text;

use crate::imports;
use crate::text::Line;

/// The longest text of a record; the rest of a longer one is left out.
pub const RECORD_BYTES: usize = 240;

/// How grave a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Something does not work.
    Error = 1,
    /// Something is odd.
    Warn = 2,
    /// Something happened.
    Info = 3,
    /// For the hunt for a bug.
    Debug = 4,
}

/// Writes a record. The macros [`error!`](crate::error), [`warn!`](crate::warn), [`info!`](crate::info) and
/// [`debug!`](crate::debug) are shorter.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    let line = Line::<RECORD_BYTES>::of(text);
    // SAFETY: the text lives as long as the call.
    unsafe { imports::rhumb_log(level as u32, Text::lent(line.as_str())) }
}

/// Logs that something does not work.
#[macro_export]
macro_rules! error {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($argument)*)) };
}

/// Logs something odd.
#[macro_export]
macro_rules! warn {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Warn, format_args!($($argument)*)) };
}

/// Logs something that happened.
#[macro_export]
macro_rules! info {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($argument)*)) };
}

/// Logs something for the hunt for a bug.
#[macro_export]
macro_rules! debug {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Debug, format_args!($($argument)*)) };
}
