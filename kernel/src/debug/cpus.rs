//! Commands about CPUs and time: `cpus`, `cpuid`, `uptime`.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::Counted;
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Output, Table};

use super::{Kernel, speculation};
use crate::arch::apic;
use crate::arch::control::Controls;
use crate::arch::features::features;
use crate::cpu::{self, area, clock, controls};
use crate::mm::protect;

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "cpus",
        usage: "[speculation]",
        summary: "the CPUs that run, and their interrupts",
        help: "'cpus speculation' lists the known ways in which a CPU that works ahead of its turn leaks memory, and the\n\
               state of each on the CPUs of this machine (docs/speculation.md).",
        complete: Complete::Words(&["speculation"]),
        run: cpus,
    },
    Command {
        name: "cpuid",
        usage: "[LEAF [SUBLEAF]]",
        summary: "what the boot CPU is and can do",
        help: "Without arguments: vendor, model, and the features that Rhumb uses. With LEAF: the four registers of that\n\
               leaf, to be read with the manual. LEAF and SUBLEAF are hexadecimal, with 0x or without.",
        complete: Complete::Nothing,
        run: cpuid,
    },
    Command {
        name: "uptime",
        usage: "",
        summary: "time since boot",
        help: "",
        complete: Complete::Nothing,
        run: uptime,
    },
];

const CPU_COLUMNS: &[Column] = &[
    Column::right("cpu", 3),
    Column::left("state", 6),
    Column::right("apic", 4),
    Column::right("node", 4),
    Column::right("timer", 8),
    Column::right("device", 8),
    Column::right("call", 8),
    Column::right("served", 8),
    Column::right("sent", 8),
];

fn cpus(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let is_about_speculation = arguments.optional(|words| words.one_of("what", &["speculation"]))?.is_some();
    arguments.end()?;
    if is_about_speculation {
        speculation::write(out);
        return Ok(());
    }
    let mut table = Table::new(out, CPU_COLUMNS);
    let online = cpu::online();
    for area in area::all().filter(|area| online.contains(area.id())) {
        let counters = &area.counters;
        table.row(&[
            &area.id(),
            &"online",
            &area.apic_id.load(Relaxed),
            &area.node(),
            &counters.timer_interrupts.get(),
            &counters.device_interrupts.get(),
            &counters.call_interrupts.get(),
            &counters.calls_served.get(),
            &counters.calls_sent.get(),
        ]);
    }
    controls::note_all();
    let noted = || controls::noted();
    let mine = Controls::read();
    if noted().all(|(_, controls)| controls == mine) {
        writeln!(out, "protections: {mine}, on every CPU");
    } else {
        for (cpu, controls) in noted() {
            let Controls { cr0, cr4, efer } = controls;
            writeln!(
                out,
                "protections of CPU {cpu}: {controls} (cr0 {cr0:#x}, cr4 {cr4:#x}, efer {efer:#x})"
            );
        }
    }
    speculation::write_summary(out);
    writeln!(out, "{}", protect::Status);
    writeln!(out, "local APICs: {}", if apic::is_x2apic() { "x2APIC" } else { "xAPIC" });
    if cpu::start::parked() > 0 {
        let verb = if cpu::start::parked() == 1 {
            "does not take part, and is parked"
        } else {
            "do not take part, and are parked"
        };
        writeln!(out, "{} more {verb}", cpu::start::parked());
    }
    Ok(())
}

fn cpuid(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let leaf = arguments.optional(|words| words.hexadecimal_to("leaf", u64::from(u32::MAX)))?;
    let subleaf = arguments.optional(|words| words.hexadecimal_to("subleaf", u64::from(u32::MAX)))?;
    arguments.end()?;
    if let Some(leaf) = leaf {
        let (leaf, subleaf) = (leaf as u32, subleaf.unwrap_or(0) as u32);
        // The first leaf of a group (basic, hypervisor's, extended) says which is its last.
        let last = __cpuid_count(leaf & 0xf000_0000, 0).eax;
        if leaf > last {
            let text = format_args!("leaf {leaf:#x} is past the last one that this CPU has there, {last:#x}");
            return Err(CommandError::failed(text));
        }
        let r = __cpuid_count(leaf, subleaf);
        write!(out, "leaf {leaf:#x}, subleaf {subleaf:#x}: ");
        writeln!(out, "eax {:#010x}  ebx {:#010x}  ecx {:#010x}  edx {:#010x}", r.eax, r.ebx, r.ecx, r.edx);
        return Ok(());
    }
    let signature = __cpuid_count(1, 0).eax;
    let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf | signature >> 12 & 0xf0);
    let family = if family == 0xf { family + (signature >> 20 & 0xff) } else { family };
    writeln!(out, "vendor    {}", Registers([0x0000_0000], vendor));
    writeln!(out, "model     {}", Registers([0x8000_0002, 0x8000_0003, 0x8000_0004], whole));
    writeln!(out, "family    {family}, model {model}, stepping {}", signature & 0xf);
    writeln!(out, "addresses {} bits physical", features().physical_bits);
    let f = features();
    write!(out, "features ");
    for (there, name) in [
        (f.huge_pages, "pdpe1gb"),
        (f.global_pages, "pge"),
        (f.five_levels, "la57"),
        (f.pcid, "pcid"),
        (f.invpcid, "invpcid"),
        (f.smep, "smep"),
        (f.smap, "smap"),
        (f.umip, "umip"),
        (f.pks, "pks"),
        (f.x2apic, "x2apic"),
        (f.tsc_deadline, "tsc_deadline"),
        (f.invariant_tsc, "invariant_tsc"),
    ] {
        if there {
            write!(out, " {name}");
        }
    }
    writeln!(out);
    Ok(())
}

/// The text in the registers of some CPUID leaves.
struct Registers<const N: usize>([u32; N], fn(core::arch::x86_64::CpuidResult) -> [u32; 4]);

fn vendor(r: core::arch::x86_64::CpuidResult) -> [u32; 4] {
    [r.ebx, r.edx, r.ecx, 0]
}

fn whole(r: core::arch::x86_64::CpuidResult) -> [u32; 4] {
    [r.eax, r.ebx, r.ecx, r.edx]
}

impl<const N: usize> core::fmt::Display for Registers<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        let bytes =
            self.0.iter().flat_map(|&leaf| (self.1)(__cpuid_count(leaf, 0))).flat_map(u32::to_le_bytes);
        bytes.take_while(|&byte| byte != 0).try_for_each(|byte| f.write_char(char::from(byte)))
    }
}

fn uptime(_: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let seconds = clock::now_ns() / 1_000_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    write!(out, "up ");
    if days > 0 {
        write!(out, "{}, ", Counted(days, "day"));
    }
    let cpus = cpu::online_count();
    writeln!(out, "{hours}:{minutes:02}:{:02}, {}", seconds % 60, Counted(cpus, "CPU"));
    Ok(())
}
