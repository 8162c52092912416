//! Counters of known rate, by which the TSC and the APIC timer are measured.

use rhumb_bootinfo::firmware::{PmTimer, Register};
use rhumb_machine::VirtAddr;
use rhumb_smp::clock::{Own, Rates, Reference as Counter, hpet_hz, measure};
use x86_64::instructions::port::Port;

use super::ticks;
use crate::arch::apic;

const ACPI_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;

/// The counter that gave the rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference {
    Hypervisor,
    Cpuid,
    AcpiTimer,
    Pit,
    Hpet,
    Assumed,
}

impl core::fmt::Display for Reference {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Hypervisor => "the hypervisor",
            Self::Cpuid => "CPUID",
            Self::AcpiTimer => "the ACPI timer",
            Self::Pit => "the PIT",
            Self::Hpet => "the HPET",
            Self::Assumed => "assumption",
        })
    }
}

/// The counters that the machine may have.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    /// The ACPI timer, if the firmware names one.
    pub acpi_timer: Option<PmTimer>,
    /// The registers of an HPET, mapped uncached permanently, if the firmware names one.
    pub hpet: Option<VirtAddr>,
    /// Which one to take first; one of [`CLOCKS`](rhumb_bootinfo::command_line::CLOCKS).
    pub first: Option<&'static str>,
}

/// The ACPI timer at an I/O port.
struct AcpiTimer {
    port: Port<u32>,
    bits: u32,
}

impl Counter for AcpiTimer {
    fn hz(&self) -> u64 {
        ACPI_TIMER_HZ
    }

    fn bits(&self) -> u32 {
        self.bits
    }

    fn read(&mut self) -> u64 {
        // SAFETY: the firmware's tables name the port as the timer's, and a read changes nothing.
        u64::from(unsafe { self.port.read() })
    }
}

/// Channel 0 of the PIT, which counts down from 65536 again and again. Its interrupt is masked.
struct Pit {
    control: Port<u8>,
    channel: Port<u8>,
}

impl Pit {
    fn start() -> Self {
        const CHANNEL_0_BOTH_BYTES_RATE: u8 = 0b0011_0100;
        let mut pit = Self { control: Port::new(0x43), channel: Port::new(0x40) };
        // SAFETY: the PIT's ports on every PC; nothing else uses the channel, and no interrupt of it arrives.
        unsafe {
            pit.control.write(CHANNEL_0_BOTH_BYTES_RATE);
            pit.channel.write(0);
            pit.channel.write(0);
        }
        pit
    }
}

impl Counter for Pit {
    fn hz(&self) -> u64 {
        PIT_HZ
    }

    fn bits(&self) -> u32 {
        16
    }

    fn read(&mut self) -> u64 {
        const LATCH_CHANNEL_0: u8 = 0;
        // SAFETY: the PIT's ports on every PC; nothing else uses the channel. The latch holds both bytes of one count.
        let (low, high) = unsafe {
            self.control.write(LATCH_CHANNEL_0);
            (self.channel.read(), self.channel.read())
        };
        u64::from(u16::from_le_bytes([low, high])).wrapping_neg()
    }
}

/// The main counter of an HPET. It runs while this lives.
struct Hpet {
    registers: VirtAddr,
    hz: u64,
    found: u32,
}

impl Hpet {
    const CAPABILITIES: u64 = 0x00;
    const CONFIGURATION: u64 = 0x10;
    const COUNTER: u64 = 0xf0;
    const ENABLED: u32 = 1;

    /// Starts it; `None` where no HPET's registers are there.
    fn start(registers: VirtAddr) -> Option<Self> {
        let mut hpet = Self { registers, hz: 0, found: 0 };
        let (low, high) = (hpet.read_at(Self::CAPABILITIES), hpet.read_at(Self::CAPABILITIES + 4));
        hpet.hz = hpet_hz(u64::from(high) << 32 | u64::from(low))?;
        hpet.found = hpet.read_at(Self::CONFIGURATION);
        hpet.write_at(Self::CONFIGURATION, hpet.found | Self::ENABLED);
        Some(hpet)
    }

    fn read_at(&self, offset: u64) -> u32 {
        // SAFETY: the firmware names the registers as an HPET's, whose page boot has mapped uncached and whose first
        // 256 bytes lie in it; a read of an aligned half changes nothing.
        unsafe { self.registers.plus(offset).as_ptr::<u32>().read_volatile() }
    }

    fn write_at(&self, offset: u64, value: u32) {
        // SAFETY: as in `read_at`; the registers are an HPET's by what they say of its period, and nothing else uses
        // it.
        unsafe { self.registers.plus(offset).as_mut_ptr::<u32>().write_volatile(value) };
    }
}

/// Restores the setting in which the firmware left it.
impl Drop for Hpet {
    fn drop(&mut self) {
        self.write_at(Self::CONFIGURATION, self.found);
    }
}

impl Counter for Hpet {
    fn hz(&self) -> u64 {
        self.hz
    }

    /// Returns the lower half, whatever the whole has: see [`hpet_hz`].
    fn bits(&self) -> u32 {
        32
    }

    fn read(&mut self) -> u64 {
        u64::from(self.read_at(Self::COUNTER))
    }
}

/// Returns this CPU's own two counters, now.
pub(super) fn own() -> Own {
    // The countdown first: the TSC, which is the clock, is what lies nearer to the reference.
    let countdown = apic::countdown();
    Own { tsc: ticks(), countdown }
}

/// Measures both rates by the first counter that counts: the one that the command line names, else the ACPI timer, the
/// PIT, the HPET, in this order. `None` where none does: small virtual machines have none.
pub(super) fn measure_by_best(counters: Counters) -> Option<(Rates, Reference)> {
    let by_acpi = || {
        let Some(PmTimer { register: Register::Port(port), bits }) = counters.acpi_timer else { return None };
        Some((measure(&mut AcpiTimer { port: Port::new(port), bits }, own)?, Reference::AcpiTimer))
    };
    let by_pit = || Some((measure(&mut Pit::start(), own)?, Reference::Pit));
    let by_hpet = || Some((measure(&mut Hpet::start(counters.hpet?)?, own)?, Reference::Hpet));
    let by_name = |name: &'static str| {
        let measured = match name {
            "acpi" => by_acpi(),
            "pit" => by_pit(),
            _ => by_hpet(),
        };
        if measured.is_none() {
            log::warn!("clock={name}: there is no such counter that counts; trying the others");
        }
        measured
    };
    apic::start_countdown(u32::MAX);
    let named = counters.first.and_then(by_name);
    let measured = named.or_else(by_acpi).or_else(by_pit).or_else(by_hpet);
    apic::arm_after(0);
    measured
}
