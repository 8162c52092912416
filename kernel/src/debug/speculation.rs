//! `cpus speculation`: the standing of each known problem of speculation, CPU by CPU.

use rhumb_machine::{CpuId, CpuMask};
use rhumb_monitor::Output;
use rhumb_speculation::{Decision, Mode, Problem, Standing};

use crate::arch::speculation;
use crate::cpu::area;

/// Returns each CPU that has been set up, with the decision about it.
fn decisions() -> impl Iterator<Item = (CpuId, Decision)> {
    area::all().filter_map(|area| Some((area.id(), *area.speculation.get()?)))
}

/// Returns the CPUs about which the decision is the same.
fn like(decision: Decision) -> CpuMask {
    decisions().filter(|&(_, other)| other == decision).map(|(cpu, _)| cpu).collect()
}

/// Returns each decision once, with its first CPU.
fn different() -> impl Iterator<Item = (CpuId, Decision)> {
    decisions().filter(|&(cpu, decision)| like(decision).iter().next() == Some(cpu))
}

/// Returns what a person wants, as the command line has it.
fn word() -> &'static str {
    match speculation::mode() {
        Mode::Auto => "auto",
        Mode::Off => "off",
    }
}

/// Writes a line for each kind of CPU: whether programs run, and how many problems are handled, and how many open.
pub(super) fn write_summary(out: &mut dyn Output) {
    for (cpu, decision) in different() {
        let count = |matches: fn(Standing) -> bool| {
            Problem::ALL.into_iter().filter(|&problem| matches(decision.of(problem))).count()
        };
        let open = count(Standing::is_open);
        let handled = count(|standing| !standing.is_open() && !matches!(standing, Standing::NotAffected(_)));
        write!(out, "speculation (mitigations={}): {}, ", word(), decision.programs);
        writeln!(out, "{handled} problems handled, {open} open{}", Of(cpu, decision));
    }
}

/// Writes all of it.
pub(super) fn write(out: &mut dyn Output) {
    for (cpu, decision) in different() {
        writeln!(out, "mitigations={}: {}{}", word(), decision.programs, Of(cpu, decision));
        for problem in Problem::ALL {
            writeln!(out, "  {problem:22}  {}", decision.of(problem));
        }
        let measures = decision.measures;
        if measures.stibp {
            writeln!(out, "  threads of a core do not train each other's branches (STIBP)");
        }
        if measures.ibpb_between_programs {
            writeln!(out, "  what branches were trained to is forgotten between programs (IBPB)");
        }
    }
}

/// ", on every CPU", or the first CPU and how many more there are.
struct Of(CpuId, Decision);

impl core::fmt::Display for Of {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (alike, all) = (like(self.1).len(), decisions().count());
        match alike {
            _ if alike == all => f.write_str(", on every CPU"),
            1 => write!(f, ", on CPU {}", self.0),
            _ => write!(f, ", on CPU {} and {} more", self.0, alike - 1),
        }
    }
}
