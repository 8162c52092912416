//! The functions of QEMU that the plugin calls: its plugin API, version 1, as far as it is used.
//!
//! QEMU exports them to plugins; they are found when the library is loaded. Source: QEMU's
//! `include/qemu/qemu-plugin.h`, 7.2.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// The API's version, which QEMU compares with its own.
pub(crate) const VERSION: c_int = 1;

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

/// What an access to memory is, in bits.
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
    pub(crate) fn qemu_plugin_insn_data(instruction: *const Translated) -> *const c_void;
    pub(crate) fn qemu_plugin_insn_size(instruction: *const Translated) -> usize;
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
}
