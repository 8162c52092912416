//! Time: the TSC as the clock, the APIC timer for alarms.
//!
//! The TSC's rate comes from CPUID where the CPU (leaf 0x15) or its hypervisor (leaf 0x4000_0010) tells it, else it is
//! measured against the ACPI timer (3.579545 MHz), else against channel 2 of the PIT (1.193182 MHz), else assumed. The
//! APIC timer's rate is measured against the TSC over the same time. Nanoseconds are `ticks * multiplier >> 32`: one
//! multiplication of 64 by 64 bits. Sources: Intel SDM volume 3, 18.17 and 12.5.4; ACPI 6.5, 4.8.3.3.

use core::arch::x86_64::{__cpuid_count, _rdtsc};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_bootinfo::firmware::{PmTimer, Register};
use x86_64::instructions::port::Port;

use crate::arch::{apic, cpu::features};

const ACPI_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;
const NS_PER_SECOND: u64 = 1_000_000_000;
/// Long enough for an error below 0.1 %, short enough that several are not noticed at boot.
const CALIBRATION_NS: u64 = 5_000_000;

static START: AtomicU64 = AtomicU64::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

/// What the rate was taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference {
    Cpuid,
    AcpiTimer,
    Pit,
    Assumed,
}

impl core::fmt::Display for Reference {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Cpuid => "CPUID",
            Self::AcpiTimer => "the ACPI timer",
            Self::Pit => "the PIT",
            Self::Assumed => "assumption",
        })
    }
}

/// Takes now as time zero. Before [`calibrate`], [`now_ns`] is 0.
pub fn start() {
    START.store(ticks(), Relaxed);
}

/// Time-stamp counter.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every 64-bit CPU has it, and ring 0 may always read it.
    unsafe { _rdtsc() }
}

/// TSC ticks in a second; 0 before [`calibrate`].
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Relaxed)
}

/// APIC timer ticks in a second, after its divider; 0 before [`calibrate`].
pub fn timer_hz() -> u64 {
    TIMER_HZ.load(Relaxed)
}

/// Nanoseconds since [`start`].
#[inline]
pub fn now_ns() -> u64 {
    // Saturating: the TSC of a CPU that is behind the boot CPU's reads less than the start, not an age.
    ticks_to_ns(ticks().saturating_sub(START.load(Relaxed)))
}

/// How long so many TSC ticks take; 0 before [`calibrate`].
#[inline]
pub fn ticks_to_ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(NS_PER_TICK.load(Relaxed))) >> 32) as u64
}

/// What one measurement saw: both rates, in ticks a second.
#[derive(Clone, Copy)]
struct Sample {
    tsc_hz: u64,
    timer_hz: u64,
}

/// Finds both rates. The APIC of this CPU is on.
pub fn calibrate(acpi_timer: Option<PmTimer>) -> Reference {
    let measured = if cpuid_hz().is_some() { None } else { measure(acpi_timer) };
    let (sample, hz, reference) = match measured {
        Some((sample, reference)) => (sample, sample.tsc_hz, reference),
        None => {
            let (hz, reference) = cpuid_hz().map_or_else(assume_hz, |hz| (hz, Reference::Cpuid));
            let by_tsc = sample_by(|| Some(wait_tsc(hz)));
            (by_tsc.unwrap_or(Sample { tsc_hz: hz, timer_hz: 0 }), hz, reference)
        }
    };
    TSC_HZ.store(hz, Relaxed);
    NS_PER_TICK.store(((u128::from(NS_PER_SECOND) << 32) / u128::from(hz.max(1))) as u64, Relaxed);
    // The timer's rate relative to the TSC's, so that both agree whichever reference the TSC has.
    let timer_hz = u128::from(sample.timer_hz) * u128::from(hz) / u128::from(sample.tsc_hz.max(1));
    TIMER_HZ.store(timer_hz as u64, Relaxed);
    reference
}

/// Both rates, and by what they were measured; `None` where nothing measures them: small virtual machines have neither
/// timer.
///
/// A CPU that is held up meanwhile (by firmware, or by the host of a virtual machine) sees too many ticks, never too
/// few: the least of several measurements counts, and two that agree to 1/256 end it.
fn measure(acpi_timer: Option<PmTimer>) -> Option<(Sample, Reference)> {
    const MOST_SAMPLES: usize = 8;
    let mut best = sample(acpi_timer)?;
    for _ in 1..MOST_SAMPLES {
        let Some(next) = sample(acpi_timer) else { break };
        let agree = next.0.tsc_hz.abs_diff(best.0.tsc_hz) < best.0.tsc_hz / 256;
        if next.0.tsc_hz < best.0.tsc_hz {
            best = next;
        }
        if agree {
            break;
        }
    }
    Some(best)
}

/// One measurement.
fn sample(acpi_timer: Option<PmTimer>) -> Option<(Sample, Reference)> {
    if let Some(PmTimer { register: Register::Port(port), bits }) = acpi_timer
        && let Some(sample) = sample_by(|| wait_acpi_timer(port, bits))
    {
        return Some((sample, Reference::AcpiTimer));
    }
    Some((sample_by(wait_pit)?, Reference::Pit))
}

/// Both clocks' rates while `wait` runs, which says how many nanoseconds that was, or that it cannot say.
fn sample_by(wait: impl FnOnce() -> Option<u64>) -> Option<Sample> {
    apic::start_countdown(u32::MAX);
    let (timer, tsc) = (apic::countdown(), ticks());
    let waited = wait();
    let (tsc, timer) = (ticks() - tsc, u64::from(timer.wrapping_sub(apic::countdown())));
    apic::arm_after(0);
    let ns = waited?.max(1);
    let a_second = |ticks: u64| (u128::from(ticks) * u128::from(NS_PER_SECOND) / u128::from(ns)) as u64;
    Some(Sample { tsc_hz: a_second(tsc), timer_hz: a_second(timer) })
}

/// The TSC's rate, where the CPU or its hypervisor tells it.
fn cpuid_hz() -> Option<u64> {
    const IS_VIRTUAL: u32 = 1 << 31;
    if __cpuid_count(0, 0).eax >= 0x15 {
        let leaf = __cpuid_count(0x15, 0);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            return Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax));
        }
    }
    if __cpuid_count(1, 0).ecx & IS_VIRTUAL != 0 && __cpuid_count(0x4000_0000, 0).eax >= 0x4000_0010 {
        let khz = __cpuid_count(0x4000_0010, 0).eax;
        return Some(u64::from(khz) * 1000).filter(|&hz| hz > 0);
    }
    None
}

/// A rate where nothing tells it and nothing measures it: the CPU's base frequency, else one that hardly any CPU
/// exceeds, so that a delay is rather too long than too short.
fn assume_hz() -> (u64, Reference) {
    const HIGH_MHZ: u32 = 4000;
    let base_mhz = if __cpuid_count(0, 0).eax >= 0x16 { __cpuid_count(0x16, 0).eax & 0xffff } else { 0 };
    let mhz = if base_mhz > 0 { base_mhz } else { HIGH_MHZ };
    log::warn!("there is no timer to measure the TSC with: taking it to run at {mhz} MHz");
    (u64::from(mhz) * 1_000_000, Reference::Assumed)
}

/// Waits [`CALIBRATION_NS`] by the TSC itself and returns how long it really was.
fn wait_tsc(hz: u64) -> u64 {
    let start = ticks();
    loop {
        let passed = ticks().wrapping_sub(start);
        if passed >= hz / (NS_PER_SECOND / CALIBRATION_NS) {
            return (u128::from(passed) * u128::from(NS_PER_SECOND) / u128::from(hz.max(1))) as u64;
        }
        core::hint::spin_loop();
    }
}

/// Waits [`CALIBRATION_NS`] by the ACPI timer and returns how long it really was; `None` if the timer does not count.
fn wait_acpi_timer(port: u16, bits: u32) -> Option<u64> {
    let mut port = Port::<u32>::new(port);
    let mask = u32::MAX >> (32 - bits.clamp(1, 32));
    // SAFETY: the firmware names this port as the ACPI timer; reading it has no effect.
    let mut read = || unsafe { port.read() } & mask;
    let wanted = (ACPI_TIMER_HZ * CALIBRATION_NS / NS_PER_SECOND) as u32;
    let first = read();
    let mut reads_alike = 0;
    loop {
        let passed = read().wrapping_sub(first) & mask;
        if passed >= wanted {
            return Some(u64::from(passed) * NS_PER_SECOND / ACPI_TIMER_HZ);
        }
        reads_alike = if passed == 0 { reads_alike + 1 } else { 0 };
        if reads_alike == 100_000 {
            return None;
        }
    }
}

/// Waits [`CALIBRATION_NS`] by channel 2 of the PIT, whose output can be polled without an interrupt; `None` if it does
/// not count: where there is none, the port reads all ones, or a constant.
fn wait_pit() -> Option<u64> {
    // Many times what is needed: no port is read faster than in a tenth of a microsecond.
    const MOST_READS: usize = 1_000_000;
    const GATE: u8 = 1 << 0;
    const SPEAKER: u8 = 1 << 1;
    const OUTPUT: u8 = 1 << 5;
    let (mut control, mut channel, mut gate) =
        (Port::<u8>::new(0x43), Port::<u8>::new(0x42), Port::<u8>::new(0x61));
    let count = (PIT_HZ * CALIBRATION_NS / NS_PER_SECOND) as u16;
    // SAFETY: the PIT's and the system control port, at the addresses that every PC has; the speaker stays off.
    unsafe {
        let quiet = gate.read() & !(SPEAKER | GATE);
        gate.write(quiet);
        control.write(0b1011_0000u8); // channel 2, both bytes, one shot
        let [low, high] = count.to_le_bytes();
        channel.write(low);
        channel.write(high);
        gate.write(quiet | GATE);
        // Low since the control word, high when the count is through.
        let was_low = gate.read() & OUTPUT == 0;
        let went_high = was_low && (0..MOST_READS).any(|_| gate.read() & OUTPUT != 0);
        gate.write(quiet);
        went_high.then_some(CALIBRATION_NS)
    }
}

/// Busy-waits `ns` nanoseconds.
pub fn delay_ns(ns: u64) {
    let end = now_ns() + ns;
    while now_ns() < end {
        core::hint::spin_loop();
    }
}

/// One timer interrupt on this CPU in `ns` nanoseconds, at the earliest.
pub fn arm_ns(ns: u64) {
    if features().tsc_deadline {
        let wait = (u128::from(ns) * u128::from(tsc_hz()) / u128::from(NS_PER_SECOND)) as u64;
        apic::arm_at(ticks().saturating_add(wait).max(1));
    } else {
        let count = u128::from(ns) * u128::from(timer_hz()) / u128::from(NS_PER_SECOND);
        apic::arm_after(count.clamp(1, u128::from(u32::MAX)) as u32);
    }
}
