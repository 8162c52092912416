//! The functions that instrumented code calls; the leaf where `unsafe` lives.
//!
//! They answer to the names and shapes of LLVM's AddressSanitizer in its outline form for kernels
//! (`-asan-instrumentation-with-call-threshold=0`, `-asan-max-inline-poisoning-size=0`, `-asan-mapping-offset=0`,
//! `-asan-kernel-mem-intrinsic-prefix=1`). Until [`install`] everything may be touched. A violation is reported once,
//! by a function that does not return.
#![allow(unsafe_code)]

use core::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_machine::{VirtAddr, VirtRange};

use crate::access::{Kind, Violation};
use crate::shadow::Shadow;
use crate::state::{GRANULE_BYTES, State};

/// The checker that the functions ask, and the handler that they call.
pub struct Checker {
    /// The shadow of everything that is watched.
    pub shadow: Shadow<'static>,
    /// Reports a violation and stops the machine.
    pub report: fn(&Violation) -> !,
}

static CHECKER: AtomicPtr<Checker> = AtomicPtr::new(core::ptr::null_mut());

/// Checks accesses from now on.
pub fn install(checker: &'static Checker) {
    CHECKER.store(core::ptr::from_ref(checker).cast_mut(), Release);
}

/// Ends the checks on all CPUs, for the report.
pub fn suspend() {
    CHECKER.store(core::ptr::null_mut(), Release);
}

/// Returns the installed checker and handler.
#[inline]
pub fn installed() -> Option<&'static Checker> {
    // SAFETY: null, or made by `install` of a `'static` reference; nothing writes through it.
    unsafe { CHECKER.load(Acquire).as_ref() }
}

#[inline(always)]
fn check(address: usize, bytes: usize, kind: Kind) {
    if let Some(checker) = installed()
        && !checker.shadow.is_allowed(VirtAddr::new(address as u64), bytes as u64)
    {
        violated(checker, address, bytes, kind);
    }
}

#[cold]
#[inline(never)]
fn violated(checker: &Checker, address: usize, bytes: usize, kind: Kind) {
    // Another CPU may have given the memory away meanwhile: then there is nothing to tell any more.
    if let Some(violation) = checker.shadow.check(VirtAddr::new(address as u64), bytes as u64, kind) {
        (checker.report)(&violation);
    }
}

macro_rules! accesses {
    ($($load:ident, $store:ident: $bytes:literal;)*) => {$(
        #[doc = concat!("Before a read of ", $bytes, " bytes.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $load(address: usize) {
            check(address, $bytes, Kind::Read);
        }

        #[doc = concat!("Before a write of ", $bytes, " bytes.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $store(address: usize) {
            check(address, $bytes, Kind::Write);
        }
    )*};
}

accesses! {
    __asan_load1, __asan_store1: 1;
    __asan_load2, __asan_store2: 2;
    __asan_load4, __asan_store4: 4;
    __asan_load8, __asan_store8: 8;
    __asan_load16, __asan_store16: 16;
}

/// Checks a read of any other size before it happens.
#[unsafe(no_mangle)]
pub extern "C" fn __asan_loadN(address: usize, bytes: usize) {
    check(address, bytes, Kind::Read);
}

/// Checks a write of any other size before it happens.
#[unsafe(no_mangle)]
pub extern "C" fn __asan_storeN(address: usize, bytes: usize) {
    check(address, bytes, Kind::Write);
}

/// `memcpy` of instrumented code.
///
/// # Safety
/// As for `memcpy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __asan_memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    check(from as usize, bytes, Kind::Read);
    check(to as usize, bytes, Kind::Write);
    // SAFETY: instrumented code calls this as `memcpy`, and so promises what `memcpy` asks.
    unsafe { core::ptr::copy_nonoverlapping(from, to, bytes) };
    to
}

/// `memmove` of instrumented code.
///
/// # Safety
/// As for `memmove`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __asan_memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    check(from as usize, bytes, Kind::Read);
    check(to as usize, bytes, Kind::Write);
    // SAFETY: instrumented code calls this as `memmove`, and so promises what `memmove` asks.
    unsafe { core::ptr::copy(from, to, bytes) };
    to
}

/// `memset` of instrumented code.
///
/// # Safety
/// As for `memset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __asan_memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8 {
    check(to as usize, bytes, Kind::Write);
    // SAFETY: instrumented code calls this as `memset`, and so promises what `memset` asks.
    unsafe { core::ptr::write_bytes(to, byte as u8, bytes) };
    to
}

/// Does nothing before a call that does not return, because the kernel leaves its stack permanently then.
#[unsafe(no_mangle)]
pub extern "C" fn __asan_handle_no_return() {}

/// Marks the variables of a stack frame, which come, go, and are kept apart. The compiler names the shadow's place,
/// address / 8, whose top three bits are lost; those of a kernel's addresses are ones.
#[inline(always)]
fn mark_stack(shadow_address: usize, granules: usize, byte: u8) {
    if let Some(checker) = installed() {
        let address = (shadow_address as u64 * GRANULE_BYTES) | 7 << 61;
        checker.shadow.fill(VirtAddr::new(address), granules as u64, byte);
    }
}

macro_rules! stack_marks {
    ($($name:ident: $byte:literal;)*) => {$(
        #[doc = concat!("Writes shadow bytes ", stringify!($byte), " for a stack frame.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(shadow_address: usize, granules: usize) {
            mark_stack(shadow_address, granules, $byte);
        }
    )*};
}

stack_marks! {
    __asan_set_shadow_00: 0x00;
    __asan_set_shadow_01: 0x01;
    __asan_set_shadow_02: 0x02;
    __asan_set_shadow_03: 0x03;
    __asan_set_shadow_04: 0x04;
    __asan_set_shadow_05: 0x05;
    __asan_set_shadow_06: 0x06;
    __asan_set_shadow_07: 0x07;
    __asan_set_shadow_f1: 0xf1;
    __asan_set_shadow_f2: 0xf2;
    __asan_set_shadow_f3: 0xf3;
    __asan_set_shadow_f5: 0xf5;
    __asan_set_shadow_f8: 0xf8;
}

/// The compiler's description of a global.
#[repr(C)]
pub struct Global {
    start: usize,
    bytes: usize,
    bytes_with_red_zone: usize,
    name: usize,
    module: usize,
    has_dynamic_init: usize,
    location: usize,
    odr_indicator: usize,
}

/// Compilation units whose globals are remembered by extent, for reports. More are watched all the same.
const MAX_UNITS: usize = 512;

static UNITS: [(AtomicPtr<Global>, AtomicUsize); MAX_UNITS] =
    [const { (AtomicPtr::new(core::ptr::null_mut()), AtomicUsize::new(0)) }; MAX_UNITS];
static UNITS_KNOWN: AtomicUsize = AtomicUsize::new(0);

/// Forbids the room behind each global of a compilation unit. Called by the unit's constructor, once, after
/// [`install`], by one CPU.
///
/// # Safety
/// `globals` are `count` descriptions that live permanently.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __asan_register_globals(globals: *const Global, count: usize) {
    let Some(checker) = installed() else { return };
    // SAFETY: the caller, a constructor that the compiler wrote, promises `count` descriptions that live permanently.
    for global in unsafe { core::slice::from_raw_parts(globals, count) } {
        let end = VirtAddr::new((global.start + global.bytes) as u64);
        let zone = (global.bytes_with_red_zone - global.bytes) as u64;
        checker.shadow.set(VirtRange::of_length(end, zone).unwrap_or_default(), State::GlobalRedZone);
    }
    let known = UNITS_KNOWN.load(Relaxed);
    if let Some((start, length)) = UNITS.get(known) {
        start.store(globals.cast_mut(), Relaxed);
        length.store(count, Relaxed);
        UNITS_KNOWN.store(known + 1, Release);
    }
}

/// Returns the global that `address` lies in or in whose red zone: its own bytes.
pub fn global_at(address: VirtAddr) -> Option<VirtRange> {
    let known = UNITS_KNOWN.load(Acquire).min(MAX_UNITS);
    let wanted = usize::try_from(address.get()).ok()?;
    UNITS.get(..known)?.iter().find_map(|(start, length)| {
        // SAFETY: as it was registered: descriptions that live permanently.
        let globals = unsafe { core::slice::from_raw_parts(start.load(Relaxed), length.load(Relaxed)) };
        let holds =
            |global: &&Global| (global.start..global.start + global.bytes_with_red_zone).contains(&wanted);
        let global = globals.iter().find(holds)?;
        VirtRange::of_length(VirtAddr::new(global.start as u64), global.bytes as u64)
    })
}
