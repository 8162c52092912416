//! One sample: nanoseconds for each operation of a workload in one arm.
//!
//! Operations come in batches, each of which is timed by itself. With a user space that competes, user space touches its
//! pages between batches, and this is not timed: so the sample is the time that the kernel's operations take when they
//! come back to a TLB that user space has used meanwhile. All of a sample runs on one thread that is bound to one core.
//!
//! A batch takes microseconds. Those in which the CPU was given to another program are left out
//! ([`undisturbed_mean`]).

use std::time::{Duration, Instant};

use rhumb_machine::Pinned;
use rhumb_method::undisturbed_mean;

use crate::data::world::World;
use crate::error::Error;
use crate::memory::on_cpu;
use crate::rival::Rival;
use crate::workload::{Chain, Workload};

/// Operations of a batch while user space is idle, and while it competes. The clock's own time, some 50 ns for each
/// batch, is in all arms alike. User space's touches are to come often.
const BATCH: (u64, u64) = (64, 16);

/// One part of the batches in this many is run before those that count, to bring the caches to the workload.
const WARM_UP: u64 = 6;

/// Takes a sample of `batches` batches.
///
/// # Errors
/// The CPU is taken, or there is no memory for a value of the store.
pub(crate) fn sample(
    world: &mut World,
    workload: Workload,
    rival: &mut Option<Rival>,
    chain: &mut Chain,
    batches: u64,
) -> Result<f64, Error> {
    let batch = batch(rival.is_some());
    on_cpu(world, |world, pinned| {
        let mut times = vec![0.0; batches as usize];
        let warm_up = (batches.div_ceil(WARM_UP) as usize).min(times.len());
        run(world, pinned, workload, rival, chain, batch, &mut times[..warm_up])?;
        run(world, pinned, workload, rival, chain, batch, &mut times)?;
        // A clock that did not move would make a time of 0, which none is.
        Ok(undisturbed_mean(&times).unwrap_or(0.0).max(1.0) / batch as f64)
    })?
}

const fn batch(competes: bool) -> u64 {
    if competes { BATCH.1 } else { BATCH.0 }
}

/// Runs a batch for each of `times`, and writes there how many nanoseconds it took.
fn run(
    world: &mut World,
    pinned: Pinned<'_>,
    workload: Workload,
    rival: &mut Option<Rival>,
    chain: &mut Chain,
    batch: u64,
    times: &mut [f64],
) -> Result<(), Error> {
    for time in times {
        if let Some(rival) = rival {
            rival.touch();
        }
        let began = Instant::now();
        workload.run(world, pinned, chain, batch)?;
        *time = began.elapsed().as_nanos() as f64;
    }
    Ok(())
}

/// Returns how many operations a sample of `batches` batches runs while user space is idle, those that do not count
/// included.
pub(crate) const fn operations(batches: u64) -> u64 {
    (batches + batches.div_ceil(WARM_UP)) * batch(false)
}

/// Returns how many batches take about `wanted`, user space's time included. The world is used up by this: it has done
/// work that the worlds of other arms have not.
///
/// # Errors
/// As for [`sample`].
pub(crate) fn calibrate(
    world: &mut World,
    workload: Workload,
    rival: &mut Option<Rival>,
    wanted: Duration,
) -> Result<u64, Error> {
    let mut batches = 16;
    loop {
        let began = Instant::now();
        sample(world, workload, rival, &mut Chain::new(0), batches)?;
        let took = began.elapsed();
        if took * 4 >= wanted || batches > 1 << 24 {
            let scale = wanted.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return Ok(((batches as f64 * scale) as u64).max(16));
        }
        batches *= 2;
    }
}

#[cfg(test)]
mod tests;
