//! Time: the TSC as the clock, the APIC timer for alarms.
//!
//! The TSC's rate comes from the hypervisor where there is one that tells it, else from CPUID where the CPU tells it.
//! The kernel checks that rate against a counter of known rate, and uses the counter's where the two contradict each
//! other, or where no rate is told. References: the ACPI timer (3.579545 MHz), else channel 0 of the PIT
//! (1.193182 MHz), whose count is read back by a latch command, so that no other port is needed, else the HPET, which
//! says its rate itself. The APIC timer's rate is measured against the TSC over the same time. Nanoseconds are `ticks *
//! multiplier >> 32`: one multiplication of 64 by 64 bits.
//!
//! The TSCs of the CPUs should run together. Whether they do is looked at as each CPU starts ([`super::start`]); one
//! that does not gets an offset, so that its clock shows what the boot CPU's shows. How long something may take is
//! measured by the CPU's own TSC alone ([`Deadline`]): it ends, whatever another CPU's clock shows.
//!
//! The arithmetic is `rhumb_smp::clock`'s. Sources: Intel SDM volume 3, 18.17 and 12.5.4; ACPI 6.5, 4.8.3.3; Intel 8254
//! data sheet (counter latch command); KVM's `Documentation/virt/kvm/x86/msr.rst`; Microsoft's Hypervisor Top-Level
//! Functional Specification, 12.2.

mod reference;
mod told;

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_smp::clock::{Choice, MEASURED_NS, Rates, agree, choose};

use super::area::hot;
use super::preempt;
use crate::arch::features::features;
pub use crate::arch::tsc::ticks;
use crate::arch::{apic, tsc};
pub use reference::{Counters, Reference};
use reference::{measure_by_best, own};
use told::{cpuid_hz, hypervisor_hz};

const NS_PER_SECOND: u64 = 1_000_000_000;
/// A rate that hardly any CPU exceeds: a time by it is rather too long than too short.
const HIGH_HZ: u64 = 4_000_000_000;

static START: AtomicU64 = AtomicU64::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

/// Takes now as time zero. Before [`calibrate`], [`now_ns`] is 0.
pub fn start() {
    START.store(ticks(), Relaxed);
}

/// Returns how many TSC ticks a second has; 0 before [`calibrate`].
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Relaxed)
}

/// Returns how many APIC timer ticks a second has, after the divider; 0 before [`calibrate`].
pub fn timer_hz() -> u64 {
    TIMER_HZ.load(Relaxed)
}

/// Returns the nanoseconds since [`start`].
#[inline]
pub fn now_ns() -> u64 {
    let ticks = preempt::while_pinned(|| ticks().wrapping_add(hot::tsc_offset()));
    // Saturating: a CPU that has just started, and has no offset yet, may be behind the start.
    ticks_to_ns(ticks.saturating_sub(START.load(Relaxed)))
}

/// Returns how long so many TSC ticks take; 0 before [`calibrate`].
#[inline]
pub fn ticks_to_ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(NS_PER_TICK.load(Relaxed))) >> 32) as u64
}

/// Returns how many TSC ticks `ns` nanoseconds take; before [`calibrate`] rather too many.
fn ns_to_ticks(ns: u64) -> u64 {
    let hz = Some(tsc_hz()).filter(|&hz| hz > 0).unwrap_or(HIGH_HZ);
    u64::try_from(u128::from(ns) * u128::from(hz) / u128::from(NS_PER_SECOND)).unwrap_or(u64::MAX)
}

/// A moment in the future of this CPU. It comes, also before [`calibrate`], and whatever the clocks of other CPUs show.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    from: u64,
    ticks: u64,
}

impl Deadline {
    /// Returns the moment in `ns` nanoseconds.
    pub fn after_ns(ns: u64) -> Self {
        Self { from: ticks(), ticks: ns_to_ticks(ns) }
    }

    /// Tells whether it has come.
    pub fn has_passed(&self) -> bool {
        ticks().wrapping_sub(self.from) >= self.ticks
    }
}

/// Finds both rates. The APIC of this CPU is on.
pub fn calibrate(counters: Counters) -> Reference {
    let told = hypervisor_hz()
        .map(|hz| (hz, Reference::Hypervisor))
        .or_else(|| cpuid_hz().map(|hz| (hz, Reference::Cpuid)));
    let measured = measure_by_best(counters);
    let choice = choose(told.map(|(hz, _)| hz), measured.map(|(rates, _)| rates.tsc_hz));
    let (hz, reference) = match (choice, told, measured) {
        (Some(Choice::Told(hz)), Some((_, by)), _) => (hz, by),
        (Some(Choice::Contradicted { measured: hz }), Some((told, by)), Some((_, measured_by))) => {
            log::warn!(
                "clock: {by} says that the TSC runs at {} MHz, {measured_by} measures {}: believing that",
                told / 1_000_000,
                hz / 1_000_000
            );
            (hz, measured_by)
        }
        (Some(Choice::Measured(hz)), _, Some((_, by))) => (hz, by),
        _ => assume_hz(),
    };
    TSC_HZ.store(hz, Relaxed);
    NS_PER_TICK.store(((u128::from(NS_PER_SECOND) << 32) / u128::from(hz.max(1))) as u64, Relaxed);
    let rates = measured.map_or_else(|| measure_timer(hz), |(rates, _)| rates);
    // The timer's rate relative to the TSC's, so that both agree whichever reference the TSC has.
    let timer_hz = u128::from(rates.timer_hz) * u128::from(hz) / u128::from(rates.tsc_hz.max(1));
    TIMER_HZ.store(timer_hz as u64, Relaxed);
    if let Some((rates, by)) = measured
        && !agree(rates.tsc_hz, hz, 1000)
    {
        log::debug!("clock: {by} measures {} MHz", rates.tsc_hz / 1_000_000);
    }
    reference
}

/// Returns the timer's rate by the TSC, where no reference counts.
fn measure_timer(hz: u64) -> Rates {
    apic::start_countdown(u32::MAX);
    let (before, end) = (own(), Deadline::after_ns(MEASURED_NS));
    while !end.has_passed() {
        core::hint::spin_loop();
    }
    let after = own();
    apic::arm_after(0);
    let passed = after.tsc.wrapping_sub(before.tsc).max(1);
    let counted = u64::from(before.countdown.wrapping_sub(after.countdown));
    let timer_hz = u128::from(counted) * u128::from(hz) / u128::from(passed);
    Rates { tsc_hz: hz, timer_hz: timer_hz as u64 }
}

/// Returns a rate where nothing tells it and nothing measures it: the CPU's base frequency, else one that hardly any
/// CPU exceeds.
fn assume_hz() -> (u64, Reference) {
    let base_mhz = if __cpuid_count(0, 0).eax >= 0x16 { __cpuid_count(0x16, 0).eax & 0xffff } else { 0 };
    let hz = if base_mhz > 0 { u64::from(base_mhz) * 1_000_000 } else { HIGH_HZ };
    log::warn!("there is no timer to measure the TSC with: taking it to run at {} MHz", hz / 1_000_000);
    (hz, Reference::Assumed)
}

/// The boot CPU's, which all get.
static ADJUSTMENT: AtomicU64 = AtomicU64::new(0);

/// Remembers the adjustment of the boot CPU's TSC, on that CPU.
pub fn remember_adjustment() {
    if features().tsc_adjust {
        // SAFETY: CPUID has the register.
        ADJUSTMENT.store(unsafe { tsc::adjustment() }, Relaxed);
    }
}

/// Gives the TSC of this CPU, which is another one, the boot CPU's adjustment. Firmware that hides its own time from
/// one CPU's TSC leaves another one there.
pub fn take_adjustment() {
    if !features().tsc_adjust {
        return;
    }
    let wanted = ADJUSTMENT.load(Relaxed);
    // SAFETY: CPUID has the register, and no code uses the clock of this CPU yet.
    unsafe {
        if tsc::adjustment() != wanted {
            tsc::adjust(wanted);
        }
    }
}

/// Busy-waits `ns` nanoseconds.
pub fn delay_ns(ns: u64) {
    let end = Deadline::after_ns(ns);
    while !end.has_passed() {
        core::hint::spin_loop();
    }
}

/// Arms one timer interrupt on this CPU in `ns` nanoseconds, at the earliest.
pub fn arm_ns(ns: u64) {
    if features().tsc_deadline {
        apic::arm_at(ticks().saturating_add(ns_to_ticks(ns)).max(1));
    } else {
        let count = u128::from(ns) * u128::from(timer_hz()) / u128::from(NS_PER_SECOND);
        apic::arm_after(count.clamp(1, u128::from(u32::MAX)) as u32);
    }
}
