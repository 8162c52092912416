//! The built-in controls: two comparisons whose results are known beforehand.
//!
//! All arms are one chase over as much memory each (`chase`), taken in the rounds of one trial:
//!
//! - **Positive**: pages of 4 KiB against pages of 2 MiB. The chase leaves the reach of every TLB with pages of 4 KiB, so
//!   that it must take longer with these. If it does not, the study could not see an effect of the TLB anywhere.
//! - **Negative**: pages of 4 KiB against pages of 4 KiB, two buffers made alike. If there is an effect, other effects of
//!   this study may as well come from the places of its memory, and not from the page size.
//!
//! The pages are verified by what the kernel says of the mappings. Memory is asked of the machine: all buffers together
//! take half of what is available at most.

mod buffer;
mod judge;

use std::collections::BTreeMap;
use std::time::Duration;

use rhumb_method::{Arm, Stopped, Trial, Watch};
use rhumb_study_report::{Comparison, Control, Omission};

use crate::chase::{Chase, Nodes};
use crate::memory::available_bytes;
use crate::session::Session;
use buffer::{Buffer, Fault};

pub use judge::{LEVEL, of_negative};

#[cfg(test)]
mod tests;

/// The size of a buffer where memory is plenty.
const MOST_BYTES: usize = 2 << 30;

/// The same with `--quick`: 131,072 pages of 4 KiB, ten times the reach of the largest TLB there is.
const MOST_BYTES_QUICKLY: usize = 512 << 20;

/// The smallest buffer that is of use: 32,768 pages of 4 KiB.
const LEAST_BYTES: usize = 128 << 20;

/// The memory by which the kernel is asked whether it gives large pages at all.
const PROBE_BYTES: usize = 16 << 20;

/// Buffers: one in large pages, two in small ones.
const BUFFERS: usize = 3;

/// Batches of loads in one sample, which takes 5 to 20 ms.
const BATCHES: u32 = 200;

/// The wanted precision of both comparisons.
const PRECISION: f64 = 0.01;

/// How large pages can be had.
const REMEDY: &str = "Allow transparent huge pages (as root: echo madvise > \
                      /sys/kernel/mm/transparent_hugepage/enabled), or free memory so that blocks of 2 MiB come together \
                      (as root: echo 1 > /proc/sys/vm/compact_memory).";

/// The controls that could be had, and those that could not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Controls {
    /// The controls, judged.
    pub controls: Vec<Control>,
    /// Controls that are left out, and why.
    pub omissions: Vec<Omission>,
}

/// Measures the controls: some 10 seconds with `--quick`, a minute at most without.
///
/// A control that cannot be had is an omission. Where the user ends the study meanwhile, both may be missing.
pub fn controls(session: &Session) -> Controls {
    controls_within(
        session,
        available_bytes().map_or(0, |bytes| usize::try_from(bytes / 2).unwrap_or(usize::MAX)),
    )
}

/// Measures the controls with so many bytes of memory at most.
fn controls_within(session: &Session, bytes: usize) -> Controls {
    let mut controls = Controls::default();
    if session.is_ending() {
        return controls;
    }
    let each = match bytes / BUFFERS {
        0 => 0,
        share => (1 << share.ilog2()).min(if session.quick { MOST_BYTES_QUICKLY } else { MOST_BYTES }),
    };
    if each < LEAST_BYTES {
        controls.omissions.push(Omission {
            part: "controls".into(),
            why: format!(
                "The controls need {} of free memory, and half of it stays free.",
                sized(2 * BUFFERS * LEAST_BYTES)
            ),
            remedy: "Stop other programs, or raise the limit of this control group.".into(),
        });
        return controls;
    }
    let task = session.task(format!("Controls over {}", sized(each)));
    let measured = Chases::of(each, &task).and_then(|mut chases| chases.measure(session, &task));
    match measured {
        Ok(measured) => judge::judge(measured, &mut controls),
        Err(Fault::Cancelled) => {}
        Err(fault) => controls.omissions.push(Omission {
            part: "controls".into(),
            why: format!("The memory for the controls could not be had or kept: {fault}."),
            remedy: "Stop other programs, or raise the limits of this process.".into(),
        }),
    }
    controls
}

/// The chases of all arms.
struct Chases {
    large: Result<Chase<Buffer>, Fault>,
    small: Chase<Buffer>,
    twin: Chase<Buffer>,
    bytes: usize,
}

/// The samples of all arms.
#[derive(Debug)]
struct Measured {
    /// The samples in large pages, or the reason why there are none.
    large: Result<Vec<f64>, Fault>,
    small: Vec<f64>,
    twin: Vec<f64>,
    stopped: Stopped,
    bytes: usize,
    confidence: f64,
}

impl Chases {
    /// Makes the buffers and writes the chases: over `bytes` each, or over a half or quarter where the kernel has no more
    /// large pages.
    fn of(bytes: usize, watch: &dyn Watch) -> Result<Self, Fault> {
        let chase = |buffer| {
            let is_cancelled = || watch.is_cancelled();
            let chase =
                Chase::over(buffer, Nodes::Pages, is_cancelled).and_then(|chase| chase.warm_up(is_cancelled));
            chase.ok_or(Fault::Cancelled)
        };
        // A few pages first: where there are none at all, no memory is touched in vain.
        let first = Buffer::large::<1>(PROBE_BYTES, watch).map(drop);
        match first.and_then(|()| Buffer::large(bytes, watch)) {
            Ok([large, mut small, mut twin]) => {
                small.break_pages()?;
                twin.break_pages()?;
                Ok(Self { large: Ok(chase(large)?), small: chase(small)?, twin: chase(twin)?, bytes })
            }
            Err(Fault::Small { share, .. }) if share > 0.0 && bytes / 2 >= LEAST_BYTES => {
                Self::of(bytes / 2, watch)
            }
            Err(Fault::Cancelled) => Err(Fault::Cancelled),
            Err(fault) => {
                let [small, twin] = Buffer::small(bytes, watch)?;
                Ok(Self { large: Err(fault), small: chase(small)?, twin: chase(twin)?, bytes })
            }
        }
    }

    fn measure(&mut self, session: &Session, watch: &dyn Watch) -> Result<Measured, Fault> {
        let plan = session.plan(PRECISION, Duration::from_secs(if session.quick { 8 } else { 40 }));
        let Self { large, small, twin, bytes } = self;
        let mut arms = vec![Arm::new("4-KiB pages", || Ok(small.follow(BATCHES)))];
        arms.push(Arm::new("4-KiB pages again", || Ok(twin.follow(BATCHES))));
        if let Ok(large) = large {
            arms.push(Arm::new("2-MiB pages", || Ok(large.follow(BATCHES))));
        }
        let trial = Trial::run(&mut arms, &plan, watch)?;
        drop(arms);
        // The kernel may break and join pages at any time.
        large.as_ref().map_or(Ok(()), |large| large.memory().must_be_large())?;
        small.memory().must_be_small()?;
        twin.memory().must_be_small()?;
        let mut samples = trial.samples.into_iter();
        let mut next = || samples.next().ok_or(Fault::Cancelled);
        Ok(Measured {
            small: next()?,
            twin: next()?,
            large: match large {
                Ok(_) => Ok(next()?),
                Err(fault) => Err(fault.clone()),
            },
            stopped: trial.stopped,
            bytes: *bytes,
            confidence: plan.confidence,
        })
    }
}

/// Returns a size in the words of a report.
fn sized(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 30) {
        format!("{} GiB", bytes >> 30)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}
