//! `maps audit`.

use arrayvec::ArrayVec;
use rhumb_bootinfo::memory_map::MAX_REGIONS;
use rhumb_machine::{Counted, PhysRange, impossible};
use rhumb_monitor::{CommandError, Output};
use rhumb_pagetable::{Audit, AuditSummary, DirectMapRule, Finding, Root};

use super::Kernel;
use crate::cpu::controls;
use crate::facts::Boot;
use crate::layout;
use crate::mm::direct_map::is_held_executable;
use crate::mm::{kernel_half, protect, tables};

/// Goes through all tables and hands each finding to `report`. Executable in the direct map is none where a hold says
/// so: the rule about writable aliases counts for it as for all that is executable.
pub fn audit(boot: &Boot, mut report: impl FnMut(Finding)) -> AuditSummary {
    let mut declared = 0;
    let mut summary = run_audit(boot, |finding| match finding {
        Finding::ExecutableDirectMap { span }
            if !span.permissions.writable && is_held_executable(span.phys_range().whole_frames()) =>
        {
            declared += 1;
        }
        other => report(other),
    });
    summary.findings -= declared;
    summary
}

fn run_audit(boot: &Boot, report: impl FnMut(Finding)) -> AuditSummary {
    let ram: ArrayVec<PhysRange, MAX_REGIONS> = boot.memory.lock().ram().collect();
    let roots: ArrayVec<Root, 2> =
        [Some(tables::root()), tables::trampoline_root()].into_iter().flatten().collect();
    Audit {
        roots: &roots,
        ram: ram.iter().copied(),
        direct_map: Some(DirectMapRule { range: layout::direct_map(), base: boot.direct_map.base }),
        aliases: &[],
    }
    .run(tables::reader(), report)
}

/// `maps audit`.
pub fn run(kernel: &Kernel, out: &mut dyn Output) -> Result<(), CommandError> {
    let summary = audit(kernel.boot, |finding| writeln!(out, "audit: {finding}"));
    let impossible = impossible::count();
    if impossible > 0 {
        writeln!(out, "audit: {}: see 'dmesg'", Counted(impossible, "impossible step"));
    }
    let flaws = protect::audit::run(|flaw| writeln!(out, "audit: {flaw}"));
    let changes = kernel_half::audit(|change| writeln!(out, "audit: {change}"));
    let mut strays = 0;
    for stray in controls::strays() {
        strays += 1;
        writeln!(out, "audit: {stray}");
    }
    let findings = summary.findings + flaws + changes + strays + impossible;
    writeln!(
        out,
        "audit: {} in {}, {} of them in the direct map: {}",
        Counted(summary.pages.pages(), "page"),
        Counted(summary.spans, "span"),
        summary.direct_map_pages.pages(),
        Verdict(findings)
    );
    if findings > 0 {
        return Err(CommandError::failed(format_args!("the audit found {}", Verdict(findings))));
    }
    Ok(())
}

struct Verdict(u64);

impl core::fmt::Display for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            0 => f.write_str("sound"),
            1 => f.write_str("1 broken rule"),
            many => write!(f, "{many} broken rules"),
        }
    }
}
