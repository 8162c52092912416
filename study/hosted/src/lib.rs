//! Rhumb's memory core on the real TLB.
//!
//! A process gets several direct maps, each in pages of one size: 1 GiB, 2 MiB, 4 KiB, or 2 MiB of which some are
//! broken. In each of them Rhumb's own allocators lay out the same data at the same physical addresses, and the same
//! operations run on the data. So whatever the arms differ in comes from the sizes of their pages.
//!
//! | module | owns |
//! |---|---|
//! | [`options`](Options) | the user's choices, and the program that follows from them |
//! | `results` | measured values as parts of a study |
//! | `rounds` | fresh memory for each pair of samples, all arms in random order, when to stop |
//! | `arms` | the arms that this machine has |
//! | `core` | the core that all of it runs on, and the memory beside it |
//! | `sample` | one sample of one workload in one arm |
//! | `workload` | the operations |
//! | `rival` | user space, which competes for the TLB |
//! | `data` | trees, tables and objects in memory |
//! | `memory` | frames and slabs over a backing |
//! | `ladder` | the measured reach of the TLB |
//! | `size` | sizes of memory |
//! | `backing` | memory in pages of a known size, and the proof that it has them |
//!
//! Principles:
//! 1. An arm is measured only while the system says that it has the pages that the arm claims; otherwise the study says
//!    what is missing and how to get it.
//! 2. Nothing but the size of pages differs between arms: the same seed, the same physical addresses, the same operations,
//!    memory that is contiguous in blocks of 2 MiB.
//! 3. Chance is measured, not assumed: each pair of samples has memory of its own, and the baseline is there twice.
#![deny(unsafe_code)]

mod arms;
mod backing;
mod core;
mod data;
mod error;
mod ladder;
#[allow(unsafe_code)]
mod memory;
mod options;
mod results;
mod rival;
mod rounds;
mod sample;
mod size;
mod workload;

use std::time::{Duration, Instant};

use rhumb_study_report::{Kind, Study, format};
use rhumb_study_system::{Rounds, Session, available_bytes, measure_machine};

use crate::arms::Arms;
use crate::backing::Backing;
use crate::core::Core;
use crate::options::Program;
use crate::size::sized;

pub use error::Error;
pub use options::{Options, list};

/// Measures, and returns what was measured. The caller looks at [`Options::list`] first.
///
/// # Errors
/// Nothing can be measured: too little memory, fewer than two sizes of page, a pattern without a workload. An arm that
/// is merely missing is an omission of the study.
pub fn run(options: &Options, session: &Session) -> Result<Study, Error> {
    let began = Instant::now();
    let available = available_bytes().ok_or(Error::Unknown)?;
    let program = Program::new(options, session.quick, available)?;
    let mut study = session.begin_study(Kind::Hosted);
    session.say(format!(
        "This takes about {}, {} direct maps of {} at a time, and leaves nothing behind.",
        format::span(program.time.as_secs_f64()),
        program.at_once,
        sized(program.bytes)
    ));
    let core = Core::stay();
    let arms = Arms::begin(&program, session, &core);
    // More time goes into longer samples first, and then into more memories.
    let remedy = "give the study more time with --minutes";
    measure_machine(session, &mut study, Rounds { number: rounds::pairs_wanted(&program), remedy });
    let task = session.task("Pages");
    let mut arms = arms.find(&program, session);
    drop(task);
    study.omissions.extend(arms.omissions.iter().cloned());
    results::add_pages(&mut study, &program, &arms.seen);
    if arms.seen.len() < 2 && !session.is_ending() {
        let reasons: Vec<String> =
            arms.omissions.iter().map(|omission| format!("{} {}", omission.why, omission.remedy)).collect();
        return Err(Error::NothingToCompare(reasons.join(" ")));
    }
    let end = began + program.time;
    climb(&mut study, std::mem::take(&mut arms.whole), session, end)?;
    if arms.seen.len() >= 2 && !session.is_ending() {
        let task = session.task("Workloads");
        let precision = if session.quick { 0.02 } else { 0.01 };
        let measured = rounds::run(&program, &arms, session, &task, precision, end)?;
        results::add_comparisons(&mut study, &arms, &measured);
        results::add_counts(&mut study, &arms, &measured);
        results::add_notes(&mut study, &program, &measured);
    }
    // The system has its huge pages back before the study says that it is at its end.
    drop(arms);
    session.end_study(&mut study);
    Ok(study)
}

/// Measures the ladder of the arms with one size of page.
fn climb(
    study: &mut Study,
    mut backings: Vec<Backing>,
    session: &Session,
    end: Instant,
) -> Result<(), Error> {
    let task = session.task("The reach of the TLB");
    let pages: Vec<_> = backings.iter().map(Backing::pages).collect();
    // A tenth of the time that noise and controls left: the ladder is a check, and no result.
    let now = Instant::now();
    let end = now + (end.saturating_duration_since(now) / 10).max(Duration::from_secs(1));
    let go_on = |rung, rungs| {
        task.set(rung, rungs);
        !session.is_ending() && Instant::now() < end
    };
    let ladder = ladder::measure(&mut backings, session.seed, go_on)?;
    results::add_ladder(study, &pages, &ladder);
    Ok(())
}

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
