//! Blocks of frames, and the state of the machine's memory.

use core::sync::atomic::AtomicU64;
use core::{fmt, mem, slice};

use rhumb_module_abi::types;
pub use rhumb_module_abi::types::{ANY_NODE, NodeMemory, ORDERS};

use crate::imports;

/// A block of 4 KiB << order of memory, aligned to its size, that is this module's until it is dropped.
#[derive(Debug)]
pub struct Block(types::Block);

impl Block {
    /// Allocates a block of a node, or of the nearest node for [`ANY_NODE`]. `None` if there is no memory, no such node or
    /// no such order.
    pub fn new(order: u32, node: u32) -> Option<Self> {
        // SAFETY: any numbers will do.
        let block = unsafe { imports::rhumb_alloc_block(order, node) };
        // Not `then_some`: it would make a value, and drop it, where there is no block.
        (block != types::Block::NONE).then(|| Self(block))
    }

    /// Returns the number of its first frame.
    pub const fn frame(&self) -> u64 {
        self.0.frame
    }

    /// Returns how many frames it has.
    pub const fn frames(&self) -> u64 {
        1 << self.0.order
    }

    /// Returns its memory, word by word; what it holds at first is not known.
    pub fn words(&mut self) -> &mut [u64] {
        let words = (4096 << self.0.order) / size_of::<u64>();
        // SAFETY: the block is this value's alone and lies in the direct map; any bits are a word.
        unsafe { slice::from_raw_parts_mut(self.0.address as *mut u64, words) }
    }

    /// Returns its memory as words whose reads and writes the compiler leaves as they are: for a test of the memory itself.
    pub fn cells(&mut self) -> &[AtomicU64] {
        let words = (4096 << self.0.order) / size_of::<u64>();
        // SAFETY: the block is borrowed from this value alone, and an atomic word has the size and alignment of a word.
        unsafe { slice::from_raw_parts(self.0.address as *const AtomicU64, words) }
    }

    /// Keeps the memory out of use until the machine restarts, because it is bad.
    pub fn retire(self) {
        let record = types::Block { ..self.0 };
        mem::forget(self);
        // SAFETY: the block was this value's, which ends here.
        unsafe { imports::rhumb_retire_block(record) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block is this value's, which ends here.
        unsafe { imports::rhumb_free_block(types::Block { ..self.0 }) }
    }
}

/// Returns how many nodes the machine has.
pub fn node_count() -> u32 {
    // SAFETY: it takes nothing.
    unsafe { imports::rhumb_node_count() }
}

/// Returns the state of a node's memory; `None` if there is no such node.
pub fn node_memory(node: u32) -> Option<NodeMemory> {
    let mut memory = NodeMemory::default();
    // SAFETY: the pointer leads to a value of that type for the length of the call.
    unsafe { imports::rhumb_node_memory(node, &raw mut memory) }.then_some(memory)
}

/// Returns how many bytes of memory the kernel's allocator has on all nodes, in use or free.
pub fn memory_bytes() -> u64 {
    (0..node_count())
        .filter_map(node_memory)
        .fold(0, |sum, node| sum.saturating_add(node.present_frames << 12))
}

/// An amount of memory in the unit that suits it.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 10 << 40 => write!(f, "{} TiB", bytes >> 40),
            bytes if bytes >= 10 << 30 => write!(f, "{} GiB", bytes >> 30),
            bytes if bytes >= 10 << 20 => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes >= 10 << 10 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}
