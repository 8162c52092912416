//! [`Checked`]: a module's header, whose every pointer has been found to lead into the module.
//!
//! The checks are against mistakes: a module that was linked by hand, or a section that was lost. A header of the right
//! version that came through them can be used without asking again.

use core::slice;

use rhumb_machine::VirtAddr;
use rhumb_module_abi::types::{CommandEntry, Header, Out, Text};
use rhumb_modules::Part;

use super::error::HeaderError;
use super::parts::Parts;

/// The most commands of one module.
const MAX_COMMANDS: usize = 64;

/// A header that was checked. It may be asked while its module is loaded.
#[derive(Clone, Copy)]
pub(super) struct Checked(&'static Header);

impl Checked {
    /// Checks the header at `address`.
    ///
    /// # Safety
    /// A whole header, aligned, lies there in the read-only part of `parts`, which have been written. The value is not used
    /// once the parts are freed.
    pub(super) unsafe fn new(address: u64, name: &str, parts: &Parts) -> Result<Self, HeaderError> {
        // SAFETY: the caller promises a header there; the module's version of it is this kernel's, so that its bytes are
        // one: integers, pointers and functions that may be absent.
        let header = unsafe { &*VirtAddr::new(address).as_ptr::<Header>() };
        let check_text = |text: Text| match parts.holds(text.start.addr() as u64, text.bytes as u64) {
            // SAFETY: the bytes lie in the read-only part, as was just found.
            true if unsafe { text.get() }.is_some() => Ok(()),
            _ => Err(HeaderError::StrayPointer),
        };
        let check_function = |address: Option<usize>| match address {
            Some(address) if !parts.range(Part::Code).contains(VirtAddr::new(address as u64)) => {
                Err(HeaderError::StrayFunction)
            }
            _ => Ok(()),
        };
        check_text(header.name)?;
        check_text(header.description)?;
        check_function(header.start.map(|function| function as usize))?;
        check_function(header.stop.map(|function| function as usize))?;
        check_function(header.tick.map(|function| function as usize))?;
        let checked = Self(header);
        if checked.name() != name {
            return Err(HeaderError::OtherName);
        }
        if header.command_count > MAX_COMMANDS {
            return Err(HeaderError::TooManyCommands);
        }
        let (table, bytes) =
            (header.commands.addr() as u64, header.command_count * size_of::<CommandEntry>());
        let is_aligned = table.is_multiple_of(align_of::<CommandEntry>() as u64);
        if header.command_count != 0 && !(is_aligned && parts.holds(table, bytes as u64)) {
            return Err(HeaderError::StrayPointer);
        }
        for command in checked.commands() {
            [command.name, command.usage, command.summary, command.help]
                .into_iter()
                .try_for_each(check_text)?;
            check_function(command.run.map(|function| function as usize))?;
        }
        Ok(checked)
    }

    /// Returns the header at `address`, which was checked before.
    ///
    /// # Safety
    /// [`Checked::new`] has returned a header at this address, and the value is not used once its parts are freed.
    pub(super) unsafe fn assume(address: VirtAddr) -> Self {
        // SAFETY: a header lies there, and is not changed while its parts are there, by the caller's promise.
        Self(unsafe { &*address.as_ptr::<Header>() })
    }

    /// Returns its address.
    pub(super) fn address(&self) -> *const Header {
        self.0
    }

    pub(super) fn name(&self) -> &'static str {
        text(self.0.name)
    }

    pub(super) fn description(&self) -> &'static str {
        text(self.0.description)
    }

    pub(super) fn start(&self) -> Option<unsafe extern "C" fn(*mut Out) -> u32> {
        self.0.start
    }

    pub(super) fn stop(&self) -> Option<unsafe extern "C" fn()> {
        self.0.stop
    }

    /// Returns the function that is called by time, and how many nanoseconds lie between two calls.
    pub(super) fn tick(&self) -> Option<(unsafe extern "C" fn(), u64)> {
        self.0.tick.filter(|_| self.0.tick_ns != 0).map(|tick| (tick, self.0.tick_ns))
    }

    pub(super) fn commands(&self) -> &'static [CommandEntry] {
        if self.0.command_count == 0 {
            return &[];
        }
        // SAFETY: `new` has found the table in the read-only part before it asks for the commands, and aligned.
        unsafe { slice::from_raw_parts(self.0.commands, self.0.command_count) }
    }
}

/// Returns a text of a header that was checked.
pub(super) fn text(text: Text) -> &'static str {
    // SAFETY: the checked header's texts lie in the read-only part; they are asked for while it is loaded.
    unsafe { text.get() }.unwrap_or_default()
}
