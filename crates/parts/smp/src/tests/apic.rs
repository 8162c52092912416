//! The set-up of a local APIC, on a model of one.

use std::collections::BTreeMap;
use std::vec::Vec;

use crate::apic::{
    Input, MASKED, ModeQuestion, Register, Registers, SOFTWARE_ENABLE, Vectors, can_address, set_up,
    take_errors,
};

const VECTORS: Vectors = Vectors { timer: 0xf0, error: 0xfe, spurious: 0xff };
const ENTRIES: [Register; 7] = [
    Register::CorrectedErrors,
    Register::TimerVector,
    Register::ThermalVector,
    Register::PerformanceVector,
    Register::Input0,
    Register::Input1,
    Register::ErrorVector,
];
const ILLEGAL_VECTOR: u32 = 1 << 6;

/// An APIC that does as the manual says: disabled by software it keeps every entry masked; a vector below 16 is an
/// error; errors are latched by a write.
struct Model {
    values: BTreeMap<Register, u32>,
    pending: u32,
    last_entry: u32,
    errors_told: u32,
}

impl Model {
    /// After INIT.
    fn after_init(last_entry: u32) -> Self {
        let values = ENTRIES.into_iter().map(|entry| (entry, MASKED)).collect();
        Self { values, pending: 0, last_entry, errors_told: 0 }
    }

    fn value(&self, register: Register) -> u32 {
        self.values.get(&register).copied().unwrap_or(0)
    }

    fn is_enabled(&self) -> bool {
        self.value(Register::Spurious) & SOFTWARE_ENABLE != 0
    }

    /// An error while its interrupt is on is told.
    fn raise(&mut self, error: u32) {
        self.pending |= error;
        if self.value(Register::ErrorVector) & MASKED == 0 {
            self.errors_told += 1;
        }
    }
}

impl Registers for Model {
    fn read(&mut self, register: Register) -> u32 {
        match register {
            Register::Version => self.last_entry << 16 | 0x14,
            register => self.value(register),
        }
    }

    fn write(&mut self, register: Register, mut value: u32) {
        if register == Register::ErrorStatus {
            value = core::mem::take(&mut self.pending);
        } else if ENTRIES.contains(&register) {
            if !self.is_enabled() {
                value |= MASKED;
            }
            let (mode, vector) = (value >> 8 & 7, value & 0xff);
            if mode == 0 && vector < 16 {
                self.raise(ILLEGAL_VECTOR);
            }
        }
        self.values.insert(register, value);
    }
}

fn both_unused() -> [Input; 2] {
    [Input::Unused; 2]
}

#[test]
fn errors_are_told_after_init() {
    let mut apic = Model::after_init(6);
    // The firmware left one.
    apic.pending = 1 << 5;
    set_up(&mut apic, VECTORS, both_unused());
    assert!(apic.is_enabled());
    assert_eq!(apic.value(Register::ErrorVector), 0xfe, "the interrupt of errors is on");
    assert_eq!(apic.errors_told, 0, "setting up is no error itself");
    assert_eq!(take_errors(&mut apic), 0, "what was there before is gone");
    apic.raise(1 << 7);
    assert_eq!((apic.errors_told, take_errors(&mut apic)), (1, 1 << 7));
}

#[test]
fn unused_entries_are_masked_with_a_vector_that_is_legal() {
    for last_entry in 3..=6 {
        let mut apic = Model::after_init(last_entry);
        set_up(&mut apic, VECTORS, both_unused());
        let touched: Vec<_> = ENTRIES.into_iter().filter(|&entry| apic.value(entry) & 0xff >= 16).collect();
        assert_eq!(touched.len() as u32, last_entry + 1, "{touched:?}");
        for entry in touched {
            assert_eq!(apic.value(entry) & MASKED == 0, entry == Register::ErrorVector, "{entry:?}");
        }
    }
}

#[test]
fn non_maskable_interrupts_come_where_the_firmware_wires_them() {
    let mut apic = Model::after_init(6);
    set_up(&mut apic, VECTORS, [Input::Nmi { active_low: true }, Input::Nmi { active_low: false }]);
    assert_eq!(apic.value(Register::Input0), 4 << 8 | 1 << 13);
    assert_eq!(apic.value(Register::Input1), 4 << 8);
}

#[test]
fn what_the_firmware_takes_by_smi_is_left_alone() {
    let mut apic = Model::after_init(6);
    apic.values.insert(Register::ThermalVector, 2 << 8);
    set_up(&mut apic, VECTORS, both_unused());
    assert_eq!(apic.value(Register::ThermalVector), 2 << 8);
}

#[test]
fn ids_of_all_ones_address_everybody() {
    assert!(can_address(0xfe, false) && !can_address(0xff, false) && !can_address(0x100, false));
    assert!(can_address(0xff, true) && can_address(u32::MAX - 1, true) && !can_address(u32::MAX, true));
}

#[test]
fn the_mode_that_the_firmware_left_is_kept() {
    let pc =
        ModeQuestion { has_x2apic: true, is_on: false, opts_out: false, is_wanted: false, highest_id: 0xfe };
    assert!(!pc.wants_x2apic());
    assert!(ModeQuestion { is_on: true, ..pc }.wants_x2apic());
    assert!(ModeQuestion { is_on: true, opts_out: true, ..pc }.wants_x2apic(), "it may be locked");
    assert!(ModeQuestion { is_wanted: true, ..pc }.wants_x2apic());
    let many = ModeQuestion { highest_id: 0xff, ..pc };
    assert!(many.wants_x2apic());
    assert!(!ModeQuestion { opts_out: true, ..many }.wants_x2apic());
    assert!(!ModeQuestion { has_x2apic: false, is_wanted: true, ..many }.wants_x2apic());
}
