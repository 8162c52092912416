//! The functions of QEMU that the plugin calls: its plugin API, versions 1 to 4, as far as it is used.
//!
//! QEMU exports them to plugins; they are found when the library is loaded. Of those used here, one has changed:
//! `qemu_plugin_insn_data` returned a pointer to the instruction's bytes until version 3, and copies them since.
//! Sources: QEMU's `include/qemu/qemu-plugin.h`, 7.2 and 10.0; its `plugins/loader.c` for the versions it accepts.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// The version for a QEMU of API 1, which accepts no higher one.
pub(crate) const FIRST: c_int = 1;
/// The version for all others: the lowest that QEMU 9 and later accept.
const SECOND: c_int = 2;
/// A function that came with API 2.
const NEW_IN_SECOND: &CStr = c"qemu_plugin_num_vcpus";
/// The version since which QEMU copies an instruction's bytes.
const COPIES_SINCE: c_int = 3;

/// Returns the version to declare to the QEMU that loads this library: its exports show which versions it accepts.
pub(crate) fn version_to_declare() -> c_int {
    if find(NEW_IN_SECOND).is_none() { FIRST } else { SECOND }
}

/// Returns the address of a function of this process, QEMU and its libraries included.
pub(crate) fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a name with its final zero; a null handle means the whole process.
    let found = unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// QEMU's API version, once QEMU has said it.
static QEMU_VERSION: AtomicI32 = AtomicI32::new(FIRST);

/// The beginning of what QEMU says of itself (`qemu_info_t`).
#[repr(C)]
pub struct Info {
    _target: *const c_char,
    _oldest: c_int,
    current: c_int,
}

impl Info {
    /// Has later calls use the functions as the API of this version has them.
    pub(crate) fn adopt(&self) {
        QEMU_VERSION.store(self.current, Relaxed);
    }
}

/// The longest instruction of x86-64.
pub(crate) const MAX_BYTES: usize = 15;

/// Copies the bytes of an instruction to `bytes` and returns those that there are.
///
/// # Safety
/// `instruction` is one of a block whose translation QEMU is telling of.
pub(crate) unsafe fn code(instruction: *const Translated, bytes: &mut [u8; MAX_BYTES]) -> &[u8] {
    // SAFETY: the caller promises an instruction that QEMU is telling of. Both signatures of the function are called as
    // the API of their version has them: the first one ignores arguments past its only one.
    unsafe {
        let length = qemu_plugin_insn_size(instruction).min(MAX_BYTES);
        let place = bytes.as_mut_ptr();
        let code = qemu_plugin_insn_data(instruction, place.cast(), length);
        if QEMU_VERSION.load(Relaxed) < COPIES_SINCE {
            std::ptr::copy_nonoverlapping(std::ptr::with_exposed_provenance::<u8>(code), place, length);
        }
        &bytes[..length]
    }
}

/// Which plugin this is; QEMU's own number.
pub(crate) type PluginId = u64;

/// A block that is being translated; lives during the callback.
#[repr(C)]
pub(crate) struct Block {
    _opaque: [u8; 0],
}

/// An instruction of such a block.
#[repr(C)]
pub(crate) struct Translated {
    _opaque: [u8; 0],
}

/// The description of an access to memory, in bits.
pub(crate) type MemoryInfo = u32;

/// `QEMU_PLUGIN_CB_NO_REGS`: the callback reads no register of the guest.
pub(crate) const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_MEM_RW`.
pub(crate) const READS_AND_WRITES: c_int = 3;

/// Called when a block is translated.
pub(crate) type OnTranslation = extern "C" fn(PluginId, *mut Block);
/// Called when an instruction executes, with the word that was given for it.
pub(crate) type OnExecution = extern "C" fn(c_uint, *mut c_void);
/// Called when an instruction has accessed memory.
pub(crate) type OnAccess = extern "C" fn(c_uint, MemoryInfo, u64, *mut c_void);
/// Called when the emulator ends.
pub(crate) type OnExit = extern "C" fn(PluginId, *mut c_void);

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, callback: OnTranslation);
    pub(crate) fn qemu_plugin_register_atexit_cb(id: PluginId, callback: OnExit, data: *mut c_void);
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Translated;
    // Until version 3: `const void *qemu_plugin_insn_data(insn)`; since then the size is returned.
    fn qemu_plugin_insn_data(instruction: *const Translated, place: *mut c_void, length: usize) -> usize;
    fn qemu_plugin_insn_size(instruction: *const Translated) -> usize;
    pub(crate) fn qemu_plugin_insn_vaddr(instruction: *const Translated) -> u64;
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Translated,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Translated,
        callback: OnAccess,
        flags: c_int,
        which: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_mem_size_shift(info: MemoryInfo) -> c_uint;
    pub(crate) fn qemu_plugin_mem_is_store(info: MemoryInfo) -> bool;
    pub(crate) fn qemu_plugin_outs(text: *const c_char);
    /// Of the C library.
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}
