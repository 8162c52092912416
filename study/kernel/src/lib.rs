//! Rhumb in QEMU: exact counts, and misses of translation caches by model.
//!
//! ```text
//!  plan ──> machine: QEMU, the kernel, the plugin ──> rows, reports ──> measured ──> figures ──> Study
//! ```
//!
//! Each machine boots the kernel with its laboratory on another command line, brings its direct map into a state, and
//! runs the kernel's marked regions. The plugin counts their instructions, and follows their accesses through models of
//! translation caches. All counts repeat to the digit, so nothing is compared by statistics.
//!
//! | module | owns |
//! |---|---|
//! | `plan` | which machines there are |
//! | `machine`, `orphan` | one QEMU from start to end; that it does not outlive the study |
//! | `rows`, `measured` | the kernel's output; one region from all sources |
//! | `geometries` | the CPUs that are modelled, and the ladders that their models predict |
//! | `figures` | charts, curves, tables |
//!
//! Principles: never another accelerator than the emulator, because hardware would count other things; no time, because
//! times of an emulator mean nothing; no user programs where there are none, so that their class is empty.
#![deny(unsafe_code)]

mod error;
mod figures;
pub mod geometries;
mod machine;
mod measured;
#[allow(unsafe_code)]
mod orphan;
mod plan;
mod rows;

use std::path::PathBuf;

use clap::Args;
use rhumb_study_report::{Kind, MemoryMap, Omission, Study};
use rhumb_study_system::Session;

use crate::machine::{Folder, Parts, Silence};
use crate::plan::{Part, Planned, Trace};

pub use error::{Error, Unknown};

/// Options of `study kernel`.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// The kernel with its laboratory [default: `cargo xtask study kernel` builds it].
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The counting plugin [default: `cargo xtask study kernel` builds it].
    #[arg(long, value_name = "FILE")]
    pub plugin: Option<PathBuf>,
    /// QEMU [default: qemu-system-x86_64 in PATH].
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// A CPU whose translation caches are modelled, such as zen3 or this-machine; may be given several times [default:
    /// all that are published, or three of them with --quick, and this machine's where its CPU describes them].
    #[arg(long = "geometry", value_name = "NAME")]
    pub geometries: Vec<String>,
    /// Only this part: directmap, text, kmem, shootdown or protect-tables; may be given several times.
    #[arg(long, value_name = "PART", value_parser = ["directmap", "text", "kmem", "shootdown", "protect-tables"])]
    pub only: Vec<String>,
}

const QEMU: &str = "qemu-system-x86_64";

/// Measures, and returns what was measured.
///
/// # Errors
/// The kernel, the plugin or QEMU is missing, or no machine ran to its end.
pub fn run(options: &Options, session: &Session) -> Result<Study, Error> {
    let mut study = session.begin_study(Kind::Kernel);
    let parts = parts(options)?;
    let geometries = geometries::chosen(&options.geometries, session.quick, &study.machine.tlbs)?;
    if let (true, Err(why)) = (options.geometries.is_empty(), geometries::of_machine(&study.machine.tlbs)) {
        study.omissions.push(why.omission());
    }
    let mut plan = plan::plan(session.quick);
    plan.retain(|planned| {
        options.only.is_empty() || options.only.iter().any(|part| part == planned.part.id())
    });
    if !machine::can_be_traced(machine::version(&parts.qemu)) {
        plan.iter_mut().for_each(|planned| planned.trace = Trace::Left);
        study.omissions.push(Omission {
            part: "misses of translation caches".to_owned(),
            why: "This QEMU is older than version 9, and does not show the guest's registers.".to_owned(),
            remedy: "Install QEMU 9 or later; Debian 12 has it in its backports.".to_owned(),
        });
    }
    let folder = Folder::new(session, &geometries)?;
    session.say(format!(
        "{} machines run one after the other, up to {SECONDS_EACH} seconds each where this one is idle; nothing of it is \
         changed.",
        plan.len()
    ));
    let measured = measure(&mut study, &parts, &plan, &folder, session)?;
    drop(folder);
    figures::add(&mut study, &geometries, &measured);
    let shown = if session.quick { 2 } else { geometries.len() };
    let task = session.task("ladders of the models");
    for (index, geometry) in geometries.iter().take(shown).enumerate() {
        task.set(index as u64, shown as u64);
        if !session.is_ending() {
            study.curves.push(geometries::predicted_ladder(geometry)?);
        }
    }
    drop(task);
    add_notes(&mut study, &geometries);
    session.end_study(&mut study);
    Ok(study)
}

/// A machine takes no longer where the host is idle.
const SECONDS_EACH: u64 = 6;

/// Finds the files that machines are made of.
fn parts(options: &Options) -> Result<Parts, Error> {
    let there = |path: &PathBuf| match path.is_file() {
        true => Ok(path.clone()),
        false => Err(Error::NoFile(path.clone())),
    };
    let kernel = there(options.kernel.as_ref().ok_or(Error::NoKernel)?)?;
    let plugin = there(options.plugin.as_ref().ok_or(Error::NoKernel)?)?;
    let in_path = || {
        let paths = std::env::var_os("PATH")?;
        std::env::split_paths(&paths).map(|folder| folder.join(QEMU)).find(|path| path.is_file())
    };
    let qemu = match &options.qemu {
        Some(path) => there(path)?,
        None => in_path().ok_or(Error::NoQemu)?,
    };
    Ok(Parts { qemu, kernel, plugin })
}

/// Runs all machines. One that fails is an omission, unless all do.
fn measure(
    study: &mut Study,
    parts: &Parts,
    plan: &[Planned],
    folder: &Folder,
    session: &Session,
) -> Result<Vec<measured::Measured>, Error> {
    let mut measured = Vec::new();
    let mut failure = None;
    let task = session.task("machines");
    for (index, planned) in plan.iter().enumerate() {
        task.set(index as u64, plan.len() as u64);
        if session.is_ending() {
            break;
        }
        let said = match machine::run(parts, planned, folder, session) {
            Ok(said) => said,
            Err(Silence::Ended) => break,
            Err(why) => {
                study.omissions.push(Omission {
                    part: format!("{}: {}", planned.part.title(), planned.label),
                    why: format!("The machine did not run to its end: {why}."),
                    remedy: "Try it by hand with `cargo xtask run --append` and these words.".to_owned(),
                });
                failure = Some(why);
                continue;
            }
        };
        measured.extend(measured::join(planned, &said));
        for (region, why) in rows::refused(&said.console) {
            study.omissions.push(Omission {
                part: format!("{region} with {}", planned.label),
                why: format!("The kernel did not measure it: {why}."),
                remedy:
                    "Nothing needs to be done: in this state the machine has not what the operation takes."
                        .to_owned(),
            });
        }
        let extents = rows::extents(&said.console);
        if planned.part == Part::DirectMap && !extents.is_empty() {
            let source = "meminfo of the kernel in QEMU, 8 GiB".to_owned();
            study.maps.push(MemoryMap { moment: planned.label.clone(), extents, source });
        }
    }
    match failure {
        Some(why) if measured.is_empty() => Err(Error::Nothing(why.to_string())),
        _ => Ok(measured),
    }
}

fn add_notes(study: &mut Study, geometries: &[rhumb_tlb_model::Geometry]) {
    study.notes.push(
        "All counts are exact and repeat to the digit; the machine on which QEMU ran has no part in them."
            .to_owned(),
    );
    study.notes.push(
        "The kernel has no user programs yet. In the models nothing competes with its accesses, so that its \
         misses here are the least that a CPU of that geometry has."
            .to_owned(),
    );
    study.notes.push(
        "The models replace entries by LRU and choose sets by the lowest bits of a page's number, which no vendor \
         publishes; they know no prefetches and no speculation."
            .to_owned(),
    );
    for geometry in geometries {
        study.notes.push(format!("{}: {}.", geometry.name, geometry.sources.join("; ")));
    }
}

#[cfg(test)]
mod tests;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
