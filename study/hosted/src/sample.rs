//! One sample: nanoseconds for each operation of a workload in one arm.
//!
//! With a user space that competes, the operations come in batches. Only the batches are timed, and user space touches
//! its pages between them: so the sample is what the kernel's operations take when they come back to a TLB that user
//! space has used meanwhile. All of a sample runs on one thread that is bound to one core.

use std::time::{Duration, Instant};

use crate::data::world::World;
use crate::error::Error;
use crate::memory::on_cpu;
use crate::rival::Rival;
use crate::workload::{Chain, Workload};

/// Operations of a batch: enough that the clock's own time, some 25 ns, does not matter.
const BATCH: u64 = 16;

/// One part of the batches in this many is run before the clock starts, to bring the caches to the workload.
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
    on_cpu(world, |world, pinned| {
        let mut run = |batches: u64| match rival {
            None => {
                let began = Instant::now();
                workload.run(world, pinned, chain, batches * BATCH)?;
                Ok(began.elapsed())
            }
            Some(rival) => {
                let mut spent = Duration::ZERO;
                for _ in 0..batches {
                    rival.touch();
                    let began = Instant::now();
                    workload.run(world, pinned, chain, BATCH)?;
                    spent += began.elapsed();
                }
                Ok::<_, Error>(spent)
            }
        };
        run(batches.div_ceil(WARM_UP))?;
        let spent = run(batches)?;
        // A clock that did not move would make a sample of 0, which no time is.
        Ok(spent.as_secs_f64().max(1e-9) * 1e9 / (batches * BATCH) as f64)
    })?
}

/// Returns how many operations a sample of `batches` batches runs, those before the clock starts included.
pub(crate) const fn operations(batches: u64) -> u64 {
    (batches + batches.div_ceil(WARM_UP)) * BATCH
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
            return Ok(((batches as f64 * scale) as u64).max(1));
        }
        batches *= 2;
    }
}
