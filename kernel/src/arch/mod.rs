//! x86-64: everything that names a register.

pub mod apic;
pub mod clock;
pub mod cpu;
pub mod entropy;
pub mod gdt;
pub mod idt;
pub mod ioapic;
pub mod mce;
pub mod mtrr;
pub mod pci;
pub mod percpu;
pub mod pic;
pub mod pkrs;
pub mod probe;
pub mod provoke;
pub mod quirks;
pub mod uart;
