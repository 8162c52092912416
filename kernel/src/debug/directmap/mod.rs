//! The command `directmap`: a picture of the direct map, and changes of it by hand.

mod age;
mod journal;
mod picture;
pub mod pool;
mod set;
pub mod shape;

use arrayvec::ArrayVec;
use rhumb_bootinfo::memory_map::MAX_REGIONS;
use rhumb_machine::{PhysAddr, PhysRange};
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use crate::facts::Boot;

const WORDS: &[&str] = &["set", "restore", "why", "owners", "journal", "age", "heal", "pool"];

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "directmap",
    usage: "[set RANGE ATTR|restore RANGE|all|why ADDRESS|owners|journal|age HOW|heal|pool ...]",
    summary: "the direct map: a picture of it, changes, and their owners",
    help: "Without a word: all RAM, a character for each block, by page size and permission.\n\
           set RANGE ATTR   takes free frames and changes how they are mapped: ro rw rox x nx np p uc wc wt wb default.\n\
           \x20                RANGE is START..END or START+SIZE in physical addresses, or frames:START..END.\n\
           restore RANGE    restores all ranges within RANGE, each as it was set; 'restore all' everywhere.\n\
           why ADDRESS      why the page there is as it is; an address of the direct map, or phys:ADDRESS.\n\
           owners, journal  totals of each owner; each split page with reason, place in the source, CPU and time.\n\
           age HOW          splits 2-MiB pages on purpose: full (all), 1-in-N, or random:SEED (half of them).\n\
           heal             restores all that was set or aged, and fails unless the map is then what boot made, bit for bit.\n\
           pool             frames out of the map by whole blocks, by owner. 'pool grow 1G' takes 1 GiB\n\
           \x20                in advance, 'pool take N' and 'give' frames by hand; 'pool shrink' gives back what is wholly free.",
    complete: Complete::Words(WORDS),
    run,
}];

fn run(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    match arguments.optional(|words| words.one_of("what", WORDS))? {
        None => picture::picture(kernel.boot, out),
        Some("set") => set::set(arguments, out),
        Some("restore") => set::restore(arguments, out),
        Some("why") => journal::why(arguments, out),
        Some("owners") => journal::owners(arguments, out),
        Some("journal") => journal::journal(arguments, out),
        Some("age") => age::age(kernel.boot, arguments, out),
        Some("pool") => pool::run(arguments, out),
        _ => age::heal(kernel.boot, arguments, out),
    }
}

/// Returns the RAM in the direct map.
fn mapped_ram(boot: &Boot) -> ArrayVec<PhysRange, MAX_REGIONS> {
    let limit = boot.options.direct_map_limit_bytes.unwrap_or(u64::MAX);
    let below = PhysRange::below(PhysAddr::new(limit));
    let map = boot.memory.lock();
    map.ram().map(|ram| ram.intersection(below)).filter(|ram| !ram.is_empty()).collect()
}
