//! The structures that cross the border between the kernel and a module.

use core::slice;

use crate::shape::{Shape, of_type};
use crate::shaped;

/// The symbol of a module's [`Header`].
pub const HEADER_SYMBOL: &str = "rhumb_module";
/// Orders of blocks of frames, from 4 KiB to 4 MiB.
pub const ORDERS: usize = 11;
/// Any node: the nearest one that has memory.
pub const ANY_NODE: u32 = u32::MAX;

/// The result of a function that does not return.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

impl Shape for Never {
    const HASH: u64 = of_type("Never", 0, 1);
}

shaped! {
    /// UTF-8 text that lives as long as the call, or, inside a [`Header`], as long as the module.
    #[derive(Clone, Copy, Debug)]
    pub struct Text {
        /// Its first byte; never null.
        pub start: *const u8,
        /// How many bytes it has.
        pub bytes: usize,
    }

    /// The description of a module: the kernel finds it by its symbol, [`HEADER_SYMBOL`].
    #[derive(Clone, Copy, Debug)]
    pub struct Header {
        /// The module's name: the name of its file without `.ko`.
        pub name: Text,
        /// One sentence about it.
        pub description: Text,
        /// Starts it; returns 0, or the error's text has been left with `rhumb_fail`.
        pub start: Option<unsafe extern "C" fn(*mut Out) -> u32>,
        /// Stops it: gives back all that it has. No other code of the module runs then or later.
        pub stop: Option<unsafe extern "C" fn()>,
        /// Is called about every `tick_ns` nanoseconds, by one CPU at a time.
        pub tick: Option<unsafe extern "C" fn()>,
        /// How long it is from one tick to the next; 0: no ticks.
        pub tick_ns: u64,
        /// Its commands at the prompt.
        pub commands: *const CommandEntry,
        /// How many commands it has.
        pub command_count: usize,
    }

    /// A command at the prompt.
    #[derive(Clone, Copy, Debug)]
    pub struct CommandEntry {
        /// The word that is typed.
        pub name: Text,
        /// Its arguments, such as `[SIZE]`.
        pub usage: Text,
        /// One line of at most 50 characters, for the table of `help`.
        pub summary: Text,
        /// The text that `help NAME` prints below that.
        pub help: Text,
        /// Does it, with the words behind the name; returns 0, or the error's text has been left with `rhumb_fail`.
        pub run: Option<unsafe extern "C" fn(Text, *mut Out) -> u32>,
    }

    /// The place where a command prints, of which only the kernel knows the inside.
    #[derive(Debug)]
    pub struct Out {
        /// Nothing that a module reads.
        pub opaque: [u8; 0],
    }

    /// A block of frames in the direct map, which its holder may use as memory. The holder of the record gives it
    /// back once.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Block {
        /// The address of its first byte in the direct map; 0: there is no block.
        pub address: usize,
        /// The number of its first frame.
        pub frame: u64,
        /// Its size: 4 KiB shifted left by this.
        pub order: u32,
    }

    /// The free memory of one node.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NodeMemory {
        /// Frames that are memory.
        pub present_frames: u64,
        /// Free frames, those in the caches of CPUs included.
        pub free_frames: u64,
        /// Free blocks by order; each frame is counted in the largest block that it is part of.
        pub free_blocks: [u64; 11],
    }
}

impl Text {
    /// Returns a text that is always there.
    pub const fn of(text: &'static str) -> Self {
        Self { start: text.as_ptr(), bytes: text.len() }
    }

    /// Returns a text for the length of a call.
    pub const fn lent(text: &str) -> Self {
        Self { start: text.as_ptr(), bytes: text.len() }
    }

    /// Returns the text; `None` if its bytes are not UTF-8. Text of no bytes may lie anywhere, at null, too.
    ///
    /// # Safety
    /// `start` and `bytes` describe memory that is readable, and does not change, for `'a`, or `bytes` is 0.
    #[allow(unsafe_code, reason = "the one place where a pointer of the other side becomes text")]
    pub const unsafe fn get<'a>(self) -> Option<&'a str> {
        if self.bytes == 0 {
            return Some("");
        }
        // SAFETY: the memory is readable and does not change for `'a`, by the caller's promise; any bytes are a u8.
        match str::from_utf8(unsafe { slice::from_raw_parts(self.start, self.bytes) }) {
            Ok(text) => Some(text),
            Err(_) => None,
        }
    }
}

impl Block {
    /// No block.
    pub const NONE: Self = Self { address: 0, frame: 0, order: 0 };
}

// SAFETY: a header is not changed after linking, and its pointers lead to statics of the module.
#[allow(unsafe_code, reason = "a header lies in a static, which every CPU may read")]
unsafe impl Sync for Header {}
// SAFETY: an entry is not changed after linking, and its pointers lead to statics of the module.
#[allow(unsafe_code, reason = "an entry lies in a static, which every CPU may read")]
unsafe impl Sync for CommandEntry {}
