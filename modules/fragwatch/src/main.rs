//! `fragwatch`: watches how free memory falls to pieces, and comes together again, over time.
//!
//! Each second, and when it is asked to, it takes a sample: of each node, how much of the free memory lies in free blocks of
//! each order. The last 240 samples of each node are kept in a ring. The picture has a column for each sample and a row for
//! each order: fragmentation is seen as darkness that sinks from the upper rows to the lower ones.
#![no_std]
#![no_main]

mod picture;
mod ring;

use rhumb_module::{Arguments, Failure, Output, info, module, node_count, node_memory, now_ns};
use spin::Mutex;

use ring::{Ring, Sample};

module! {
    description: "Watches the fragmentation of free memory over time.",
    start: start,
    stop: stop,
    tick: sample, every_ms: 1000,
    commands: [{
        name: "fragwatch",
        usage: "[sample | NODE [COLUMNS]]",
        summary: "free memory by order over time, a picture",
        help: "Without a node, the first one is shown. A column is a sample, the last one on the right; samples are taken each\n\
               second while the prompt waits, and at once by 'fragwatch sample'. A row is an order; the darker, the more of\n\
               the free memory lies in free blocks of that order.",
        run: fragwatch,
    }],
}

static RING: Mutex<Option<Ring>> = Mutex::new(None);

fn start() -> Result<(), Failure> {
    let ring = Ring::new(node_count()).ok_or_else(|| Failure::new("there is no memory for its samples"))?;
    info!(
        "fragwatch: watches {} node{}, in {} bytes",
        ring.nodes(),
        if ring.nodes() == 1 { "" } else { "s" },
        ring.bytes()
    );
    *RING.lock() = Some(ring);
    sample();
    Ok(())
}

fn stop() {
    *RING.lock() = None;
}

/// Adds a sample of each node.
fn sample() {
    if let Some(ring) = &mut *RING.lock() {
        let at_ms = now_ns() / 1_000_000;
        ring.add(|node| Sample::of(at_ms, &node_memory(node).unwrap_or_default()));
    }
}

fn fragwatch(mut arguments: Arguments<'_>, out: &mut Output<'_>) -> Result<(), Failure> {
    if arguments.clone().next() == Some("sample") {
        arguments.next();
        arguments.end()?;
        sample();
        return Ok(());
    }
    let node = arguments.number("NODE")?.unwrap_or(0);
    let columns = arguments.number("COLUMNS")?.unwrap_or(60);
    arguments.end()?;
    let ring = RING.lock();
    let Some(ring) = &*ring else { return Err(Failure::new("it keeps no samples")) };
    if !(1..=ring::SAMPLES as u64).contains(&columns) {
        return Err(Failure::new(format_args!("COLUMNS is a number from 1 to {}", ring::SAMPLES)));
    }
    let node = u32::try_from(node).ok().filter(|&node| node < ring.nodes());
    let node =
        node.ok_or_else(|| Failure::new(format_args!("there are {} nodes, counted from 0", ring.nodes())))?;
    picture::draw(ring, node, columns as usize, out);
    Ok(())
}
