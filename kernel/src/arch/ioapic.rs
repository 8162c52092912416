//! The I/O APIC: routes a device's interrupt line to a CPU.
//!
//! Rhumb takes the console's line and those of non-maskable interrupts; all others are masked. Source: Intel 82093AA
//! data sheet, 3.0 to 3.2.

use rhumb_machine::VirtAddr;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const VERSION: u32 = 0x01;
const TABLE: u32 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
const DELIVERY_MODE: u32 = 7 << 8;
const DELIVER_SMI: u32 = 2 << 8;
const DELIVER_NMI: u32 = 4 << 8;

/// How a line signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// The line's number on all I/O APICs together (global system interrupt).
    pub gsi: u32,
    /// Active low rather than high.
    pub active_low: bool,
    /// By level rather than by edge.
    pub level_triggered: bool,
}

/// One I/O APIC, mapped uncached.
#[derive(Clone, Copy, Debug)]
pub struct IoApic {
    registers: VirtAddr,
    first_gsi: u32,
}

impl IoApic {
    /// Returns the I/O APIC whose registers are at `registers` and whose first line is `first_gsi`.
    ///
    /// # Safety
    /// `registers` is an uncached mapping of an I/O APIC's page that stays, and no other code uses it.
    pub const unsafe fn new(registers: VirtAddr, first_gsi: u32) -> Self {
        Self { registers, first_gsi }
    }

    fn read(&mut self, index: u32) -> u32 {
        // SAFETY: by `new`; the two registers are 32 bits wide, and `&mut self` keeps select and read together.
        unsafe {
            self.registers.plus(SELECT).as_mut_ptr::<u32>().write_volatile(index);
            self.registers.plus(WINDOW).as_ptr::<u32>().read_volatile()
        }
    }

    fn write(&mut self, index: u32, value: u32) {
        // SAFETY: the registers are an I/O APIC's, and this value's alone, by the promise to `new`; `&mut self` keeps
        // select and write together.
        unsafe {
            self.registers.plus(SELECT).as_mut_ptr::<u32>().write_volatile(index);
            self.registers.plus(WINDOW).as_mut_ptr::<u32>().write_volatile(value);
        }
    }

    /// Returns how many lines it has.
    pub fn lines(&mut self) -> u32 {
        (self.read(VERSION) >> 16 & 0xff) + 1
    }

    /// Tells whether `gsi` is one of its lines.
    pub fn serves(&mut self, gsi: u32) -> bool {
        gsi.checked_sub(self.first_gsi).is_some_and(|line| line < self.lines())
    }

    /// Masks every line but those that the firmware takes for itself, by SMI.
    pub fn mask_all(&mut self) {
        for line in 0..self.lines() {
            if self.read(TABLE + 2 * line) & DELIVERY_MODE != DELIVER_SMI {
                self.write(TABLE + 2 * line, MASKED);
            }
        }
    }

    /// Sends `line` to the CPU with this APIC id as a non-maskable interrupt.
    pub fn route_nmi(&mut self, line: Line, apic_id: u8) {
        self.set(line, DELIVER_NMI, apic_id);
    }

    /// Sends `line` to the CPU with this APIC id, as `vector`.
    pub fn route(&mut self, line: Line, vector: u8, apic_id: u8) {
        self.set(line, u32::from(vector), apic_id);
    }

    fn set(&mut self, line: Line, mut low: u32, apic_id: u8) {
        let index = TABLE + 2 * (line.gsi - self.first_gsi);
        if line.active_low {
            low |= ACTIVE_LOW;
        }
        if line.level_triggered {
            low |= LEVEL_TRIGGERED;
        }
        self.write(index, MASKED);
        self.write(index + 1, u32::from(apic_id) << 24);
        self.write(index, low);
    }
}
