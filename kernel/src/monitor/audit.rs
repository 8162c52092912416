//! `maps audit`, and `plant`, which gives it something to find.

use arrayvec::ArrayVec;
use rhumb_bootinfo::memory_map::MAX_REGIONS;
use rhumb_machine::{Counted, PhysAddr, PhysRange, impossible};
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};
use rhumb_pagetable::{Audit, AuditSummary, DirectMapRule, Finding, Root};

use super::Kernel;
use crate::boot::Boot;
use crate::mm::direct_map::is_held_executable;
use crate::mm::plant::{self, Plant};
use crate::mm::{layout, protect, tables};

const PLANTS: &[&str] = &["wx", "overlap", "device", "table", "key", "impossible", "none"];

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "plant",
    usage: "wx|overlap|device|table|key|impossible|none",
    summary: "break a rule of the page tables on purpose",
    help: "Maps one page behind the kernel's back, so that 'maps audit' can be seen to fail:\n\
           wx          kernel text, writable\n\
           overlap     a stack's frame, a second time\n\
           device      the local APIC's registers, cached\n\
           table       no page: the top page table's block of 2 MiB, writable in the direct map, where tables are protected\n\
           key         no page: the key of page tables, open on this CPU, where they have one\n\
           impossible  no page: a place in the kernel's code that cannot be reached is; it stays counted\n\
           none        takes it away again\n\
           One page can be planted at a time: a second one takes the place of the first.",
    complete: Complete::Words(PLANTS),
    run: plant_command,
}];

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
        direct_map: Some(DirectMapRule { window: layout::direct_map(), base: boot.direct_map.base }),
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
    let findings = summary.findings + flaws + impossible;
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

fn plant_command(
    kernel: &mut Kernel,
    mut arguments: Arguments<'_>,
    _: &mut dyn Output,
) -> Result<(), CommandError> {
    let what = arguments.one_of("what", PLANTS)?;
    arguments.end()?;
    let plant = match what {
        "wx" => Plant::WritableText,
        "overlap" => Plant::SecondMapping,
        "device" => Plant::CachedDevice(local_apic(kernel.boot)),
        "table" => Plant::WritableTable,
        "key" => Plant::OpenKey,
        "impossible" => {
            impossible!("'plant' asked for it");
            return Ok(());
        }
        _ => Plant::Nothing,
    };
    plant::plant(plant).map_err(CommandError::failed)
}

/// Some address that is not RAM on any PC.
fn local_apic(boot: &Boot) -> PhysAddr {
    boot.devices.first().map_or(PhysAddr::new(0xfee0_0000), |device| device.phys.start())
}
