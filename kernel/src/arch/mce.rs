//! Machine checks: what the hardware found broken.
//!
//! Each CPU has banks of registers, in which it records errors: a status, often an address. The exception says only
//! that there is a record. Every CPU looks into its own banks first thing in the exception and notes the worst record
//! in its area, because an error that concerns all is told to all, and the CPU that reports need not be the one that
//! has it.
//!
//! Records that the firmware left in the banks are from before this boot: they are logged, and cleared.
//!
//! Source: Intel SDM volume 3, chapter 17 (17.3 banks, 17.8 initialisation, 17.10 handling).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayVec;
use rhumb_machine::{Counted, CpuId};
use x86_64::registers::model_specific::Msr;

use super::features::features;

const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MCG_CTL: u32 = 0x17b;
const CAP_COUNT: u64 = 0xff;
const CAP_HAS_CTL: u64 = 1 << 8;

/// The registers of bank 0; those of the next are 4 further.
const CTL: u32 = 0x400;
const STATUS: u32 = 0x401;
const ADDRESS: u32 = 0x402;
const MISC: u32 = 0x403;

/// Registers are architectural for so many banks.
const MOST_BANKS: usize = 32;

const VALID: u64 = 1 << 63;
const UNCORRECTED: u64 = 1 << 61;
const HAS_MISC: u64 = 1 << 59;
const HAS_ADDRESS: u64 = 1 << 58;

/// The contents of a bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    pub bank: u32,
    pub status: u64,
    pub address: Option<u64>,
    pub misc: Option<u64>,
}

impl core::fmt::Display for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "bank {}, status {:#018x}", self.bank, self.status)?;
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        if let Some(misc) = self.misc {
            write!(f, ", misc {misc:#x}")?;
        }
        f.write_str(if self.status & UNCORRECTED != 0 { ", not corrected" } else { ", corrected" })
    }
}

/// The worst record that a CPU has found in its banks.
pub struct Noted {
    /// How many records there were.
    records: AtomicU32,
    bank: AtomicU32,
    status: AtomicU64,
    address: AtomicU64,
    misc: AtomicU64,
}

impl Noted {
    /// Returns a note of no machine check.
    pub const fn new() -> Self {
        Self {
            records: AtomicU32::new(0),
            bank: AtomicU32::new(0),
            status: AtomicU64::new(0),
            address: AtomicU64::new(0),
            misc: AtomicU64::new(0),
        }
    }

    /// Returns how many records the CPU has found, and the worst of them.
    pub fn read(&self) -> Option<(u32, Record)> {
        let records = self.records.load(Relaxed);
        if records == 0 {
            return None;
        }
        let (status, bank) = (self.status.load(Relaxed), self.bank.load(Relaxed));
        let with = |bit, word: &AtomicU64| (status & bit != 0).then(|| word.load(Relaxed));
        let (address, misc) = (with(HAS_ADDRESS, &self.address), with(HAS_MISC, &self.misc));
        Some((records, Record { bank, status, address, misc }))
    }

    fn note(&self, record: Record) {
        let is_worse = record.status & UNCORRECTED > self.status.load(Relaxed) & UNCORRECTED;
        if self.records.fetch_add(1, Relaxed) > 0 && !is_worse {
            return;
        }
        self.bank.store(record.bank, Relaxed);
        self.status.store(record.status, Relaxed);
        self.address.store(record.address.unwrap_or(0), Relaxed);
        self.misc.store(record.misc.unwrap_or(0), Relaxed);
    }
}

fn read(register: u32) -> u64 {
    // SAFETY: the callers name registers of banks that MCG_CAP counts, on CPUs that have banks.
    unsafe { Msr::new(register).read() }
}

fn write(register: u32, value: u64) {
    // SAFETY: the CPU has the banks that `banks` counts; zero clears a record, ones turn every error on.
    unsafe { Msr::new(register).write(value) }
}

fn banks() -> u32 {
    if features().machine_check_banks { (read(MCG_CAP) & CAP_COUNT) as u32 } else { 0 }
}

/// Returns the record in `bank`, if there is a valid one.
fn record(bank: u32) -> Option<Record> {
    let status = read(STATUS + 4 * bank);
    let with = |bit, register| (status & bit != 0).then(|| read(register + 4 * bank));
    let record = || Record { bank, status, address: with(HAS_ADDRESS, ADDRESS), misc: with(HAS_MISC, MISC) };
    (status & VALID != 0).then(record)
}

/// Records from before this boot, of as many banks as a CPU can have.
#[derive(Default)]
pub struct Old(ArrayVec<Record, MOST_BANKS>);

impl Old {
    /// Logs them, as `cpu`'s.
    pub fn tell(self, cpu: CpuId) {
        for record in self.0 {
            log::warn!("a machine check from before this boot: CPU {cpu}, {record}");
        }
    }
}

/// Turns every error of this CPU on, so that it is told, and clears what the banks hold, which it returns. Before CR4
/// allows the exception. Logs nothing: a CPU that starts may be given up at any moment.
pub fn enable() -> Old {
    let mut old = Old::default();
    if !features().machine_check_banks {
        return old;
    }
    if read(MCG_CAP) & CAP_HAS_CTL != 0 {
        write(MCG_CTL, u64::MAX);
    }
    for bank in 0..banks() {
        if let Some(record) = record(bank) {
            // There is room: the registers of more banks would be others'.
            let _ = old.0.try_push(record);
        }
        write(CTL + 4 * bank, u64::MAX);
        write(STATUS + 4 * bank, 0);
    }
    write(MCG_STATUS, 0);
    old
}

/// Notes what this CPU's banks hold in `noted`, which is in its area, and lets the next machine check be told: a CPU on
/// which one comes before that resets the machine. First thing in the exception's handler.
pub fn note(noted: &Noted) {
    if !features().machine_check_banks {
        return;
    }
    (0..banks()).filter_map(record).for_each(|record| noted.note(record));
    write(MCG_STATUS, 0);
}

/// Writes what each CPU has noted, on a line each.
pub fn write_noted<'a>(
    out: &mut dyn core::fmt::Write,
    all: impl Iterator<Item = (CpuId, &'a Noted)>,
) -> core::fmt::Result {
    let mut all = all.filter_map(|(cpu, noted)| Some((cpu, noted.read()?))).peekable();
    if all.peek().is_none() {
        return writeln!(out, "no CPU has a record of it in its banks");
    }
    for (cpu, (records, record)) in all {
        writeln!(out, "CPU {cpu}: {record}")?;
        if records > 1 {
            writeln!(out, "CPU {cpu}: and {}", Counted(records - 1, "more record"))?;
        }
    }
    Ok(())
}
