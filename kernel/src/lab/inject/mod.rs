//! Faults made on purpose: a check that cannot fail checks nothing.
//!
//! | module | faults | found by |
//! |---|---|---|
//! | [`tables`] | in the page tables | `maps audit` |
//! | [`objects`] | with objects | checks of object caches |
//! | `accesses` | of memory | KASAN, in kernels built with it |

#[cfg(feature = "kasan")]
mod accesses;
mod objects;
pub mod tables;

use rhumb_machine::{PhysAddr, impossible};
use rhumb_monitor::{Arguments, Candidates, Command, CommandError, Complete, Output};
use rhumb_slab::Checks;

use crate::debug::Kernel;
use crate::debug::objects::allocator;
use crate::facts::Boot;
use crate::mm::objects::checks;
use objects::Fault;
use tables::TableFault;

const TABLE_FAULTS: &[&str] = &["wx", "overlap", "device", "table", "key", "root", "wp", "none"];
/// The fault that is in no table and with no object.
const IMPOSSIBLE: &str = "impossible";

pub const COMMAND: Command<Kernel> = Command {
    name: "inject",
    usage: "FAULT",
    summary: "break a rule on purpose, to see that it is found",
    help: "Of the page tables, for 'maps audit'; one at a time, since all use the same page:\n\
           wx       kernel text, writable\n\
           overlap  a stack's frame, a second time\n\
           device   the local APIC's registers, cached\n\
           table    no page: the top page table's block of 2 MiB, writable in the direct map, where tables are protected\n\
           key      no page: the key of page tables, open on this CPU, where they have one\n\
           root     no page: an entry of the root that the kernel's half does not have\n\
           wp       no page: write protection, off on this CPU\n\
           none     takes the fault of the page tables away again\n\
           'inject impossible' reaches a place in the kernel's code that cannot be reached; it stays counted.\n\
           With an object of a checked class (boot with slab_debug=FZPU): overrun, underrun, write-after-free,\n\
           double-free, foreign-free, leak.\n\
           Where KASAN checks accesses: frame-read, frame-write and frame-copy, of a frame that has been given back;\n\
           global and stack, the byte behind one of these; scope, a variable that has gone out of scope.\n\
           Also: 'plant', 'slabs plant'.",
    complete: Complete::With(offer),
    run,
};

/// Offers the name of each fault as the only argument.
fn offer(_: &Kernel, before: Arguments<'_>, candidates: &mut Candidates<'_>) {
    if !before.is_empty() {
        return;
    }
    candidates.offer_all(TABLE_FAULTS.iter().chain([&IMPOSSIBLE]).chain(Fault::NAMES).copied());
    #[cfg(feature = "kasan")]
    candidates.offer_all(accesses::FAULTS.iter().map(|fault| fault.name));
}

fn run(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.word("fault")?;
    arguments.end()?;
    if let Some(fault) = Fault::named(name) {
        return inject_object(name, fault, out);
    }
    #[cfg(feature = "kasan")]
    if let Some(fault) = accesses::FAULTS.iter().find(|fault| fault.name == name) {
        (fault.commit)();
        return Err(CommandError::failed(format_args!("the checker let '{name}' pass")));
    }
    let fault = match name {
        "wx" => TableFault::WritableText,
        "overlap" => TableFault::SecondMapping,
        "device" => TableFault::CachedDevice(local_apic(kernel.boot)),
        "table" => TableFault::WritableTable,
        "key" => TableFault::OpenKey,
        "root" => TableFault::ChangedRoot,
        "wp" => TableFault::NoWriteProtection,
        IMPOSSIBLE => {
            impossible!("'inject' asked for it");
            return Ok(());
        }
        "none" => TableFault::Nothing,
        _ => return Err(CommandError::failed(format_args!("fault: '{name}' is none: see 'help inject'"))),
    };
    tables::inject(fault).map_err(CommandError::failed)
}

/// Returns an address that is not RAM on any PC.
fn local_apic(boot: &Boot) -> PhysAddr {
    boot.devices.first().map_or(PhysAddr::new(0xfee0_0000), |device| device.phys.start())
}

fn inject_object(name: &str, fault: Fault, out: &mut dyn Output) -> Result<(), CommandError> {
    let slabs = allocator()?;
    let noticed = objects::inject(slabs, fault).map_err(CommandError::failed)?;
    writeln!(out, "{name}: {noticed} reported");
    match (noticed, fault) {
        (0, Fault::Leak) => {
            writeln!(out, "a leak shows in 'slabs leaks', by the user that has the object");
            Ok(())
        }
        (0, _) if checks().of("kmalloc-64").has(Checks::QUARANTINE) => {
            writeln!(out, "the object is in the quarantine: it is looked at when it leaves it");
            Ok(())
        }
        (0, _) => Err(CommandError::failed("nothing was noticed")),
        _ => Ok(()),
    }
}
