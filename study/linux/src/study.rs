//! `study linux`: the workloads on the map as it is, the map broken step by step, the workloads again.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use rhumb_study_report::{Comparison, Kind, Omission, Study};
use rhumb_study_system::counters::{self, Counters};
use rhumb_study_system::{Rounds, Scratch, Session, measure_machine};

use crate::amount::Amount;
use crate::breaking::{Broken, Moment, break_map};
use crate::consent::{self, Beforehand};
use crate::error::Error;
use crate::phases::{Measured, Phases, WithPrograms};
use crate::placed::{self, Whole};
use crate::proc::Root;
use crate::proc::counters::{KIB_4, MIB_2};
use crate::results::{self, Step};
use crate::room::room;
use crate::secret::Availability;
use crate::transition;
use crate::workloads::Sizes;

/// Options of `study linux`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How much of the direct map to break into pages of 4 KiB: a share (`10%`), a size (`512M`), or `max`. It stays
    /// broken until reboot.
    #[arg(long = "break", value_name = "SHARE", default_value = "10%")]
    pub amount: Amount,
    /// Agree to a change that lasts until reboot. Without it the study asks, where there is a terminal, and otherwise
    /// leaves the map whole.
    #[arg(long)]
    pub yes_until_reboot: bool,
    /// Break the share in so many steps, and measure after each: effects that grow with the share are no accident.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub steps: u32,
    /// Leave out real programs (redis, hackbench, sysbench, fio, sqlite3), even where they are installed.
    #[arg(long)]
    pub no_programs: bool,
    /// Leave out the cost of single pages.
    #[arg(long)]
    pub no_transition: bool,
}

/// Measures the running kernel's direct map, and breaks it if the user agrees.
///
/// # Errors
/// [`Error::Unreadable`] without `/proc`; [`Error::Unwritable`] where the session's folder takes no files. Whatever else
/// fails is an omission of the study.
pub fn run(options: &Options, session: &Session) -> Result<Study, Error> {
    let root = Root::system();
    let mut study = session.begin_study(Kind::Linux);
    let before = Moment::now(&root)?;
    let blocks = if session.quick { BLOCKS_QUICKLY } else { BLOCKS };
    announce(options, blocks, session);
    let may_break = may_break(&root, options, &before, session);
    let scratch =
        Scratch::new(session, "scratch-").map_err(|why| Error::unwritable(session.out.display(), why))?;
    let remedy = match session.quick {
        true => "run without --quick, which takes longer samples and twice the rounds",
        false => "run on a machine with CPUs of its own",
    };
    measure_machine(session, &mut study, Rounds { number: blocks, remedy });
    let programs = if options.no_programs { WithPrograms::No } else { WithPrograms::Yes };
    let phases = Phases::new(session, sizes(&root, session), scratch.path(), blocks, programs);
    let counters = Counters::open().map_err(|omission| study.omissions.push(omission)).ok();
    results::picture(&mut study, &root, &before, "before");
    let mut course =
        Course { root, session, study, before, phases, counters, measured: Vec::new(), steps: Vec::new() };
    match may_break {
        Err(omission) => {
            course.measure("whole map", &BTreeSet::new());
            course.study.omissions.push(omission);
            Ok(course.end(Vec::new()))
        }
        Ok(()) => {
            let by_turns = course.before_and_after(options);
            Ok(course.end(by_turns))
        }
    }
}

/// The study on its way.
struct Course<'a> {
    root: Root,
    session: &'a Session,
    study: Study,
    before: Moment,
    phases: Phases<'a>,
    counters: Option<Counters>,
    measured: Vec<(String, Measured)>,
    steps: Vec<Step>,
}

impl Course<'_> {
    /// Measures a phase, and notes the machine's load.
    fn measure(&mut self, name: &str, broken: &BTreeSet<u64>) {
        let phase = self.phases.measure(name, broken, self.counters.as_mut());
        self.measured.push((name.to_owned(), phase));
        let text = self.root.proc("loadavg").unwrap_or_default();
        if let Some(load) = text.split(' ').next().filter(|load| !load.is_empty()) {
            self.study.notes.push(format!(
                "The load average was {load} at the end of the phase with {name}. The study alone makes 1; where other \
                 programs came or went between phases, before and after differ by them."
            ));
        }
    }

    /// Measures the whole map, breaks it step by step, and measures again. Returns the controls by turns.
    fn before_and_after(&mut self, options: &Options) -> Vec<Comparison> {
        let session = self.session;
        // The files in whole blocks are taken at two times, before and after the first phase.
        let whole = Whole::take(&self.root);
        self.measure("whole map", &BTreeSet::new());
        let whole = whole.and_then(Whole::take_again).map_err(|omission| self.study.omissions.push(omission));
        let mut broken = BTreeSet::new();
        if !options.no_transition && !session.is_ending() {
            broken.extend(self.transition());
        }
        for target in targets(&self.before, options.amount, options.steps) {
            if session.is_ending() || !self.step(target, &mut broken) {
                break;
            }
        }
        let Ok(whole) = whole else { return Vec::new() };
        if session.is_ending() || self.steps.is_empty() {
            return Vec::new();
        }
        match placed::compare(&self.root, &whole, &broken, session) {
            Ok(placed) => {
                self.study.comparisons.extend(placed.comparisons);
                placed.controls
            }
            Err(omission) => {
                self.study.omissions.push(omission);
                Vec::new()
            }
        }
    }

    /// Measures the cost of single pages, and returns the blocks that this broke.
    fn transition(&mut self) -> BTreeSet<u64> {
        match transition::measure(&self.root, self.session) {
            Ok((times, blocks)) => {
                transition::fill(&mut self.study, &times);
                blocks.into_iter().collect()
            }
            Err(error) => {
                self.study.omissions.push(Omission {
                    part: "cost of a page that becomes secret".to_owned(),
                    why: format!("{error}."),
                    remedy: "Free some memory, or raise the limit of locked memory (`ulimit -l`).".to_owned(),
                });
                BTreeSet::new()
            }
        }
    }

    /// Breaks the map until `target` bytes are in small pages, and measures a phase. Returns whether that much was reached.
    fn step(&mut self, target: u64, broken: &mut BTreeSet<u64>) -> bool {
        let task = self.session.task("Breaking the direct map");
        let result = break_map(&self.root, target, self.session, &task);
        drop(task);
        match result {
            Ok(done) => {
                broken.extend(&done.blocks);
                let name = results::name(&self.before, &done.after);
                results::picture(&mut self.study, &self.root, &done.after, &name);
                let reached = done.reached();
                self.steps.push(Step { name: name.clone(), wanted: target, broken: done });
                self.measure(&name, broken);
                reached
            }
            Err(error) => {
                self.study.omissions.push(broken_omission(&error));
                false
            }
        }
    }

    /// Returns the study with its results, judged.
    fn end(mut self, by_turns: Vec<Comparison>) -> Study {
        let mut study = self.study;
        study.omissions.extend(std::mem::take(&mut self.phases.omissions));
        results::fill(&mut study, &self.before, &self.steps, &self.phases.subjects, &self.measured, by_turns);
        let readings: Vec<_> = self
            .measured
            .iter_mut()
            .flat_map(|(name, one)| {
                std::mem::take(&mut one.readings)
                    .into_iter()
                    .map(move |(id, operations, seen)| (format!("{id}, {name}"), operations, seen))
            })
            .collect();
        if !readings.is_empty() {
            study.tables.push(counters::table("counters", "Hardware counters for each operation", &readings));
        }
        self.session.end_study(&mut study);
        study
    }
}

/// Blocks of a phase. A block of one workload varies by 5 to 10 % on a small virtual machine, because its data are made
/// anew; so many blocks see an effect of 3 %, if there is no drift.
const BLOCKS: u32 = 60;

/// The same with `--quick`, which sees one of 5 %: fewer would leave the halves of a phase blind.
const BLOCKS_QUICKLY: u32 = 24;

/// Says how long the study will take, at most.
fn announce(options: &Options, blocks: u32, session: &Session) {
    let phases = f64::from(1 + options.steps);
    let time = sample(session);
    let workloads = 9.0 * 7.0 * time.as_secs_f64() + if session.quick { 0.5 } else { 2.0 };
    let programs = match (options.no_programs, session.quick) {
        (true, _) => 0.0,
        (false, true) => 1.5,
        (false, false) => 7.0,
    };
    let seconds =
        phases * f64::from(blocks) * (workloads + programs) + if session.quick { 60.0 } else { 240.0 };
    session.say(format!(
        "study linux: about {} with a broken map, {} without; the time to break a large share comes on top.",
        crate::who::show::age(seconds),
        crate::who::show::age(seconds / phases),
    ));
}

fn sample(session: &Session) -> Duration {
    Duration::from_millis(if session.quick { 8 } else { 30 })
}

/// Returns the sizes of the workloads' data: what fits this machine and this study.
fn sizes(root: &Root, session: &Session) -> Sizes {
    let room = room(root);
    let most = if session.quick { 128 << 20 } else { 512 << 20 };
    Sizes {
        cached_bytes: (room / 16).clamp(4 << 20, most) / KIB_4 * KIB_4,
        files: if session.quick { 5_000 } else { 20_000 },
        forked_bytes: (room / 64).clamp(1 << 20, 64 << 20) as usize,
        sample: sample(session),
    }
}

/// Returns how many bytes are to be in small pages after each step. A step breaks a page at least, and no more than is
/// whole before the study.
fn targets(before: &Moment, amount: Amount, steps: u32) -> impl Iterator<Item = u64> + use<> {
    let (total, small) = (before.map.total(), before.small());
    let wanted = amount.of(total).min(total.saturating_sub(small));
    (1..=steps).map(move |step| {
        let share = f64::from(step) / f64::from(steps);
        small + ((wanted as f64 * share) as u64).max(u64::from(step) * KIB_4)
    })
}

/// Tells whether the map can be broken, and whether the user agrees.
fn may_break(root: &Root, options: &Options, before: &Moment, session: &Session) -> Result<(), Omission> {
    let omission = |why: &str, remedy: &str| Omission {
        part: consent::PART.to_owned(),
        why: why.to_owned(),
        remedy: remedy.to_owned(),
    };
    match Availability::probe() {
        Availability::Available { .. } => {}
        Availability::Absent => {
            return Err(omission(
                "This kernel has no secret memory (memfd_secret), or has it switched off.",
                "Boot Linux 5.14 or later with `secretmem.enable=1` on its command line.",
            ));
        }
        Availability::Refused(why) => {
            return Err(omission(
                &format!("This process may not have secret memory: {why}."),
                "Run the study outside of the sandbox that forbids it.",
            ));
        }
    }
    if before.map.small.is_none() {
        return Err(omission(
            "/proc/meminfo has no DirectMap4k, so that a broken share could not be told.",
            "Run the study on the host, on a kernel for x86.",
        ));
    }
    if room(root) < 64 * MIB_2 {
        return Err(omission(
            "Too little memory is free: 15 % of it stays free in any case.",
            "Free some memory, or raise the limit of this control group.",
        ));
    }
    let beforehand = if options.yes_until_reboot { Beforehand::Agreed } else { Beforehand::Open };
    consent::ask(options.amount, beforehand, session)
}

fn broken_omission(error: &Error) -> Omission {
    Omission {
        part: "the broken map".to_owned(),
        why: format!("The map could not be broken: {error}."),
        remedy: "Free some memory, raise the limit of locked memory (`ulimit -l`), or run as root."
            .to_owned(),
    }
}

impl Broken {
    /// Tells whether as much was broken as was wanted.
    fn reached(&self) -> bool {
        self.ended == crate::breaking::Ended::Reached
    }
}
