//! Calibration over counters that are made up.

use core::cell::Cell;

use crate::clock::{Choice, Look, Own, Rates, Reference, agree, choose, hpet_hz, measure, offset};

const TSC_HZ: u64 = 2_100_000_000;
const TIMER_HZ: u64 = 62_500_000;

/// A machine whose time goes on with each read of a register, by about a microsecond.
struct Time {
    ns: Cell<u64>,
    /// The time that a read takes.
    read_ns: u64,
    /// At which read the CPU is held up, and for how long.
    held_up: Cell<Option<(u64, u64)>>,
    reads: Cell<u64>,
}

impl Time {
    fn new() -> Self {
        Self { ns: Cell::new(123_456_789), read_ns: 900, held_up: Cell::new(None), reads: Cell::new(0) }
    }

    fn pass(&self) -> u64 {
        self.reads.set(self.reads.get() + 1);
        let mut passed = self.read_ns;
        if let Some((at, ns)) = self.held_up.get()
            && self.reads.get() == at
        {
            passed += ns;
        }
        self.ns.set(self.ns.get() + passed);
        self.ns.get()
    }

    fn ticks(&self, hz: u64) -> u64 {
        (u128::from(self.ns.get()) * u128::from(hz) / 1_000_000_000) as u64
    }

    fn own(&self) -> Own {
        self.pass();
        Own { tsc: self.ticks(TSC_HZ), countdown: u32::MAX - self.ticks(TIMER_HZ) as u32 }
    }
}

struct Fake<'a> {
    time: &'a Time,
    hz: u64,
    bits: u32,
    /// Its count goes down, and every bit above those that count is set.
    is_odd: bool,
    stuck: bool,
}

impl Reference for Fake<'_> {
    fn hz(&self) -> u64 {
        self.hz
    }
    fn bits(&self) -> u32 {
        self.bits
    }
    fn read(&mut self) -> u64 {
        self.time.pass();
        if self.stuck {
            return u64::MAX;
        }
        let ticks = self.time.ticks(self.hz);
        if self.is_odd { ticks | !0 << self.bits } else { ticks }
    }
}

fn measured(reference: &mut Fake<'_>) -> Option<Rates> {
    let time = reference.time;
    measure(reference, || time.own())
}

#[test]
fn both_rates_by_each_reference() {
    let time = Time::new();
    for (hz, bits) in [(3_579_545, 24), (3_579_545, 32), (1_193_182, 16), (14_318_180, 32), (10_000_000, 64)]
    {
        for is_odd in [false, bits < 64] {
            let rates = measured(&mut Fake { time: &time, hz, bits, is_odd, stuck: false }).unwrap();
            assert!(agree(rates.tsc_hz, TSC_HZ, 1000), "{rates:?} by {hz} Hz");
            assert!(agree(rates.timer_hz, TIMER_HZ, 1000), "{rates:?} by {hz} Hz");
        }
    }
}

#[test]
fn a_counter_that_wraps_many_times() {
    let time = Time::new();
    let mut fast = Fake { time: &time, hz: 100_000_000, bits: 8, is_odd: true, stuck: false };
    assert!(agree(measured(&mut fast).unwrap().tsc_hz, TSC_HZ, 1000));
}

#[test]
fn a_cpu_that_is_held_up_measures_again() {
    // Wherever it is: between its own counters and the reference, or in the middle.
    for at in [1, 2, 3, 100, 2000, 5557, 5558, 5559, 5560, 5561] {
        let time = Time::new();
        time.held_up.set(Some((at, 7_000_000)));
        let mut reference = Fake { time: &time, hz: 3_579_545, bits: 24, is_odd: false, stuck: false };
        let rates = measured(&mut reference).unwrap();
        assert!(agree(rates.tsc_hz, TSC_HZ, 500), "{rates:?}, held up at read {at}");
    }
}

#[test]
fn what_does_not_count_measures_nothing() {
    let time = Time::new();
    let mut absent = Fake { time: &time, hz: 1_193_182, bits: 16, is_odd: false, stuck: true };
    assert_eq!(measured(&mut absent), None);
}

#[test]
fn what_is_told_is_believed_unless_it_is_contradicted() {
    assert_eq!(choose(Some(TSC_HZ), None), Some(Choice::Told(TSC_HZ)));
    assert_eq!(choose(Some(TSC_HZ), Some(TSC_HZ + TSC_HZ / 200)), Some(Choice::Told(TSC_HZ)));
    // A guest whose counter the host scales, with the hardware's leaf.
    assert_eq!(choose(Some(2 * TSC_HZ), Some(TSC_HZ)), Some(Choice::Contradicted { measured: TSC_HZ }));
    assert_eq!(choose(None, Some(TSC_HZ)), Some(Choice::Measured(TSC_HZ)));
    assert_eq!(choose(None, None), None);
}

fn look(before: u64, there: u64, after: u64) -> Look {
    Look { before, there, after }
}

#[test]
fn counters_that_run_together_are_left_alone() {
    assert_eq!(offset(&[]), 0);
    assert_eq!(offset(&[look(100, 100, 300), look(500, 700, 700)]), 0);
    assert_eq!(offset(&[look(u64::MAX - 5, 3, 10)]), 0, "they may wrap");
}

#[test]
fn a_counter_that_lags_or_leads_gets_an_offset() {
    // 1000 behind: the shortest look was in the middle of 2000 and 2010.
    let lags = [look(1000, 30, 1100), look(2000, 1005, 2010)];
    assert_eq!(offset(&lags), 1000);
    let leads = [look(1000, 2030, 1100), look(2000, 3005, 2010)];
    assert_eq!(offset(&leads), 0u64.wrapping_sub(1000));
    assert_eq!(3005u64.wrapping_add(offset(&leads)), 2005);
}

#[test]
fn an_hpet_is_believed_where_its_period_can_be() {
    // QEMU's, and that of Intel's chipsets; the lower half says 32 or 64 bits.
    assert_eq!(hpet_hz(10_000_000 << 32 | 0x8086_a201), Some(100_000_000));
    assert_eq!(hpet_hz(69_841_279 << 32 | 0x8086_8201), Some(14_318_180));
    assert_eq!(hpet_hz(100_000 << 32), Some(10_000_000_000));
    for nonsense in [0, 0x8086_a201, 99_999 << 32, 100_000_001 << 32, u64::MAX, u64::MAX << 32] {
        assert_eq!(hpet_hz(nonsense), None, "{nonsense:#x}");
    }
}
