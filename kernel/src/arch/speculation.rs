//! Speculation: the facts of this CPU, and the measures that are bits of its registers.
//!
//! The decision is [`rhumb_speculation`]'s. Measures that lie in the kernel's code are chosen by the boot CPU's facts, and
//! put in by boot ([`super::patch`]); a CPU that needs more than these refuses programs. Each CPU sets its own registers.
//!
//! Source: Intel SDM volume 4, table 2-2 (IA32_SPEC_CTRL, IA32_ARCH_CAPABILITIES).

use core::arch::x86_64::__cpuid_count;

use rhumb_speculation::{Decision, Facts, Measures, Mode, Registers, decide};
use spin::Once;
use x86_64::registers::model_specific::Msr;

const IA32_SPEC_CTRL: u32 = 0x48;
const IA32_ARCH_CAPABILITIES: u32 = 0x10a;

/// The CPU on which this runs.
struct ThisCpu;

impl Registers for ThisCpu {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let r = __cpuid_count(leaf, subleaf);
        [r.eax, r.ebx, r.ecx, r.edx]
    }

    fn arch_capabilities(&self) -> u64 {
        // SAFETY: asked only where CPUID has the register, and a read has no effect.
        unsafe { Msr::new(IA32_ARCH_CAPABILITIES).read() }
    }
}

/// The wish of a person, and the measures that the boot CPU needs in the kernel's code.
static CHOSEN: Once<(Mode, Measures)> = Once::new();

/// Chooses the measures in the kernel's code. Once, by boot, on the boot CPU.
pub fn choose(mode: Mode) -> Measures {
    CHOSEN.call_once(|| (mode, decide(&Facts::read(&ThisCpu), mode).measures.in_code())).1
}

/// Returns the wish of a person.
pub fn mode() -> Mode {
    CHOSEN.get().map_or(Mode::Auto, |chosen| chosen.0)
}

/// Returns the decision about the CPU on which this runs.
///
/// Cost: a dozen CPUID instructions, each of which leaves a virtual machine.
pub fn decision() -> Decision {
    let (mode, built_in) = CHOSEN.get().copied().unwrap_or_default();
    decide(&Facts::read(&ThisCpu), mode).with_code(built_in)
}

/// Takes the measures in IA32_SPEC_CTRL on the CPU that has this decision.
pub fn take(measures: &Measures) {
    let value = measures.spec_ctrl();
    if value != 0 {
        // SAFETY: the CPU has the register and these bits, because the decision takes only what it has; they change what
        // it predicts, and nothing that it computes.
        unsafe { Msr::new(IA32_SPEC_CTRL).write(value) };
    }
}

/// Tells whether this CPU's IA32_SPEC_CTRL has all that the measures say.
#[cfg(feature = "lab")]
pub fn is_taken(measures: &Measures) -> bool {
    let value = measures.spec_ctrl();
    // SAFETY: the CPU has the register where the decision takes a bit of it; a read has no effect.
    value == 0 || unsafe { Msr::new(IA32_SPEC_CTRL).read() } & value == value
}
