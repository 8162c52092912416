//! The kernel's tests.
//!
//! | file | subject |
//! |---|---|
//! | [`matrix`] | it boots on each kind of machine, and its own tests and audit pass there |
//! | [`direct_map`] | the direct map is what the command line and the CPU make it |
//! | [`protect`] | page tables that nothing but their writer can write: by windows, by a key, and where that is not to be had |
//! | [`high_memory`] | a direct map that ends within RAM |
//! | [`faults`] | faults on purpose are found, reported, and told to the outside |
//! | [`code`] | executable memory runs, traps where it is free, and is never writable |
//! | [`frames`] | the frame allocator under stress, on several nodes and zones |
//! | [`objects`] | object caches under stress, and checks that notice injected faults |
//! | [`kernel_map`] | areas of the kernel map, under each policy of flushing |
//! | [`pageable`] | pageable memory, more of it than there is memory |
//! | [`threads`] | threads, on one to eight CPUs |
//! | [`count`] | marked regions run without a counter, too |
//! | [`bpf`] | BPF programs count, and wrong ones are refused |
//! | [`console`] | the monitor's commands, and wrong input |
//! | [`kasan`] | forbidden accesses are caught, in a kernel that checks them |
//! | [`machines`] | other boards, consoles and interrupt controllers; interrupts and errors from outside |
//! | [`irqsoff`] | the longest stretches with interrupts off are named, in a kernel that traces them |
//! | [`soak`] | thousands of random command lines |
//! | [`modules`] | the RAM disk, and modules from it |
//! | [`image`] | the ISO boots under both kinds of firmware |
//! | [`screen`] | the ISO with a screen and a keyboard |
//! | [`product`] | the kernel without its laboratory |

mod bpf;
mod code;
mod console;
mod count;
mod direct_map;
mod faults;
mod frames;
mod high_memory;
mod image;
mod irqsoff;
mod kasan;
mod kernel_map;
mod machines;
mod matrix;
mod modules;
mod objects;
mod pageable;
mod product;
mod protect;
mod screen;
mod soak;
mod threads;

use super::case::Case;

/// Returns all of them, the quick and telling ones first. Random ones are made from `seed`.
pub(crate) fn all(seed: u64) -> Vec<Case> {
    [
        console::cases(),
        bpf::cases(),
        faults::cases(),
        direct_map::cases(),
        protect::cases(),
        code::cases(),
        frames::cases(),
        high_memory::cases(),
        objects::cases(),
        kernel_map::cases(),
        pageable::cases(),
        threads::cases(),
        count::cases(),
        machines::cases(),
        matrix::cases(),
        modules::cases(),
        image::cases(),
        screen::cases(),
        product::cases(),
        soak::cases(seed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Checked accesses take longer, and so does writing the shadow of a large memory.
const KASAN_LIMIT_FACTOR: u32 = 5;

/// Returns those for a kernel that checks its memory accesses: with more time, and with the checker's own. It reports a
/// forbidden access when it is made, and stops there: cases that another check would notice later are left out.
pub(crate) fn with_kasan(seed: u64) -> Vec<Case> {
    let slower = |case: Case| Case { limit: case.limit * KASAN_LIMIT_FACTOR, ..case };
    let others = all(seed).into_iter().filter(|case| !objects::accesses_what_is_forbidden(case));
    kasan::cases().into_iter().chain(others).map(slower).collect()
}

/// Returns those for a kernel that traces how long interrupts are off, beside all others.
pub(crate) fn with_irqsoff() -> Vec<Case> {
    irqsoff::cases()
}

#[cfg(test)]
mod tests;
