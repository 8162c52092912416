//! Cached pages in broken blocks against cached pages in whole ones, by turns.
//!
//! Before and after cannot take turns, but places can: where the kernel tells root the place of a page, one file in memory
//! has its pages in blocks that the study broke, and another, which was made before, in blocks that it did not. Reads of the
//! two differ in nothing but the size of the kernel's pages, so that neither drift nor a busy machine can pretend an effect.
//! The whole file is split in two halves, of which one is the baseline and the other the negative control.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_method::{Arm, Trial};
use rhumb_study_report::format::change;
use rhumb_study_report::{Comparison, Control, ControlKind, Omission};
use rhumb_study_system::Session;

use crate::frames::blocks_of;
use crate::proc::Root;
use crate::proc::counters::KIB_4;
use crate::ramfs::Kind;
use crate::results::seen;
use crate::room::room;
use crate::who::show::size;
use crate::workloads::Timed;
use crate::workloads::cached::{Length, Pread, cached_file, places};

/// The most pages of one arm: 64 MiB, far more than a TLB reaches by pages of 4 KiB.
const PAGES: u64 = 16_384;

/// The fewest pages of one arm.
const PAGES_AT_LEAST: u64 = 4_096;

/// How much memory is taken at a time in search of pages in broken blocks.
const STEP: u64 = 64 << 20;

/// Pages in whole blocks, taken before the map was broken.
#[derive(Debug)]
pub(crate) struct Whole(File);

impl Whole {
    /// Takes the pages.
    ///
    /// # Errors
    /// Why places cannot be compared, as an omission.
    pub(crate) fn take(root: &Root) -> Result<Self, Omission> {
        let omission =
            |why: String, remedy: &str| Omission { part: PART.to_owned(), why, remedy: remedy.to_owned() };
        let pages = (2 * PAGES).min(room(root) / 8 / KIB_4);
        if pages < 2 * PAGES_AT_LEAST {
            return Err(omission("Too little memory is free.".into(), "Free some memory."));
        }
        let (file, kind) =
            cached_file(pages * KIB_4).map_err(|error| omission(format!("{error}."), "Free some memory."))?;
        if kind == Kind::Movable {
            return Err(omission(
                "Pages beside secret ones (of ramfs) are only for root.".into(),
                "Run the study as root, with the capability CAP_SYS_ADMIN.",
            ));
        }
        match blocks_of(&file) {
            Ok(blocks) if blocks.iter().any(Option::is_some) => Ok(Self(file)),
            _ => Err(omission(
                "The kernel tells the places of pages only to root.".into(),
                "Run the study as root, with the capability CAP_SYS_ADMIN.",
            )),
        }
    }
}

const PART: &str = "cached pages in broken and in whole blocks, by turns";

/// The results.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// Reads from broken blocks against reads from whole ones.
    pub(crate) comparisons: Vec<Comparison>,
    /// Reads from whole blocks against reads from other whole ones.
    pub(crate) controls: Vec<Control>,
}

/// Compares reads from `whole` with reads from pages in `broken` blocks.
///
/// # Errors
/// Why they cannot be compared, as an omission.
pub(crate) fn compare(
    root: &Root,
    whole: &Whole,
    broken: &BTreeSet<u64>,
    session: &Session,
) -> Result<Placed, Omission> {
    let omission = |why: String| Omission {
        part: PART.to_owned(),
        why,
        remedy: "Break a larger share, on a machine with more free memory.".to_owned(),
    };
    let failed = |error: io::Error| omission(format!("{error}."));
    let mut untouched: Vec<u64> = inside(&whole.0, |block| !broken.contains(&block)).map_err(failed)?;
    // Neighbours in the file are neighbours in memory: only drawn halves have places of the same kind.
    untouched.shuffle(&mut Pcg64Mcg::seed_from_u64(session.seed));
    let (file, inside) = search(broken, room(root) / 2, session).map_err(failed)?;
    let pages = (untouched.len() / 2).min(inside.len()).min(PAGES as usize);
    if pages < PAGES_AT_LEAST as usize {
        return Err(omission(format!("Only {pages} cached pages came to lie in broken blocks.")));
    }
    let mut placed = Placed::default();
    for length in [Length::Line, Length::Page] {
        if session.is_ending() {
            break;
        }
        placed
            .measure(
                [
                    (&whole.0, &untouched[..pages]),
                    (&whole.0, &untouched[pages..2 * pages]),
                    (&file, &inside[..pages]),
                ],
                length,
                session,
            )
            .map_err(omission)?;
    }
    Ok(placed)
}

/// Returns the pages of a file whose block is as wanted.
fn inside(file: &File, is_wanted: impl Fn(u64) -> bool) -> io::Result<Vec<u64>> {
    let pages = blocks_of(file)?.into_iter().zip(0..);
    Ok(pages.filter(|(block, _)| block.is_some_and(&is_wanted)).map(|(_, page)| page).collect())
}

/// Takes memory until enough of its pages lie in broken blocks, or `most` bytes are taken. The allocator hands out first
/// the pages that were freed last, which are those of the broken blocks.
fn search(broken: &BTreeSet<u64>, most: u64, session: &Session) -> io::Result<(File, Vec<u64>)> {
    let (file, _) = cached_file(0)?;
    let fresh = vec![1; STEP as usize];
    let mut bytes = 0;
    loop {
        let pages = if bytes > 0 { inside(&file, |block| broken.contains(&block))? } else { Vec::new() };
        if pages.len() >= PAGES as usize || bytes + STEP > most || session.is_ending() {
            return Ok((file, pages));
        }
        file.write_all_at(&fresh, bytes)?;
        bytes += STEP;
    }
}

impl Placed {
    /// Measures reads from three sets of pages: whole, whole again, broken.
    fn measure(
        &mut self,
        arms: [(&File, &[u64]); 3],
        length: Length,
        session: &Session,
    ) -> Result<(), String> {
        let plan = session.plan(0.01, Duration::from_secs(if session.quick { 10 } else { 60 }));
        let time = Duration::from_millis(if session.quick { 5 } else { 20 });
        let timed = arms.map(|(file, pages)| {
            let places = places(pages.iter().copied(), length, session.seed);
            let file = file.try_clone().map_err(|error| error.to_string())?;
            Timed::new(Box::new(Pread::of(file, Kind::Unmovable, places, length)), time)
                .map_err(|error| error.to_string())
        });
        let [one, two, three] = timed;
        let (mut one, mut two, mut three) = (one?, two?, three?);
        let pages = arms[0].1.len() as u64;
        let words =
            format!("pread of {} from {} of cached pages", size(length.bytes() as u64), size(pages * KIB_4));
        let id = match length {
            Length::Line => "placed/pread-64b",
            Length::Page => "placed/pread-4k",
        };
        let names = ["pages in whole blocks", "other pages in whole blocks", "pages in broken blocks"];
        let mut sampled = [&mut one, &mut two, &mut three]
            .map(|timed| move || timed.sample().map_err(|error| error.to_string()));
        let mut iter = sampled.iter_mut();
        let mut arms: Vec<Arm<'_>> =
            names.iter().zip(&mut iter).map(|(name, sample)| Arm::new(*name, sample)).collect();
        let task = session.task(format!("{words}, by place"));
        let trial = Trial::run(&mut arms, &plan, &task)?;
        let comparison = |arm: usize| Comparison {
            id: id.to_owned(),
            family: "Cached pages in broken against whole blocks, by turns".to_owned(),
            workload: words.clone(),
            baseline: names[0].to_owned(),
            arm: names[arm].to_owned(),
            conditions: [("order".to_owned(), "by turns".to_owned())].into(),
            unit: "ns".to_owned(),
            baseline_samples: trial.samples[0].clone(),
            arm_samples: trial.samples[arm].clone(),
            effect: trial.effect(arm, &plan),
            stopped: trial.stopped,
        };
        self.comparisons.push(comparison(2));
        let control = Comparison { id: format!("control/{id}"), ..comparison(1) };
        let Some(effect) = control.effect else { return Ok(()) };
        // A control is looked at for each of the two lengths, so each has half of the level.
        let passed = effect.p > (1.0 - effect.confidence) / 2.0;
        let verdict = match passed {
            true => format!(
                "{words}: whole blocks against other whole blocks show no effect, as they must; {}.",
                seen(&effect)
            ),
            false => format!(
                "{words}: whole blocks against other whole blocks differ by {}, so that places differ in more than the size of \
                 pages.",
                change(effect.ratio)
            ),
        };
        self.controls.push(Control { kind: ControlKind::Negative, comparison: control, passed, verdict });
        Ok(())
    }
}
