//! Instructions that the kernel's code has on some CPUs only: the code is linked without them, and boot puts them in.
//!
//! A site is three bytes, of no operation or a jump over an instruction. An entry of a table names the site, the reason for
//! the instruction and its bytes. Boot writes those whose reason applies ([`apply`]) while its own tables show the text
//! writable; the text is never written again (I4). Hence no branch and no indirect call on paths that are hot.
//!
//! | reason | instruction | without it |
//! |---|---|---|
//! | [`Reason::Smap`] | `stac`, `clac` | an invalid opcode on CPUs without SMAP |
//! | [`Reason::Swapgs`] | `lfence` | on some CPUs, an entry that runs ahead with the GS base of a program |
//! | [`Reason::Buffers`] | `verw` | on some CPUs, a program that reads what the kernel has left in the CPU's buffers |

use core::slice;

/// Lets the kernel touch user memory until [`clac!`], where the CPU has SMAP: `stac`.
macro_rules! stac {
    () => {
        $crate::arch::patch::patched!("0x0f, 0x1f, 0x00", "0", "0xcb010f")
    };
}
pub(crate) use stac;

/// Forbids the kernel to touch user memory, where the CPU has SMAP: `clac`.
macro_rules! clac {
    () => {
        $crate::arch::patch::patched!("0x0f, 0x1f, 0x00", "0", "0xca010f")
    };
}
pub(crate) use clac;

/// Waits until the branch before it is decided, where CPUs run ahead of a `swapgs` that is skipped: `lfence`.
macro_rules! fence {
    () => {
        $crate::arch::patch::patched!("0x0f, 0x1f, 0x00", "1", "0xe8ae0f")
    };
}
pub(crate) use fence;

/// Overwrites buffers inside of the CPU, where it needs that: `verw` of a word that names a segment (SDM volume 3, and
/// Intel's guidance on microarchitectural data sampling). The last thing before a return to a program; changes flags. In
/// AT&T syntax.
macro_rules! clear_buffers {
    () => {
        concat!(
            // A jump over the seven bytes of the instruction, or no operation.
            $crate::arch::patch::patched!("0xeb, 0x08, 0x90", "2", "0x001f0f"),
            "\nverw trap_segment(%rip)\n"
        )
    };
}
pub(crate) use clear_buffers;

/// A site of three bytes: no operation, the number of the reason, and the instruction's bytes as a number.
macro_rules! patched {
    ($nop:literal, $reason:literal, $bytes:literal) => {
        concat!(
            "99: .byte ",
            $nop,
            "\n.pushsection .patches, \"a\", @progbits\n",
            ".quad 99b\n",
            ".long ",
            $reason,
            ", ",
            $bytes,
            "\n.popsection"
        )
    };
}
pub(crate) use patched;

/// The reason why a CPU needs an instruction. The numbers are those of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Reason {
    /// The CPU has SMAP.
    Smap = 0,
    /// The CPU may run ahead of an entry's `swapgs` (CVE-2019-1125).
    Swapgs = 1,
    /// The CPU keeps data of the kernel in buffers that a program can read from.
    Buffers = 2,
}

/// A site, the number of its [`Reason`], and the three bytes that go there, lowest first.
#[repr(C)]
struct Patch {
    site: *mut [u8; 3],
    reason: u32,
    bytes: u32,
}

unsafe extern "C" {
    static __patches_start: Patch;
    static __patches_end: Patch;
}

/// Puts in the instructions whose reasons `applies` confirms. Before the first of them is to run.
///
/// # Safety
/// The tables that are loaded show the image writable, no other CPU runs, and this one has all instructions of the
/// reasons that apply.
pub unsafe fn apply(applies: impl Fn(Reason) -> bool) {
    let count =
        ((&raw const __patches_end) as usize - (&raw const __patches_start) as usize) / size_of::<Patch>();
    // SAFETY: the linker gathers the entries, and nothing else, between the two symbols.
    let patches = unsafe { slice::from_raw_parts(&raw const __patches_start, count) };
    let reasons =
        [Reason::Smap, Reason::Swapgs, Reason::Buffers].map(|reason| (reason as u32, applies(reason)));
    for patch in patches.iter().filter(|patch| reasons.contains(&(patch.reason, true))) {
        let [a, b, c, _] = patch.bytes.to_le_bytes();
        // SAFETY: each site is three bytes of the kernel's text, of no operation or a jump over an instruction. The text is
        // writable now, and no code runs there, by the caller's promise.
        unsafe { patch.site.write_volatile([a, b, c]) };
    }
}
