//! The guest's registers, which QEMU shows to plugins since API 2 (QEMU 9).
//!
//! QEMU 7.2 has none of these functions, and a library that needed them would not load there: they are looked up when
//! they are first called.
//!
//! Sources: QEMU's `include/qemu/qemu-plugin.h`, 9.0 and 10.0; GLib's documentation of `GArray` and `GByteArray`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use crate::api::find;

/// The names of the registers that can be a part of an address, in the order in which instructions number them.
const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const ROOT: &str = "cr3";

/// `GArray` and `GByteArray`, as far as GLib shows them.
#[repr(C)]
struct Array {
    data: *mut u8,
    len: c_uint,
}

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
struct Descriptor {
    handle: *mut c_void,
    name: *const c_char,
    _feature: *const c_char,
}

type GetRegisters = unsafe extern "C" fn() -> *mut Array;
type ReadRegister = unsafe extern "C" fn(*mut c_void, *mut Array) -> c_int;
type NewBytes = unsafe extern "C" fn() -> *mut Array;
type FreeArray = unsafe extern "C" fn(*mut Array, c_int) -> *mut c_char;
type FreeBytes = unsafe extern "C" fn(*mut Array, c_int) -> *mut u8;

/// The functions, and QEMU's handles of the registers, which are the same for all CPUs.
pub(crate) struct Registers {
    read: ReadRegister,
    new_bytes: NewBytes,
    free_bytes: FreeBytes,
    general: [usize; 16],
    root: usize,
}

static REGISTERS: OnceLock<Option<Registers>> = OnceLock::new();

/// Tells whether this QEMU shows registers at all.
pub(crate) fn are_shown() -> bool {
    find(c"qemu_plugin_get_registers").is_some() && find(c"qemu_plugin_read_register").is_some()
}

/// Returns the registers of x86-64; `None` where QEMU does not show them.
///
/// # Safety
/// Called from a callback of a CPU that has begun to execute.
pub(crate) unsafe fn registers() -> Option<&'static Registers> {
    // SAFETY: the caller's promise is that of `find_all`.
    REGISTERS.get_or_init(|| unsafe { Registers::find_all() }).as_ref()
}

impl Registers {
    /// # Safety
    /// As for [`registers`].
    unsafe fn find_all() -> Option<Self> {
        // SAFETY: these are the types of the functions of these names, in QEMU and in GLib.
        let (get, free_array, mut found) = unsafe {
            let found = Self {
                read: std::mem::transmute::<*mut c_void, ReadRegister>(find(c"qemu_plugin_read_register")?),
                new_bytes: std::mem::transmute::<*mut c_void, NewBytes>(find(c"g_byte_array_new")?),
                free_bytes: std::mem::transmute::<*mut c_void, FreeBytes>(find(c"g_byte_array_free")?),
                general: [0; 16],
                root: 0,
            };
            (
                std::mem::transmute::<*mut c_void, GetRegisters>(find(c"qemu_plugin_get_registers")?),
                std::mem::transmute::<*mut c_void, FreeArray>(find(c"g_array_free")?),
                found,
            )
        };
        // SAFETY: the caller promises a CPU that executes. The array is ours, holds descriptors, and is freed once, with
        // its elements; handles and names are QEMU's own.
        unsafe {
            let array = get();
            if array.is_null() {
                return None;
            }
            for index in 0..(*array).len as usize {
                let Descriptor { handle, name, .. } = (*array).data.cast::<Descriptor>().add(index).read();
                let name = CStr::from_ptr(name).to_str().unwrap_or_default();
                if let Some(number) = NAMES.iter().position(|known| *known == name) {
                    found.general[number] = handle.expose_provenance();
                } else if name == ROOT {
                    found.root = handle.expose_provenance();
                }
            }
            free_array(array, 1);
        }
        (found.root != 0 && found.general.iter().all(|handle| *handle != 0)).then_some(found)
    }

    /// Returns a general register of the CPU that executes, by the number that instructions have for it.
    ///
    /// # Safety
    /// Called from a callback that was registered to read registers.
    pub(crate) unsafe fn general(&self, number: u8) -> u64 {
        // SAFETY: the caller's promise is that of `value`.
        self.general.get(usize::from(number)).map_or(0, |handle| unsafe { self.value(*handle) })
    }

    /// Returns CR3 of the CPU that executes.
    ///
    /// # Safety
    /// As for [`Registers::general`].
    pub(crate) unsafe fn root(&self) -> u64 {
        // SAFETY: the caller's promise is that of `value`.
        unsafe { self.value(self.root) }
    }

    /// # Safety
    /// As for [`Registers::general`].
    unsafe fn value(&self, handle: usize) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: QEMU's handle, a byte array of ours that is freed once, and no more bytes than it has.
        unsafe {
            let array = (self.new_bytes)();
            (self.read)(std::ptr::with_exposed_provenance_mut(handle), array);
            let length = ((*array).len as usize).min(bytes.len());
            std::ptr::copy_nonoverlapping((*array).data, bytes.as_mut_ptr(), length);
            (self.free_bytes)(array, 1);
        }
        u64::from_le_bytes(bytes)
    }
}
