//! The cost of taking memory out of a real direct map: page by page against 2 MiB at once, with and without a second
//! thread that runs. `cargo run --release -p rhumb-hosted --example native_cost`
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rhumb_hosted::native::NativeMap;
use rhumb_machine::{PageSize, PhysAddr, PhysRange};

const ROUNDS: u64 = 15;
const BLOCK: u64 = PageSize::Size2M.bytes();
const PAGE: u64 = PageSize::Size4K.bytes();

/// Median, lowest and highest of nanoseconds per page.
fn spread(mut samples: Vec<f64>) -> String {
    samples.sort_by(f64::total_cmp);
    let middle = samples[samples.len() / 2];
    format!("{middle:8.1} ns a page ({:.1} to {:.1})", samples[0], samples[samples.len() - 1])
}

/// Removes and restores block `number` in steps of `step` bytes, touching it before; returns ns per page.
fn round(map: &NativeMap, number: u64, step: u64) -> std::io::Result<f64> {
    let pieces = |step: u64| {
        (0..BLOCK / step)
            .filter_map(move |piece| PhysRange::of_length(PhysAddr::new(number * BLOCK + piece * step), step))
    };
    for page in pieces(PAGE) {
        // SAFETY: the block is mapped, and no other code uses it.
        unsafe { map.base().plus(page.start().get()).as_mut_ptr::<u64>().write_volatile(number) };
    }
    let start = Instant::now();
    for piece in pieces(step) {
        // SAFETY: no code touches the block until it is restored below.
        unsafe { map.remove(piece) }?;
    }
    for piece in pieces(step) {
        map.restore(piece)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / (BLOCK / PAGE) as f64)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let map = NativeMap::new(64 << 20)?;
    for threads in [1, 2] {
        let done = AtomicBool::new(false);
        let (mut by_page, mut by_block) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| -> std::io::Result<()> {
            for _ in 1..threads {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let result = (0..ROUNDS).try_for_each(|number| {
                by_page.push(round(&map, number, PAGE)?);
                by_block.push(round(&map, number, BLOCK)?);
                Ok(())
            });
            done.store(true, Ordering::Relaxed);
            result
        })?;
        println!("{threads} threads: remove + restore by page  {}", spread(by_page));
        println!("{threads} threads: remove + restore by block {}", spread(by_block));
    }
    Ok(())
}
