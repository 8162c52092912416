//! [`module!`](crate::module): the header by which the kernel knows a module, made of safe functions.

use core::ptr;

pub use rhumb_module_abi::types::Out as KernelOut;
pub use rhumb_module_abi::types::{CommandEntry, Header, Text};

use crate::command::{Arguments, Failure, Output};

unsafe extern "C" {
    /// The module's header: `module!` defines it.
    static rhumb_module: Header;
}

/// Returns this module's header.
pub(crate) fn header() -> *const Header {
    &raw const rhumb_module
}

/// Runs a command, and tells the kernel how it went.
///
/// # Safety
/// Only the kernel calls it, with the words and the output of the command that runs.
#[doc(hidden)]
pub unsafe fn run(
    command: fn(Arguments<'_>, &mut Output<'_>) -> Result<(), Failure>,
    words: Text,
    out: *mut KernelOut,
) -> u32 {
    // SAFETY: the kernel's text lives as long as the call.
    let words = unsafe { words.get() }.unwrap_or_default();
    // SAFETY: the kernel gave it for this call.
    let mut output = unsafe { Output::new(out) };
    command(Arguments::new(words), &mut output).map_or_else(|failure| output.fail(&failure), |()| 0)
}

/// Runs the module's start, and tells the kernel how it went.
///
/// # Safety
/// Only the kernel calls it, with an output for the call.
#[doc(hidden)]
pub unsafe fn start(function: fn() -> Result<(), Failure>, out: *mut KernelOut) -> u32 {
    // SAFETY: the kernel gave it for this call.
    let mut output = unsafe { Output::new(out) };
    function().map_or_else(|failure| output.fail(&failure), |()| 0)
}

/// A header without anything, to which `module!` adds.
#[doc(hidden)]
pub const EMPTY: Header = Header {
    name: Text::of(""),
    description: Text::of(""),
    start: None,
    stop: None,
    tick: None,
    tick_ns: 0,
    commands: ptr::null(),
    command_count: 0,
};

/// Defines the module. Its name is that of its package.
///
/// `description` is one sentence. The rest may be left out: `start` is a `fn() -> Result<(), Failure>`, `stop` is a `fn()`
/// that gives back all that the module keeps, `tick` is a `fn()` that is called about every so many milliseconds by one CPU
/// at a time, `commands` are commands at the prompt, each run by a
/// `fn(Arguments<'_>, &mut Output<'_>) -> Result<(), Failure>`.
#[macro_export]
macro_rules! module {
    (
        description: $description:literal,
        $(start: $start:path,)?
        $(stop: $stop:path,)?
        $(tick: $tick:path, every_ms: $every_ms:literal,)?
        $(commands: [$({
            name: $name:literal, usage: $usage:literal, summary: $summary:literal, help: $help:literal, run: $run:path $(,)?
        }),* $(,)?],)?
    ) => {
        #[allow(clippy::needless_update, reason = "a module may have all that there is")]
        #[allow(unsafe_code, reason = "the kernel calls through C's convention and finds the header by its symbol")]
        const _: () = {
            use $crate::declare::{CommandEntry, EMPTY, Header, Text};

            $(unsafe extern "C" fn rhumb_start(out: *mut $crate::declare::KernelOut) -> u32 {
                // SAFETY: only the kernel calls it, through the header, with an output for the call.
                unsafe { $crate::declare::start($start, out) }
            })?
            $(unsafe extern "C" fn rhumb_stop() { $stop() })?
            $(unsafe extern "C" fn rhumb_tick() { $tick() })?
            static RHUMB_COMMANDS: &[CommandEntry] = &[$($(CommandEntry {
                name: Text::of($name),
                usage: Text::of($usage),
                summary: Text::of($summary),
                help: Text::of($help),
                run: Some({
                    unsafe extern "C" fn rhumb_run(words: Text, out: *mut $crate::declare::KernelOut) -> u32 {
                        // SAFETY: only the kernel calls it, through the header, with the words and the output of the
                        // command that runs.
                        unsafe { $crate::declare::run($run, words, out) }
                    }
                    rhumb_run
                }),
            }),*)?];

            // SAFETY: no other symbol of a module has this name, and the section holds the header alone.
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".rhumb.module")]
            #[used]
            static rhumb_module: Header = Header {
                name: Text::of(env!("CARGO_PKG_NAME")),
                description: Text::of($description),
                $(start: { let _: fn() -> Result<(), $crate::Failure> = $start; Some(rhumb_start) },)?
                $(stop: { let _: fn() = $stop; Some(rhumb_stop) },)?
                $(tick: { let _: fn() = $tick; Some(rhumb_tick) }, tick_ns: $every_ms * 1_000_000,)?
                commands: RHUMB_COMMANDS.as_ptr(),
                command_count: RHUMB_COMMANDS.len(),
                ..EMPTY
            };
        };
    };
}
