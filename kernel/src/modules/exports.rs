//! The functions that modules may call: the bodies of the list in `rhumb_module_abi::exports`, and the table of their
//! addresses.
//!
//! Each is safe towards the kernel as long as the module keeps to the declaration: what can be checked is checked.

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Frames, Request};
use rhumb_machine::{Machine, NodeId, Order, Pfn};
use rhumb_module_abi::types::{ANY_NODE, Block, HEADER_SYMBOL, Header, Never, NodeMemory, ORDERS, Out, Text};
use rhumb_module_abi::version;
use rhumb_modules::{Export, Exports};

use super::commands::Call;
use super::{names, registry};
use crate::cpu::clock;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::mm::{self, owners};

/// The exports of this kernel.
pub(super) struct Kernel;

macro_rules! table {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Exports for Kernel {
            fn find(&self, name: &str) -> Option<Export> {
                let (address, version) = match name {
                    // The type of each function is that of its declaration, or this does not compile.
                    $(stringify!($name) => {
                        let function: unsafe extern "C" fn($($type),*) -> $result = $name;
                        (function as usize as u64, version::of::$name)
                    })*
                    HEADER_SYMBOL => (0, version::HEADER),
                    _ => return None,
                };
                Some(Export { address, version })
            }
        }
    };
}

rhumb_module_abi::for_each_export!(table);

/// Modules leave so much of the memory in the direct map to the rest of the kernel: a sixteenth.
const LEFT_SHIFT: u32 = 4;

/// Frames that are out of use because their memory is bad.
static RETIRED: AtomicU64 = AtomicU64::new(0);

/// Returns a module's text, or a note that it is none.
///
/// # Safety
/// As the declaration of the function that got it says: it can be read for the length of the call.
unsafe fn str<'a>(text: Text) -> &'a str {
    // SAFETY: the text can be read, and does not change, for the length of the call, by the caller's promise.
    unsafe { text.get() }.unwrap_or("(not UTF-8)")
}

unsafe extern "C" fn rhumb_log(level: u32, text: Text) {
    // SAFETY: the module lends the text for the call.
    let text = unsafe { str(text) };
    match level {
        1 => log::error!("{text}"),
        2 => log::warn!("{text}"),
        3 => log::info!("{text}"),
        _ => log::debug!("{text}"),
    }
}

unsafe extern "C" fn rhumb_panic(text: Text, file: Text, line: u32) -> Never {
    // SAFETY: the module lends the texts for the call, which does not return.
    let (text, file) = unsafe { (str(text), str(file)) };
    match names::caller() {
        Some(name) => panic!("module {name}: {text}, at {file}:{line}"),
        None => panic!("a module: {text}, at {file}:{line}"),
    }
}

unsafe extern "C" fn rhumb_write(out: *mut Out, text: Text) {
    // SAFETY: the module passes on what its running command was given, and lends the text for the call.
    unsafe { Call::of(out).write(str(text)) }
}

unsafe extern "C" fn rhumb_fail(out: *mut Out, text: Text) {
    // SAFETY: the module passes on what its running command was given, and lends the text for the call.
    unsafe { Call::of(out).fail(str(text)) }
}

unsafe extern "C" fn rhumb_is_interrupted(out: *const Out) -> bool {
    // SAFETY: the module passes on what its running command was given.
    unsafe { Call::of(out.cast_mut()).is_interrupted() }
}

unsafe extern "C" fn rhumb_now_ns() -> u64 {
    clock::now_ns()
}

unsafe extern "C" fn rhumb_alloc(bytes: usize, align: usize) -> *mut u8 {
    let (Some(slabs), Ok(layout)) = (mm::objects::slabs(), Layout::from_size_align(bytes, align)) else {
        return ptr::null_mut();
    };
    let guard = MACHINE.pin();
    slabs.alloc(guard.pinned(), layout).map_or(ptr::null_mut(), NonNull::as_ptr)
}

unsafe extern "C" fn rhumb_free(object: *mut u8, bytes: usize, align: usize) {
    let layout = Layout::from_size_align(bytes, align);
    if let (Some(slabs), Some(object), Ok(layout)) = (mm::objects::slabs(), NonNull::new(object), layout) {
        let guard = MACHINE.pin();
        // SAFETY: the module gives back an object of `rhumb_alloc`, with its layout, once.
        unsafe { slabs.free(guard.pinned(), object, layout) };
    }
}

unsafe extern "C" fn rhumb_alloc_block(order: u32, node: u32) -> Block {
    alloc_block(order, node).unwrap_or(Block::NONE)
}

fn alloc_block(order: u32, node: u32) -> Option<Block> {
    let order = u8::try_from(order).ok().filter(|&order| usize::from(order) < ORDERS).and_then(Order::new)?;
    let mut request = Request::new(order).owner(owners::MODULES.in_frames());
    if node != ANY_NODE {
        let exists = node < node_count();
        request = request.bind(NodeId::new(node as usize).filter(|_| exists)?);
    }
    let frames = mm::frames::frames()?;
    let totals = frames.totals();
    // Blocks are of the direct map, as is all that the rest of the kernel needs. Memory past the map's end is no help to it.
    let (free, present) =
        (totals.free.saturating_sub(totals.high_free), totals.present.saturating_sub(totals.high));
    if free.saturating_sub(order.frames()) < present >> LEFT_SHIFT {
        return None;
    }
    let guard = MACHINE.pin();
    let frame = frames.alloc(guard.pinned(), request).ok()?;
    let address = MACHINE.direct(frame.addr()).get() as usize;
    Some(Block { address, frame: frame.into_pfn().get(), order: u32::from(order.get()) })
}

/// Returns the handle of a module's block.
///
/// # Safety
/// The block came from `rhumb_alloc_block` and was not given back: no other code holds it.
unsafe fn held(frames: &Frames<KernelMachine>, block: &Block) -> Option<rhumb_frames::Frame> {
    let order = u8::try_from(block.order).ok().and_then(Order::new)?;
    // SAFETY: the caller promises the only holder of a block of this order.
    match unsafe { frames.from_pfn(Pfn::new(block.frame), order) } {
        Ok(frame) => Some(frame),
        Err(fault) => {
            log::error!("a module gives back what it does not have: {fault}");
            None
        }
    }
}

unsafe extern "C" fn rhumb_free_block(block: Block) {
    let Some(frames) = mm::frames::frames() else { return };
    // SAFETY: the module gives back a block that it holds, once.
    if let Some(frame) = unsafe { held(frames, &block) } {
        let guard = MACHINE.pin();
        frames.free(guard.pinned(), frame);
    }
}

unsafe extern "C" fn rhumb_retire_block(block: Block) {
    let Some(frames) = mm::frames::frames() else { return };
    // SAFETY: the module gives up a block that it holds, once.
    if let Some(frame) = unsafe { held(frames, &block) } {
        let range = frame.frames();
        let retired = RETIRED.fetch_add(range.frames(), Relaxed) + range.frames();
        log::warn!("frames {range} are bad and out of use, {retired} frames in all");
        // Without a handle they are not freed.
        let _ = frame.into_pfn();
    }
}

fn node_count() -> u32 {
    crate::facts::boot().map_or(1, |boot| boot.topology.node_count().max(1) as u32)
}

unsafe extern "C" fn rhumb_node_count() -> u32 {
    node_count()
}

unsafe extern "C" fn rhumb_node_memory(node: u32, memory: *mut NodeMemory) -> bool {
    let Some(frames) = mm::frames::frames().filter(|_| node < node_count()) else { return false };
    let mut sum = NodeMemory::default();
    for zone in frames.zones().filter(|zone| zone.node.index() == node as usize) {
        sum.present_frames += zone.present;
        sum.free_frames += zone.levels.free + zone.cached;
        for (order, blocks) in zone.free_by_order.iter().enumerate() {
            // Larger blocks count as so many of the largest that is told.
            let told = order.min(ORDERS - 1);
            sum.free_blocks[told] += blocks << (order - told);
        }
    }
    // SAFETY: the module lends a place for the value.
    unsafe { memory.write(sum) };
    true
}

unsafe extern "C" fn rhumb_hold(header: *const Header) -> bool {
    registry::hold(header)
}

unsafe extern "C" fn rhumb_release(header: *const Header) {
    if !registry::release_hold(header) {
        log::error!("a module releases a hold that it does not have");
    }
}
