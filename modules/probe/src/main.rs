//! `probe`: a module for the tests of the kernel. Its commands do all that a module can do.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rhumb_module::alloc::vec::Vec;
use rhumb_module::{ANY_NODE, Arguments, Block, Failure, Hold, Output, info, module, now_ns};

module! {
    description: "For the tests of the kernel.",
    start: start,
    stop: stop,
    tick: tick, every_ms: 1,
    commands: [{
        name: "probe",
        usage: "DEED",
        summary: "all that a module can do",
        help: "hold, release: counts a use; cheat: releases one that it does not have; alloc: uses frames\n\
               and objects; greed: takes all blocks, on a machine with 256 MiB or more; data: what its statics hold; ticks; fail; panic.",
        run: probe,
    }],
}

/// A thing that the module can be told to do.
type Deed = fn(&mut Output<'_>) -> Result<(), Failure>;

/// Holds that commands have made and not yet released.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
/// Initialised data: it must be so in each module that is loaded.
static ANSWER: AtomicU64 = AtomicU64::new(42);
static TICKS: AtomicU64 = AtomicU64::new(0);
/// Data that is read-only once the loader has put addresses into it.
static DEEDS: [(&str, Deed); 9] = [
    ("hold", hold),
    ("release", release),
    ("cheat", cheat),
    ("alloc", alloc),
    ("greed", greed),
    ("data", data),
    ("ticks", ticks),
    ("fail", |_| Err(Failure::new("as it was told to"))),
    ("panic", |_| panic!("the probe was told to panic at {} ns", now_ns().min(1))),
];

fn start() -> Result<(), Failure> {
    info!("probe: started");
    Ok(())
}

fn stop() {
    info!("probe: stopped");
}

fn tick() {
    TICKS.fetch_add(1, Relaxed);
}

fn probe(mut arguments: Arguments<'_>, out: &mut Output<'_>) -> Result<(), Failure> {
    let name = arguments.next().unwrap_or_default();
    arguments.end()?;
    let deed = DEEDS.iter().find(|(other, _)| *other == name);
    let (_, deed) = deed.ok_or_else(|| Failure::new(format_args!("'{name}' is no deed of its")))?;
    deed(out)
}

fn hold(out: &mut Output<'_>) -> Result<(), Failure> {
    let hold = Hold::new().ok_or_else(|| Failure::new("the module is being unloaded"))?;
    // Its use is released by another command.
    core::mem::forget(hold);
    out.line(format_args!("{} holds", HOLDS.fetch_add(1, Relaxed) + 1));
    Ok(())
}

fn release(out: &mut Output<'_>) -> Result<(), Failure> {
    let left = HOLDS.load(Relaxed).checked_sub(1).ok_or_else(|| Failure::new("there is no hold"))?;
    HOLDS.store(left, Relaxed);
    drop(Hold::forgotten());
    out.line(format_args!("{left} holds"));
    Ok(())
}

/// Releases a use that it has not counted. The kernel's own count of this command is to stay as it is.
fn cheat(_: &mut Output<'_>) -> Result<(), Failure> {
    drop(Hold::forgotten());
    Ok(())
}

/// Uses a block of each order that there is, and objects, and gives all of it back.
fn alloc(out: &mut Output<'_>) -> Result<(), Failure> {
    let mut blocks: Vec<Block> = Vec::new();
    for order in 0..=9 {
        let mut block = Block::new(order, ANY_NODE).ok_or_else(|| Failure::new("no memory"))?;
        let words = block.words();
        words.fill(u64::from(order));
        if words.iter().any(|&word| word != u64::from(order)) {
            return Err(Failure::new("memory does not keep what is written"));
        }
        blocks.try_reserve(1).map_err(|_| Failure::new("no memory for a list"))?;
        blocks.push(block);
    }
    let wrong = [Block::new(11, ANY_NODE), Block::new(u32::MAX, ANY_NODE), Block::new(0, 1 << 20)];
    if wrong.iter().any(Option::is_some) {
        return Err(Failure::new("a block of no order, or of no node"));
    }
    out.line(format_args!("{} blocks", blocks.len()));
    Ok(())
}

/// Takes all blocks that the kernel gives away. There is memory left for the kernel itself, of which objects are made here.
fn greed(out: &mut Output<'_>) -> Result<(), Failure> {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = (4 << 20) / PIECE;
    let mut blocks: Vec<Block> = Vec::new();
    for order in (0..=10).rev() {
        loop {
            blocks.try_reserve(1).map_err(|_| Failure::new("no memory for a list"))?;
            let Some(block) = Block::new(order, ANY_NODE) else { break };
            blocks.push(block);
        }
    }
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    pieces.try_reserve_exact(PIECES).map_err(|_| Failure::new("no memory for a list"))?;
    while pieces.len() < PIECES {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() {
            return Err(Failure::new(format_args!(
                "{} pieces of 64 KiB are left to the kernel",
                pieces.len()
            )));
        }
        pieces.push(piece);
    }
    out.line(format_args!("{} blocks, and 4 MiB for the kernel", blocks.len()));
    Ok(())
}

fn data(out: &mut Output<'_>) -> Result<(), Failure> {
    out.line(format_args!(
        "answer {}, holds {}",
        black_box(&ANSWER).fetch_add(1, Relaxed),
        HOLDS.load(Relaxed)
    ));
    Ok(())
}

fn ticks(out: &mut Output<'_>) -> Result<(), Failure> {
    out.line(format_args!("{} ticks", TICKS.load(Relaxed)));
    Ok(())
}
