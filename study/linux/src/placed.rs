//! Cached pages in broken blocks against cached pages in whole ones, by turns.
//!
//! Before and after cannot take turns, but places can: where the kernel tells root the place of a page, some files in memory
//! have their pages in blocks that the study broke, and others, which were made before, in blocks that it did not. Reads of
//! the two take turns, so that neither drift nor a busy machine can pretend an effect.
//!
//! **Draws.** Two pieces of memory differ in more than the size of the kernel's pages: in their place in the caches and in
//! the banks of memory. One pair of pieces would show that difference as an effect, however often it is measured. So there
//! are [`DRAWS`] pairs, each with files and memory of its own, and a pair gives one value of each side: the median of its
//! samples. The pairs are the rounds of the comparison.
//!
//! **Control.** Files in broken blocks are other files, which were taken at another time. So the control compares two sets
//! of files in whole blocks, of which one was taken before the first phase and the other after it.
//!
//! **Left over**: broken blocks are those from which the kernel gave secret pages. If these lie elsewhere than whole ones as a
//! rule, on another NUMA node for example, or are used in smaller pieces, each pair has that difference, and the control does
//! not. The conditions of the comparison tell the blocks of each side.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_method::{Effect, Stopped, Watch, median};
use rhumb_study_report::{Comparison, Omission};
use rhumb_study_system::{Session, Task};

use crate::breaking::Moment;
use crate::frames::blocks_of;
use crate::proc::Root;
use crate::proc::counters::{KIB_4, MIB_2, at_boot};
use crate::ramfs::Kind;
use crate::room::room;
use crate::who::show::size;
use crate::who::survey::listing;
use crate::workloads::Timed;
use crate::workloads::cached::{Length, Pread, cached_file, places};

/// Pairs of draws of memory. The p-value of so many is 0.0007 at least, which is enough for the level of the controls.
const DRAWS: usize = 12;

/// The most pages of one draw: 64 MiB, far more than a TLB reaches by pages of 4 KiB.
const PAGES: usize = 16_384;

/// The fewest pages of one draw.
const PAGES_AT_LEAST: usize = 4_096;

/// Samples of one file; their median is its value. Fewer leave the control blind on a machine with a little other work.
const SAMPLES: usize = 15;

/// How much memory is taken at a time in search of pages in broken blocks.
const STEP: usize = 4 << 20;

/// The share of the map that may be broken since boot by others, where the kernel does not list which.
const BROKEN_BY_OTHERS: f64 = 0.01;

/// The share of intervals that hold the true ratio.
const CONFIDENCE: f64 = 0.95;

const PART: &str = "cached pages in broken and in whole blocks, by turns";

fn omission(why: String, remedy: &str) -> Omission {
    Omission { part: PART.to_owned(), why, remedy: remedy.to_owned() }
}

/// Files in whole blocks, taken before the map was broken, in two sets.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The 2-MiB blocks that were in small pages before, where the kernel lists them.
    small: BTreeSet<u64>,
    pages: usize,
    first: Vec<File>,
    second: Vec<File>,
}

impl Whole {
    /// Takes the first set.
    ///
    /// # Errors
    /// Why places cannot be compared, as an omission.
    pub(crate) fn take(root: &Root) -> Result<Self, Omission> {
        let small = small_blocks(root)?;
        let pages = PAGES.min((room(root) / 8 / KIB_4) as usize / DRAWS / 2);
        if pages < PAGES_AT_LEAST {
            return Err(omission("Too little memory is free.".into(), "Free some memory."));
        }
        let first = files(pages)?;
        match first.first().map(blocks_of) {
            Some(Ok(blocks)) if blocks.iter().any(Option::is_some) => {}
            _ => {
                return Err(omission(
                    "The kernel tells the places of pages only to root.".into(),
                    "Run the study as root, with the capability CAP_SYS_ADMIN.",
                ));
            }
        }
        Ok(Self { small, pages, first, second: Vec::new() })
    }

    /// Takes the second set, at a later time.
    ///
    /// # Errors
    /// As [`Whole::take`].
    pub(crate) fn take_again(mut self) -> Result<Self, Omission> {
        self.second = files(self.pages)?;
        Ok(self)
    }
}

/// Makes a file of each draw, with so many pages.
fn files(pages: usize) -> Result<Vec<File>, Omission> {
    let file = |_| match cached_file(pages as u64 * KIB_4) {
        Ok((file, Kind::Unmovable)) => Ok(file),
        Ok((_, Kind::Movable)) => Err(omission(
            "Pages beside secret ones (of ramfs) are only for root.".into(),
            "Run the study as root, with the capability CAP_SYS_ADMIN.",
        )),
        Err(error) => Err(omission(format!("{error}."), "Free some memory.")),
    };
    (0..DRAWS).map(file).collect()
}

/// Returns the blocks that are in small pages now, where the kernel lists them; none where it does not, and few can be.
///
/// # Errors
/// Others have broken blocks since boot, such as an earlier study, and the kernel does not list them: they would be taken
/// for whole.
fn small_blocks(root: &Root) -> Result<BTreeSet<u64>, Omission> {
    if let Ok(listing) = listing(root)
        && !listing.is_cut
    {
        let small = listing.extents.iter().filter(|extent| extent.page_bytes == Some(KIB_4));
        return Ok(small
            .filter_map(|extent| Some((extent.start?, extent.bytes)))
            .flat_map(|(start, bytes)| start / MIB_2..(start + bytes).div_ceil(MIB_2))
            .collect());
    }
    let now =
        Moment::now(root).map_err(|error| omission(format!("{error}."), "Run the study on the host."))?;
    match broken_by_others(&now) {
        Some(share) if share <= BROKEN_BY_OTHERS => Ok(BTreeSet::new()),
        Some(share) => Err(omission(
            format!(
                "{:.1} % of the map was broken before this study, and the kernel does not list which blocks: they cannot be \
                 told from whole ones.",
                share * 100.0
            ),
            "Reboot first, or use a kernel with CONFIG_PTDUMP_DEBUGFS, and mount debugfs.",
        )),
        None => Err(omission(
            "The kernel does not count splits of its map, so that blocks that others broke cannot be told."
                .into(),
            "Run the study on the host, on a kernel for x86.",
        )),
    }
}

/// Returns the share of the map that was broken since boot.
fn broken_by_others(now: &Moment) -> Option<f64> {
    let boot = at_boot(&now.map, &now.splits)?;
    let share = now.small().saturating_sub(boot.small?) as f64 / now.map.total().max(1) as f64;
    Some(share)
}

/// The results.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// Reads from broken blocks against reads from whole ones.
    pub(crate) comparisons: Vec<Comparison>,
    /// Reads from whole blocks against reads from other whole ones, which are not judged yet.
    pub(crate) controls: Vec<Comparison>,
}

/// A file with those of its pages that are in blocks as wanted, each with its block.
struct Piece<'a> {
    file: &'a File,
    pages: Vec<(u64, u64)>,
}

/// The sides: the baseline, the control, and what is asked.
const SIDES: [&str; 3] =
    ["pages in whole blocks", "pages in whole blocks, taken earlier", "pages in broken blocks"];

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
    let failed = |error: io::Error| omission(format!("{error}."), "Free some memory.");
    let is_whole = |block: u64| !broken.contains(&block) && !whole.small.contains(&block);
    let is_broken = |block: u64| broken.contains(&block);
    // As many pages as all draws may have, if the kernel gives back most of the pages that were secret.
    let pages = whole.pages.min(broken.len() * (MIB_2 / KIB_4) as usize / DRAWS * 7 / 8);
    let found = search(is_broken, pages, room(root) / 2, session).map_err(failed)?;
    let sides = [
        pieces(&whole.second, is_whole).map_err(failed)?,
        pieces(&whole.first, is_whole).map_err(failed)?,
        pieces(&found, is_broken).map_err(failed)?,
    ];
    let pages = sides.iter().flatten().map(|piece| piece.pages.len()).min().unwrap_or(0).min(pages);
    if pages < PAGES_AT_LEAST {
        return Err(omission(
            format!("One of {DRAWS} draws of memory had only {pages} pages in blocks of its kind."),
            "Break a larger share, on a machine with more free memory.",
        ));
    }
    let mut placed = Placed::default();
    for length in [Length::Line, Length::Page] {
        placed.measure(&sides, pages, length, session).map_err(failed)?;
    }
    Ok(placed)
}

/// Returns the pages of each file whose block is as wanted.
fn pieces(files: &[File], is_wanted: impl Fn(u64) -> bool) -> io::Result<Vec<Piece<'_>>> {
    files.iter().map(|file| Ok(Piece { file, pages: inside(file, &is_wanted)? })).collect()
}

/// Returns the pages of a file whose block is as wanted, each with its block.
fn inside(file: &File, is_wanted: impl Fn(u64) -> bool) -> io::Result<Vec<(u64, u64)>> {
    let pages = (0..).zip(blocks_of(file)?);
    Ok(pages.filter_map(|(page, block)| Some((page, block.filter(|block| is_wanted(*block))?))).collect())
}

/// Takes a file for each draw, until so many `pages` of it lie in broken blocks, or `most` bytes are taken by all. The
/// allocator hands out first the pages that were freed last, which are those of the broken blocks.
fn search(
    is_broken: impl Fn(u64) -> bool,
    pages: usize,
    most: u64,
    session: &Session,
) -> io::Result<Vec<File>> {
    let fresh = vec![1; STEP];
    let (mut files, mut taken) = (Vec::new(), 0);
    for _ in 0..DRAWS {
        let (file, _) = cached_file(0)?;
        let mut bytes = 0;
        while !session.is_ending() && taken + STEP as u64 <= most {
            // Places are asked for only where there may be enough of them, because that takes longer than the pages do.
            let may_suffice = bytes >= pages as u64 * KIB_4;
            if may_suffice && inside(&file, &is_broken)?.len() >= pages {
                break;
            }
            file.write_all_at(&fresh, bytes)?;
            bytes += STEP as u64;
            taken += STEP as u64;
        }
        files.push(file);
    }
    Ok(files)
}

impl Placed {
    /// Measures reads from all pieces of the three sides, draw by draw.
    fn measure(
        &mut self,
        sides: &[Vec<Piece<'_>>; 3],
        pages: usize,
        length: Length,
        session: &Session,
    ) -> io::Result<()> {
        let words = format!(
            "pread of {} from {} of cached pages",
            size(length.bytes() as u64),
            size(pages as u64 * KIB_4)
        );
        let id = match length {
            Length::Line => "placed/pread-64b",
            Length::Page => "placed/pread-4k",
        };
        let task = session.task(format!("{words}, by place"));
        let mut samples: [Vec<f64>; 3] = Default::default();
        let mut stopped = Stopped::Rounds;
        for draw in 0..DRAWS {
            let pieces = sides.each_ref().map(|side| &side[draw]);
            match draw_values(pieces, pages, length, session.seed.wrapping_add(draw as u64), session, &task)?
            {
                Some(values) => samples.iter_mut().zip(values).for_each(|(side, value)| side.push(value)),
                None => {
                    stopped = Stopped::Cancelled;
                    break;
                }
            }
            task.set(draw as u64 + 1, DRAWS as u64);
        }
        let comparison = |arm: usize| Comparison {
            id: id.to_owned(),
            family: "Cached pages in broken against whole blocks, by turns".to_owned(),
            workload: words.clone(),
            baseline: SIDES[0].to_owned(),
            arm: SIDES[arm].to_owned(),
            conditions: [
                ("order".to_owned(), "by turns".to_owned()),
                ("draws of memory".to_owned(), samples[0].len().to_string()),
                ("2-MiB blocks of a draw".to_owned(), blocks(&sides[0], &sides[arm], pages)),
            ]
            .into(),
            unit: "ns".to_owned(),
            baseline_samples: samples[0].clone(),
            arm_samples: samples[arm].clone(),
            effect: Effect::of(&samples[0], &samples[arm], CONFIDENCE),
            stopped,
        };
        self.comparisons.push(comparison(2));
        self.controls.push(Comparison { id: format!("control/{id}"), ..comparison(1) });
        Ok(())
    }
}

/// Returns one value of each side of a draw: the median of samples that take turns. `None` where the user ends the study.
fn draw_values(
    pieces: [&Piece<'_>; 3],
    pages: usize,
    length: Length,
    seed: u64,
    session: &Session,
    task: &Task<'_>,
) -> io::Result<Option<[f64; 3]>> {
    let time = Duration::from_millis(if session.quick { 5 } else { 20 });
    let mut timed = Vec::new();
    for piece in pieces {
        let places = places(piece.pages[..pages].iter().map(|(page, _)| *page), length, seed);
        let read = Pread::of(piece.file.try_clone()?, Kind::Unmovable, places, length);
        timed.push(Timed::new(Box::new(read), time)?);
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut order = [0, 1, 2];
    let mut samples: [Vec<f64>; 3] = Default::default();
    for _ in 0..SAMPLES {
        order.shuffle(&mut random);
        for index in order {
            if task.is_cancelled() {
                return Ok(None);
            }
            samples[index].push(timed[index].sample()?);
        }
    }
    Ok(Some(samples.map(|samples| median(&samples).unwrap_or(0.0))))
}

/// Says in how many blocks of 2 MiB a draw of two sides lies, in the median.
fn blocks(one: &[Piece<'_>], other: &[Piece<'_>], pages: usize) -> String {
    let of = |side: &[Piece<'_>]| {
        let counts: Vec<f64> = side
            .iter()
            .map(|piece| {
                let blocks: BTreeSet<u64> = piece.pages.iter().take(pages).map(|(_, block)| *block).collect();
                blocks.len() as f64
            })
            .collect();
        median(&counts).unwrap_or(0.0)
    };
    format!("{:.0} and {:.0}", of(one), of(other))
}
