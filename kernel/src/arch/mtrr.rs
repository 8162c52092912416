//! This CPU's MTRRs: read, held against the memory map, and compared among the CPUs.
//!
//! The kernel changes none of them. RAM that they do not make write-back is slow at best, and a large page of the
//! direct map over a border of types is undefined; CPUs that differ see one memory in two ways. The kernel
//! repairs neither: it warns, because nothing else would say so. `rhumb_smp::mtrr` knows their meaning. Source: Intel
//! SDM volume 3, 13.11.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rhumb_machine::{Counted, CpuId, PhysRange};
use rhumb_smp::mtrr::{FIXED_REGISTERS, MAX_PAIRS, Mtrrs};
use x86_64::registers::model_specific::Msr;

const IA32_MTRRCAP: u32 = 0xfe;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const IA32_MTRR_PHYSBASE0: u32 = 0x200;
const FIXED: [u32; FIXED_REGISTERS] =
    [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const CAP_HAS_FIXED: u64 = 1 << 8;

/// Lines about RAM that is not write-back: enough to see what is wrong.
const MOST_LINES: usize = 4;

/// The digest of the boot CPU's registers; 0 where it has none.
static BOOT_DIGEST: AtomicU64 = AtomicU64::new(0);
/// How many CPUs have others, and one of them.
static DIFFERENT: AtomicU32 = AtomicU32::new(0);
static AN_EXAMPLE: AtomicU32 = AtomicU32::new(0);

/// Returns this CPU's; `None` where it has none.
fn read() -> Option<Mtrrs> {
    const HAS_MTRRS: u32 = 1 << 12;
    if __cpuid_count(1, 0).edx & HAS_MTRRS == 0 {
        return None;
    }
    // SAFETY: by CPUID, and by the capabilities where they say so, the registers are there.
    let register = |register| unsafe { Msr::new(register).read() };
    let capabilities = register(IA32_MTRRCAP);
    let fixed = if capabilities & CAP_HAS_FIXED != 0 { FIXED.map(register) } else { [0; FIXED_REGISTERS] };
    let pairs = (0..capabilities as u8).take(MAX_PAIRS).map(|number| {
        let base = IA32_MTRR_PHYSBASE0 + 2 * u32::from(number);
        (register(base), register(base + 1))
    });
    Some(Mtrrs::new(register(IA32_MTRR_DEF_TYPE), fixed, pairs))
}

/// Warns of `ram`, which is above the first MiB, that the boot CPU's do not make write-back. Before other CPUs compare
/// theirs.
pub fn report(ram: impl Iterator<Item = PhysRange>) {
    let Some(mtrrs) = read() else { return };
    BOOT_DIGEST.store(mtrrs.digest(), Relaxed);
    if !mtrrs.are_on() {
        if is_virtual() {
            log::debug!("the MTRRs are off: the hypervisor decides how memory is cached");
        } else {
            log::warn!("the firmware has left the MTRRs off: all memory is uncached");
        }
        return;
    }
    let mut parts = 0;
    for ram in ram {
        mtrrs.not_write_back(ram, |part, kind| {
            parts += 1;
            if parts <= MOST_LINES {
                log::warn!("the firmware's MTRRs make {part} {kind}, though the memory map calls it RAM");
            }
        });
    }
    if parts > MOST_LINES {
        log::warn!("and {} of RAM", Counted(parts - MOST_LINES, "more part"));
    }
}

/// Tells whether a hypervisor says that it is there.
fn is_virtual() -> bool {
    const HYPERVISOR: u32 = 1 << 31;
    __cpuid_count(1, 0).ecx & HYPERVISOR != 0
}

/// Compares this CPU's with the boot CPU's. Logs nothing: this CPU may be given up at any moment.
///
/// Under a hypervisor, registers that are off are no finding: an emulator may clear them when a CPU is reset, which
/// hardware does not, and the host decides then.
pub fn compare(cpu: CpuId) {
    let mtrrs = read();
    let is_cleared = is_virtual() && mtrrs.as_ref().is_some_and(|mtrrs| !mtrrs.are_on());
    if !is_cleared && mtrrs.map_or(0, |mtrrs| mtrrs.digest()) != BOOT_DIGEST.load(Relaxed) {
        AN_EXAMPLE.store(cpu.index() as u32, Relaxed);
        DIFFERENT.fetch_add(1, Relaxed);
    }
}

/// Warns where CPUs have others than the boot CPU. When all have started.
pub fn report_differences() {
    let different = DIFFERENT.load(Relaxed);
    if different > 0 {
        log::warn!(
            "the MTRRs of {} differ from the boot CPU's, those of CPU {} for one: memory is cached in two ways",
            Counted(different, "CPU"),
            AN_EXAMPLE.load(Relaxed)
        );
    }
}
