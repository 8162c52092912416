//! The machine besides CPUs and memory.
//!
//! | module | owns |
//! |---|---|
//! | [`console`] | the serial line |
//! | [`logging`] | the log, and showing it there |
//! | [`power`] | turning the machine off, or starting it again |

pub mod console;
pub mod logging;
pub mod power;
