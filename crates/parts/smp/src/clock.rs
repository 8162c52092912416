//! Rates and differences of counters.
//!
//! A reference is any counter of known rate that can be read; this CPU's time-stamp counter and its APIC timer
//! are measured against it, over the same time. A CPU that is held up meanwhile (by firmware, or by the host of a
//! virtual machine) sees too many ticks of its own counters for those of the reference, never too few: they are read
//! before the reference at the start, and behind it at the end. So the least of several measurements counts.

/// A counter of known rate. It counts up and wraps.
pub trait Reference {
    /// Returns how many ticks a second has.
    fn hz(&self) -> u64;

    /// Returns how many bits count: 8 to 64.
    fn bits(&self) -> u32;

    /// Reads it; bits above [`Reference::bits`] do not matter.
    fn read(&mut self) -> u64;
}

/// Returns the rate of an HPET's counter, by its capabilities register: the upper half is the length of a tick in
/// femtoseconds. `None` where the specification (1.0a, 2.3.4) or physics rules that length out: the registers that
/// were read are no HPET's.
///
/// The lower half says whether 32 or 64 bits count. It does not matter: the lower 32 bits do in either case, and wrap
/// after minutes; and a read of 64 is two reads on some machines.
pub fn hpet_hz(capabilities: u64) -> Option<u64> {
    const FS_PER_SECOND: u64 = 1_000_000_000_000_000;
    const LEAST_FS: u64 = 100_000;
    const MOST_FS: u64 = 100_000_000;
    let period = capabilities >> 32;
    (LEAST_FS..=MOST_FS).contains(&period).then(|| (FS_PER_SECOND + period / 2) / period)
}

/// The CPU's own two counters, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    /// The time-stamp counter, which counts up.
    pub tsc: u64,
    /// The APIC timer's countdown.
    pub countdown: u32,
}

/// Both rates, in ticks a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// The time-stamp counter's.
    pub tsc_hz: u64,
    /// The APIC timer's.
    pub timer_hz: u64,
}

const NS_PER_SECOND: u64 = 1_000_000_000;
/// How long a measurement takes: long enough for an error below 0.1 %, short enough that several are not noticed.
pub const MEASURED_NS: u64 = 5_000_000;
/// A reference that shows the same value so often does not count: it is not there, or it is stuck.
const MOST_READS_ALIKE: u32 = 100_000;
/// Many times what a measurement needs: no register is read faster than in a tenth of a microsecond.
const MOST_READS: u32 = 10_000_000;
const MOST_MEASUREMENTS: usize = 8;

/// Measures both rates; `None` where the reference does not count. Two measurements that agree to 1/256 end it.
pub fn measure(reference: &mut impl Reference, mut own: impl FnMut() -> Own) -> Option<Rates> {
    let mut best = measure_once(reference, &mut own)?;
    for _ in 1..MOST_MEASUREMENTS {
        let Some(next) = measure_once(reference, &mut own) else { break };
        let agree = agree(next.tsc_hz, best.tsc_hz, 256);
        if next.tsc_hz < best.tsc_hz {
            best = next;
        }
        if agree {
            break;
        }
    }
    Some(best)
}

fn measure_once(reference: &mut impl Reference, own: &mut impl FnMut() -> Own) -> Option<Rates> {
    let hz = reference.hz();
    let wanted = (hz / (NS_PER_SECOND / MEASURED_NS)).max(1);
    let before = own();
    let passed = wait(reference, wanted)?;
    let after = own();
    let a_second = |ticks: u64| (u128::from(ticks) * u128::from(hz) / u128::from(passed)) as u64;
    Some(Rates {
        tsc_hz: a_second(after.tsc.wrapping_sub(before.tsc)),
        timer_hz: a_second(u64::from(before.countdown.wrapping_sub(after.countdown))),
    })
}

/// Waits until the reference has counted `wanted` ticks, and returns how many it has. Each read adds what has passed
/// since the one before, so that the counter may wrap meanwhile.
fn wait(reference: &mut impl Reference, wanted: u64) -> Option<u64> {
    let mask = u64::MAX >> (64 - reference.bits().clamp(1, 64));
    let mut last = reference.read();
    let (mut passed, mut reads_alike) = (0, 0);
    for _ in 0..MOST_READS {
        let now = reference.read();
        let step = now.wrapping_sub(last) & mask;
        reads_alike = if step == 0 { reads_alike + 1 } else { 0 };
        if reads_alike == MOST_READS_ALIKE {
            return None;
        }
        last = now;
        passed += step;
        if passed >= wanted {
            return Some(passed);
        }
    }
    None
}

/// Tells whether two rates differ by less than one part in `parts`.
pub const fn agree(one: u64, other: u64, parts: u64) -> bool {
    one.abs_diff(other) < one / parts
}

/// Returns the rate to believe: the one that the CPU or its hypervisor tells, unless a measurement contradicts it by
/// more than a hundredth. `None` where there is neither.
pub fn choose(told: Option<u64>, measured: Option<u64>) -> Option<Choice> {
    match (told, measured) {
        (Some(told), Some(measured)) if !agree(told, measured, 100) => {
            Some(Choice::Contradicted { measured })
        }
        (Some(told), _) => Some(Choice::Told(told)),
        (None, measured) => measured.map(Choice::Measured),
    }
}

/// A rate, and why it is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The CPU or its hypervisor tells it.
    Told(u64),
    /// It was measured.
    Measured(u64),
    /// It was measured, and differs from what is told.
    Contradicted {
        /// The measured one.
        measured: u64,
    },
}

/// One look at another CPU's counter: this CPU's own before and after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// This CPU's counter before the other one was read.
    pub before: u64,
    /// The other CPU's.
    pub there: u64,
    /// This CPU's counter afterwards.
    pub after: u64,
}

/// Returns the number to add to another CPU's counter so that it shows what this CPU's shows: 0 where each look allows
/// that they run together; else by the look that took least, and so knows best. Wrapping.
pub fn offset(looks: &[Look]) -> u64 {
    let lies_between =
        |look: &Look| look.there.wrapping_sub(look.before) <= look.after.wrapping_sub(look.before);
    let took = |look: &Look| look.after.wrapping_sub(look.before);
    match looks.iter().min_by_key(|look| took(look)) {
        Some(best) if !looks.iter().all(lies_between) => {
            best.before.wrapping_add(took(best) / 2).wrapping_sub(best.there)
        }
        _ => 0,
    }
}
