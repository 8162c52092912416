//! The set-up of a local APIC: which registers get which values, in which order.
//!
//! The order matters, because an APIC that is disabled by software (after a reset, or after INIT) keeps the mask bit of
//! each entry of its local vector table set, whatever is written there. So it is enabled first. Pending errors are
//! cleared before their interrupt is turned on.
//!
//! Sources: Intel SDM volume 3, 12.4.7.2 (state after INIT and software disable), 12.5.1 (local vector table), 12.5.3
//! (error status).

/// A register: its offset / 16 in the xAPIC page, its offset from MSR 0x800 in x2APIC mode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
#[allow(missing_docs, reason = "the manual's names")]
pub enum Register {
    Id = 0x02,
    Version = 0x03,
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0b,
    Spurious = 0x0f,
    ErrorStatus = 0x28,
    CorrectedErrors = 0x2f,
    Command = 0x30,
    CommandHigh = 0x31,
    TimerVector = 0x32,
    ThermalVector = 0x33,
    PerformanceVector = 0x34,
    Input0 = 0x35,
    Input1 = 0x36,
    ErrorVector = 0x37,
    TimerInitial = 0x38,
    TimerCurrent = 0x39,
    TimerDivide = 0x3e,
}

/// The registers of this CPU's APIC, in whichever mode it is.
pub trait Registers {
    /// Reads a register that can be read.
    fn read(&mut self, register: Register) -> u32;

    /// Writes a register that can be written.
    fn write(&mut self, register: Register, value: u32);
}

/// The bit of the spurious-interrupt register that enables the APIC.
pub const SOFTWARE_ENABLE: u32 = 1 << 8;
/// The mask bit of an entry of the local vector table.
pub const MASKED: u32 = 1 << 16;
const ACTIVE_LOW: u32 = 1 << 13;
const DELIVERY_MODE: u32 = 7 << 8;
const DELIVER_SMI: u32 = 2 << 8;
const DELIVER_NMI: u32 = 4 << 8;
const DIVIDE_BY_16: u32 = 0b0011;

/// The vectors of an APIC's own interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Vectors {
    /// The timer's.
    pub timer: u8,
    /// That of errors.
    pub error: u8,
    /// That of spurious interrupts.
    pub spurious: u8,
}

/// The purpose of one of the two inputs of an APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// Nothing: masked.
    Unused,
    /// Non-maskable interrupts.
    Nmi {
        /// Whether the line is active when it is low.
        active_low: bool,
    },
}

/// Sets up the calling CPU's APIC, which its base register has turned on: interrupts of other CPUs arrive, the timer is
/// masked, errors are told, and of the two inputs those are on that carry non-maskable interrupts. Entries that the
/// firmware uses for itself (by SMI) are left alone.
pub fn set_up(registers: &mut impl Registers, vectors: Vectors, inputs: [Input; 2]) {
    registers.write(Register::Spurious, SOFTWARE_ENABLE | u32::from(vectors.spurious));
    registers.write(Register::TaskPriority, 0);
    registers.write(Register::TimerVector, MASKED | u32::from(vectors.timer));
    registers.write(Register::TimerDivide, DIVIDE_BY_16);
    for (register, input) in [Register::Input0, Register::Input1].into_iter().zip(inputs) {
        registers.write(register, input.entry(vectors));
    }
    let last_entry = registers.read(Register::Version) >> 16 & 0xff;
    for (register, number) in
        [(Register::PerformanceVector, 4), (Register::ThermalVector, 5), (Register::CorrectedErrors, 6)]
    {
        if last_entry >= number && registers.read(register) & DELIVERY_MODE != DELIVER_SMI {
            registers.write(register, MASKED | u32::from(vectors.spurious));
        }
    }
    clear_errors(registers);
    registers.write(Register::ErrorVector, u32::from(vectors.error));
}

/// Reads the errors since the last call, and clears them: a write latches them for the read.
pub fn take_errors(registers: &mut impl Registers) -> u32 {
    registers.write(Register::ErrorStatus, 0);
    registers.read(Register::ErrorStatus)
}

/// Clears the errors: the first write latches those that have come, the second one those since then, which are none.
fn clear_errors(registers: &mut impl Registers) {
    registers.write(Register::ErrorStatus, 0);
    registers.write(Register::ErrorStatus, 0);
}

impl Input {
    fn entry(self, vectors: Vectors) -> u32 {
        match self {
            // A vector below 16 would be an error, even in a masked entry.
            Self::Unused => MASKED | u32::from(vectors.spurious),
            Self::Nmi { active_low: false } => DELIVER_NMI,
            Self::Nmi { active_low: true } => DELIVER_NMI | ACTIVE_LOW,
        }
    }
}

/// Tells whether a command can name the CPU with this APIC id. All ones means every CPU, and in xAPIC mode a
/// destination has 8 bits.
pub const fn can_address(id: u32, is_x2apic: bool) -> bool {
    if is_x2apic { id != u32::MAX } else { id < 0xff }
}

/// The facts that decide in which mode the APICs run.
#[derive(Clone, Copy, Debug)]
pub struct ModeQuestion {
    /// The CPUs have x2APIC mode.
    pub has_x2apic: bool,
    /// The firmware turned it on.
    pub is_on: bool,
    /// The firmware asks not to turn it on.
    pub opts_out: bool,
    /// The command line asks for it.
    pub is_wanted: bool,
    /// The highest APIC id of a CPU that is to be started.
    pub highest_id: u32,
}

impl ModeQuestion {
    /// Tells whether to use x2APIC mode. The mode that the firmware left is kept, since its own code (in system
    /// management mode) need not know the other one: x2APIC mode is never left (where it is locked, it cannot be), and
    /// is turned on only where ids need it, or on request.
    pub const fn wants_x2apic(&self) -> bool {
        let needs = !can_address(self.highest_id, false) && !self.opts_out;
        self.is_on || self.has_x2apic && (needs || self.is_wanted)
    }
}
