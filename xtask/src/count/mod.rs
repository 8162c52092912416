//! `cargo xtask count`: exact instruction counts of the kernel's marked regions.
//!
//! ```text
//!  kernel: runs each region between marks,        plugin in QEMU: counts between the marks,
//!  prints a row of its own counters                writes a report when the machine ends
//!              │ console                                       │ file
//!              └──────────────► figures: joined by the region's number ◄──┘
//!                                  │ functions: addresses to names
//!                                  ▼
//!                               table, CSV
//! ```
//!
//! With `-icount` QEMU executes all CPUs in one thread, in an order that depends on nothing outside, so a run is
//! repeatable to the digit. Time is counted in instructions, too, and the kernel reads it just outside of its marks: a
//! second count of the same, which must agree with the plugin's.

mod across;
mod figures;
mod functions;
pub(crate) mod plugin;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rhumb_count::Report;
use rhumb_mark::is_meant_by;

use self::figures::{CSV_HEAD, Figures};
use self::functions::Names;
use crate::build;
use crate::cli::{Contents, CountOptions};
use crate::console::{Ending, Feed, Session};
use crate::machine::Machine;
use crate::qemu::{self, Files};
use crate::setup::{self, Need};
use crate::{paths, run};

/// An instruction takes 2^4 ns of the guest's time. A start-up waits tens of milliseconds for each CPU: at 1 ns an
/// instruction most of the emulation would be that. Not more, since QEMU changes CPUs every 100 ms, and a region should
/// seldom be cut.
const TIME_SHIFT: u32 = 4;
/// Under `-icount` QEMU ends with "Bad icount read" where an x2APIC's timer is set, because it lets only the last
/// instruction of a block read the time, and `wrmsr` is not always the last. The APIC's pages work, and older versions
/// have nothing else.
const CPU_MODEL: &str = "max,-x2apic";
/// The part that the measuring itself takes.
const EMPTY: &str = "empty";
/// A busy host counts slowly.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs `cargo xtask count`.
pub(crate) fn command(options: &CountOptions) -> Result<ExitCode> {
    setup::ensure(&[Need::Core, Need::Qemu, Need::Plugins])?;
    let kernel = build::kernel(&options.build, Contents::WithLab)?;
    if options.list {
        print!("{}", chosen(&converse(options, 1, &kernel, "count list", &[])?, &options.regions)?);
        return Ok(ExitCode::SUCCESS);
    }

    let library = plugin::build()?;
    let names = Names::of(&kernel)?;
    let runs = options.cpus.iter().map(|cpus| count(options, cpus, &kernel, &library, &names));
    let runs = runs.collect::<Result<Vec<Figures>>>()?;
    match runs.as_slice() {
        [only] => print!("{}", only.table(options)),
        several => print!("{}", across::table(several)),
    }
    for figures in &runs {
        if options.functions {
            print!("{}", figures.profiles(&names, options));
        }
        for note in figures.notes() {
            println!("note: {note}");
        }
    }
    if let Some(path) = &options.csv {
        let rows: String = runs.iter().map(|figures| figures.csv(options)).collect();
        fs::write(path, format!("{CSV_HEAD}{rows}"))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the lines of the kernel's list that `regions` name as the kernel understands them: by a name, or by its
/// first parts. Without regions, all lines.
fn chosen(list: &str, regions: &[String]) -> Result<String> {
    let is_meant = |line: &str, region: &String| {
        let name = line.split_whitespace().next().unwrap_or_default();
        is_meant_by(name, region)
    };
    for region in regions {
        ensure!(list.lines().any(|line| is_meant(line, region)), "no region is called {region} (see --list)");
    }
    let meant = |line: &&str| regions.is_empty() || regions.iter().any(|region| is_meant(line, region));
    Ok(list.lines().filter(meant).map(|line| format!("{line}\n")).collect())
}

/// Counts with so many CPUs.
fn count(options: &CountOptions, cpus: u32, kernel: &Path, library: &Path, names: &Names) -> Result<Figures> {
    let file = ReportFile::new();
    let mut words = vec!["count"];
    words.extend(options.busy.then_some("busy"));
    if !options.regions.is_empty() {
        words.push(EMPTY);
        words.extend(options.regions.iter().map(String::as_str));
    }
    let arguments = plugin::arguments(library, &file.0, options.memory);
    let console = converse(options, cpus, kernel, &words.join(" "), &arguments)?;
    let report = file.read()?;
    for fault in &report.faults {
        tell!("error: {fault}");
    }
    ensure!(report.faults.is_empty(), "marks do not pair: nothing that was counted can be trusted");
    let mut figures = Figures::join(&console, &report, options, (cpus, TIME_SHIFT))?;
    figures.set_waiting_apart(names)?;
    Ok(figures)
}

/// Boots the kernel with more arguments for QEMU, gives it one command, and returns its output.
fn converse(options: &CountOptions, cpus: u32, kernel: &Path, line: &str, more: &[String]) -> Result<String> {
    let machine = Machine { cpus, cpu_model: CPU_MODEL.into(), ..Machine::default() };
    let files = Files { kernel, ram_disk: None, iso: Path::new(""), ovmf: None };
    let mut arguments = qemu::arguments(&machine, &files, &run::command_line(false, &options.append));
    arguments.extend(["-icount".into(), format!("shift={TIME_SHIFT},sleep=off")]);
    // The guest's random numbers (RDRAND, RDSEED) are a part of the run: the order of the map's records depends on
    // them.
    arguments.extend(["-seed".into(), "1".into()]);
    arguments.extend_from_slice(more);
    let session = Session::start(run::program(arguments)?, Feed::Commands(vec![line.into()]))?;
    let mut output = Vec::new();
    let (ending, messages) = session.finish(Some(LIMIT), &mut |bytes| {
        output.extend_from_slice(bytes);
        Ok(())
    })?;
    let output = String::from_utf8_lossy(&output).replace('\r', "");
    ensure!(
        ending == Ending::Succeeded,
        "{}\n{}{}",
        ending.describe(),
        output.trim_end(),
        if messages.trim().is_empty() { String::new() } else { format!("\nQEMU says: {}", messages.trim()) }
    );
    Ok(output)
}

/// Where the plugin writes, gone when it has been read.
struct ReportFile(PathBuf);

impl ReportFile {
    fn new() -> Self {
        Self(paths::kernel_target().join(format!("count-{}.txt", std::process::id())))
    }

    fn read(&self) -> Result<Report> {
        let text = fs::read_to_string(&self.0).context("the plugin left no report")?;
        text.parse().context("the plugin's report cannot be read")
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        // A file too many in the target directory is no reason to fail.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
