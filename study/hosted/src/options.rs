//! The user's choices, and the program that follows from them: the size of memory, the time, the workloads.

use std::time::Duration;

use clap::Args;
use rhumb_machine::PageSize;

use crate::backing::Pages;
use crate::data::world::Placement;
use crate::error::Error;
use crate::rival::UserSpace;
use crate::workload::Workload;

const MIB: u64 = 1 << 20;
const GIB: u64 = PageSize::Size1G.bytes();

/// The sizes of a direct map among which the study chooses, the largest first.
const SIZES: [u64; 6] = [4 * GIB, 2 * GIB, GIB, 512 * MIB, 256 * MIB, 128 * MIB];

/// The least memory in which each workload has data.
const LEAST: u64 = 64 * MIB;

/// Options of `study hosted`.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Size of each direct map, such as 512M or 2G [default: what fits half of the available memory, 4G at most].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Minutes that the study takes [default: 18, or 2.3 with --quick].
    #[arg(long, value_name = "N", value_parser = parse_minutes)]
    pub minutes: Option<f64>,
    /// Only workloads whose name has this in it; may be given several times.
    #[arg(long, value_name = "PATTERN")]
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
    /// `--only` names nothing, or there is too little memory.
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
            let needed = 2 * bytes.max(LEAST) / 9 * 10;
            return Err(Error::TooLittle { available_mib: available >> 20, needed_mib: needed >> 20 });
        }
        let minutes = options.minutes.unwrap_or(if quick { 2.3 } else { 18.0 });
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
    let named =
        |pattern: &&String| Workload::ALL.iter().any(|workload| workload.id().contains(pattern.as_str()));
    if let Some(pattern) = only.iter().find(|pattern| !named(pattern)) {
        return Err(Error::NoSuchWorkload(pattern.clone()));
    }
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
    let (number, unit) = match text
        .trim_end_matches("iB")
        .split_at_checked(text.trim_end_matches("iB").len().saturating_sub(1))
    {
        Some((number, "M" | "m")) => (number, MIB),
        Some((number, "G" | "g")) => (number, GIB),
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    if bytes < LEAST || !bytes.is_multiple_of(PageSize::Size2M.bytes()) {
        return Err(format!("a direct map has at least {} MiB, and an even number of them", LEAST >> 20));
    }
    Ok(bytes)
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("'{text}' is no number of minutes"))?;
    if (0.1..=1440.0).contains(&minutes) {
        Ok(minutes)
    } else {
        Err("a study takes from 0.1 minutes to a day (1440)".to_owned())
    }
}

#[cfg(test)]
mod tests;
