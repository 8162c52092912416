//! The machine besides CPUs and memory.
//!
//! | module | owns |
//! |---|---|
//! | [`console`] | the serial line, and the prompt's input and output by all ways |
//! | [`screen`] | the framebuffer |
//! | [`keyboard`] | the PS/2 keyboard |
//! | [`logging`] | the log, and showing it there |
//! | [`ram_disk`] | the files that the boot loader brought along |
//! | [`power`] | turning the machine off, or starting it again |

pub mod console;
pub mod keyboard;
pub mod logging;
pub mod power;
pub mod ram_disk;
pub mod screen;
