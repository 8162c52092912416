//! x86-64: registers, and nothing of this kernel.
//!
//! | module | owns |
//! |---|---|
//! | [`features`], [`quirks`] | what a CPU can do, and what it does not keep of that |
//! | [`requirements`] | what it must be able to do |
//! | [`control`], [`pkrs`] | control registers; the register of protection keys |
//! | [`speculation`] | what speculation leaks here, and the registers that stop it |
//! | [`halt`] | halting a CPU |
//! | [`gdt`], [`idt`] | segments and interrupt stacks; the table of traps and its stubs |
//! | [`gs`] | where assembly finds a CPU's own words |
//! | [`fixup`], [`patch`] | accesses that may fault; code that boot completes |
//! | [`apic`], [`ioapic`], [`pic`] | interrupt controllers |
//! | [`mce`], [`mtrr`] | machine checks; how memory is cached |
//! | [`switch`] | stacks of threads, and going from one to another |
//! | [`tsc`] | the time-stamp counter |
//! | [`pci`], [`uart`] | devices |
//! | [`entropy`] | random numbers |

pub mod apic;
pub mod control;
pub mod entropy;
pub mod features;
pub mod fixup;
pub mod gdt;
pub mod gs;
pub mod halt;
pub mod idt;
pub mod ioapic;
pub mod mce;
pub mod mtrr;
pub mod patch;
pub mod pci;
pub mod pic;
pub mod pkrs;
pub mod quirks;
pub mod requirements;
pub mod speculation;
pub mod switch;
pub mod tsc;
pub mod uart;
