//! The user's choices, and the program that follows from them: the size of memory, the time, the workloads.

use std::time::Duration;

use clap::Args;
use rhumb_machine::PageSize;

use crate::backing::Pages;
use crate::data::world::Placement;
use crate::error::Error;
use crate::rival::UserSpace;
use crate::size::{GIB, MIB, sized};
use crate::workload::Workload;

/// The sizes of a direct map among which the study chooses, the largest first.
const SIZES: [u64; 6] = [4 * GIB, 2 * GIB, GIB, 512 * MIB, 256 * MIB, 128 * MIB];

/// The least memory in which each workload has data.
const LEAST: u64 = 64 * MIB;

/// A bound on the size of a direct map: a process has addresses for twice as much.
const MOST: u64 = 64 << 40;

/// The minutes that a study takes where the user says nothing, and the fewest: with `--quick`, and without.
const MINUTES: [(f64, f64); 2] = [(2.3, 0.5), (18.0, 2.0)];

/// The most minutes: a day.
const MINUTES_AT_MOST: f64 = 1440.0;

/// Options of `study hosted`.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Size of each direct map, such as 512M or 2G [default: what fits half of the available memory, 4G at most].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Minutes that the study takes, 2 at least, or 0.5 with --quick [default: 18, or 2.3 with --quick].
    #[arg(long, value_name = "N", value_parser = parse_minutes)]
    pub minutes: Option<f64>,
    /// Only workloads whose name has this in it; may be given several times.
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub only: Vec<String>,
    /// List the workloads and end.
    #[arg(long)]
    pub list: bool,
}

/// Returns a line for each workload: its name and what it does.
pub fn list() -> String {
    Workload::ALL.map(|workload| format!("{:<16}{}\n", workload.id(), workload.describe())).concat()
}

/// A workload under conditions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Case {
    pub(crate) placement: Placement,
    pub(crate) workload: Workload,
    pub(crate) user_space: UserSpace,
}

/// All that is planned.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Program {
    /// The arms that are wanted, the baseline first.
    pub(crate) arms: Vec<Pages>,
    pub(crate) cases: Vec<Case>,
    /// The size of each direct map.
    pub(crate) bytes: u64,
    /// How many direct maps there are at a time.
    pub(crate) at_once: usize,
    pub(crate) time: Duration,
}

impl Program {
    /// Plans a study on a machine that has `available` bytes of memory.
    ///
    /// # Errors
    /// `--only` names nothing, the time is too short for any study, or there is too little memory.
    pub(crate) fn new(options: &Options, quick: bool, available: u64) -> Result<Self, Error> {
        let mut arms = vec![Pages::Gib, Pages::Mib];
        arms.extend(if quick { &[8][..] } else { &[64, 8, 2] }.iter().map(|one_in| Pages::Aged(*one_in)));
        arms.push(Pages::Kib);
        // The baseline is there twice.
        let maps = arms.len() + 1;
        let budget = available / 2;
        let largest = if quick { GIB } else { SIZES[0] };
        let all_at_once = |size: &&u64| **size <= largest && **size * maps as u64 <= budget;
        // Pages of 1 GiB are worth turns: with too little memory for all maps at once, three at a time will do.
        let in_turns = |size: &&u64| **size == GIB && 3 * **size <= budget;
        let bytes = match options.memory {
            Some(bytes) => bytes,
            None => SIZES
                .iter()
                .find(all_at_once)
                .filter(|size| **size >= GIB)
                .or_else(|| SIZES.iter().find(in_turns))
                .or_else(|| SIZES.iter().find(all_at_once))
                .copied()
                .unwrap_or(LEAST),
        };
        // The user's own choice may take more than half.
        let fit = if options.memory.is_some() { available / 10 * 9 } else { budget } / bytes.max(1);
        if bytes < LEAST || fit < 2 {
            let needed_mib = (bytes.max(LEAST) >> 20).saturating_mul(20).div_ceil(9);
            return Err(Error::TooLittle { available_mib: available >> 20, needed_mib });
        }
        let (default, fewest) = MINUTES[usize::from(!quick)];
        let minutes = options.minutes.unwrap_or(default);
        if !(fewest..=MINUTES_AT_MOST).contains(&minutes) {
            return Err(Error::Time { fewest });
        }
        Ok(Self {
            arms,
            cases: cases(&options.only, quick)?,
            bytes,
            at_once: maps.min(fit as usize),
            time: Duration::from_secs_f64(minutes * 60.0),
        })
    }
}

fn cases(only: &[String], quick: bool) -> Result<Vec<Case>, Error> {
    only.iter().try_for_each(|pattern| parse_pattern(pattern).map(drop))?;
    let wanted = |workload: &Workload| match only {
        [] => !quick || workload.is_quick(),
        _ => only.iter().any(|pattern| workload.id().contains(pattern)),
    };
    let placements = if quick { &[Placement::Spread][..] } else { &[Placement::Spread, Placement::Dense] };
    let user_spaces = if quick { &[UserSpace::Idle, UserSpace::Large][..] } else { &UserSpace::ALL };
    let mut cases = Vec::new();
    for &placement in placements {
        for workload in Workload::ALL.into_iter().filter(wanted) {
            cases.extend(user_spaces.iter().map(|&user_space| Case { placement, workload, user_space }));
        }
    }
    Ok(cases)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size: write 512M or 2G");
    let short = text.trim_end_matches("iB");
    let (number, unit) = match short.split_at_checked(short.len().saturating_sub(1)) {
        Some((number, "M" | "m")) => (number, MIB),
        Some((number, "G" | "g")) => (number, GIB),
        Some((number, "T" | "t")) => (number, 1 << 40),
        _ => return Err(wrong()),
    };
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    // A number that is too large for its type is too large for memory.
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(bytes) if bytes < LEAST || !bytes.is_multiple_of(PageSize::Size2M.bytes()) => {
            Err(format!("a direct map has at least {}, and an even number of MiB", sized(LEAST)))
        }
        Some(bytes) if bytes <= MOST => Ok(bytes),
        _ => Err(format!("'{text}' is too large: a direct map has at most {}", sized(MOST))),
    }
}

/// Returns a number of minutes that is enough with `--quick`. Without it a study takes longer, which [`Program::new`] sees.
fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("'{text}' is no number of minutes"))?;
    let (_, fewest) = MINUTES[0];
    if (fewest..=MINUTES_AT_MOST).contains(&minutes) {
        Ok(minutes)
    } else {
        Err(format!("a study takes from {fewest} minutes to a day ({MINUTES_AT_MOST})"))
    }
}

/// Returns a pattern that is part of a workload's name. It is looked at with the other arguments, before a study begins.
fn parse_pattern(pattern: &str) -> Result<String, Error> {
    if Workload::ALL.iter().any(|workload| workload.id().contains(pattern)) {
        Ok(pattern.to_owned())
    } else {
        Err(Error::NoSuchWorkload(pattern.to_owned()))
    }
}

#[cfg(test)]
mod tests;
