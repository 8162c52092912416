//! Boots the machines of the kernel tests, two at a time: most of them have more CPUs than the host has to spare.

mod screen;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::case::{Case, Ends, ScreenTest, Seen};
use super::disk;
use super::report::{Report, Verdict};
use crate::cli::{BuildOptions, Contents};
use crate::console::{Ending, Feed, Session};
use crate::host::{ThisHost, available_bytes};
use crate::machine::Boot;
use crate::qemu::{self, Files};
use crate::setup::{self, Need, Version};
use crate::{build, image, paths, progress, run};

const PARALLEL: usize = 2;
/// How the kernel's log names a place in its code that cannot be reached.
const IMPOSSIBLE: &str = "this cannot be: ";
/// The end of a failed test's console is where the reason is.
const SHOWN_LINES: usize = 200;

/// The files that all tests boot from.
struct Parts {
    /// The RAM disk, where a test needs one.
    ram_disk: Option<PathBuf>,
    with_lab: Image,
    product: Image,
    /// QEMU's version.
    version: Option<Version>,
}

/// A kernel, and an ISO of it where a test needs one.
#[derive(Default)]
struct Image {
    kernel: PathBuf,
    iso: PathBuf,
}

impl Image {
    /// Builds the kernel of `contents`, and its ISO, as far as `cases` boot from them.
    fn make(
        contents: Contents,
        cases: &[Case],
        build: &BuildOptions,
        ram_disk: Option<&Path>,
    ) -> Result<Self> {
        let mut boots =
            cases.iter().filter(|case| case.contents == contents).map(|case| case.machine.boot).peekable();
        if boots.peek().is_none() {
            return Ok(Self::default());
        }
        let name = match contents {
            Contents::WithLab => "test.iso",
            Contents::Product => "test-product.iso",
        };
        let image = Self { kernel: build::kernel(build, contents)?, iso: paths::kernel_target().join(name) };
        if boots.any(|boot| matches!(boot, Boot::IsoBios | Boot::IsoUefi)) {
            let files = image::Contents { kernel: &image.kernel, ram_disk };
            image::make(&files, &run::command_line(false, ""), image::AUTOMATIC, &image.iso)?;
        }
        Ok(image)
    }
}

impl Parts {
    fn image(&self, contents: Contents) -> &Image {
        match contents {
            Contents::WithLab => &self.with_lab,
            Contents::Product => &self.product,
        }
    }
}

/// A test that has run.
struct Done {
    name: String,
    verdict: Verdict,
    duration: Duration,
}

/// Runs `cases` and reports each.
///
/// # Errors
/// The kernel or the image cannot be made, or something cannot be installed.
pub(super) fn run(cases: Vec<Case>, build: &BuildOptions, report: &mut Report) -> Result<()> {
    let uses = |boot| cases.iter().any(|case| case.machine.boot == boot);
    let (bios, uefi) = (uses(Boot::IsoBios), uses(Boot::IsoUefi));
    let mut needs = vec![Need::Core, Need::Qemu];
    needs.extend((bios || uefi).then_some(Need::ImageTools));
    needs.extend(uefi.then_some(Need::Ovmf));
    setup::ensure(&needs)?;

    let wants_disk = bios || uefi || cases.iter().any(|case| case.has_ram_disk);
    let ram_disk = if wants_disk { Some(disk::make()?) } else { None };
    let parts = Parts {
        with_lab: Image::make(Contents::WithLab, &cases, build, ram_disk.as_deref())?,
        product: Image::make(Contents::Product, &cases, build, ram_disk.as_deref())?,
        ram_disk,
        version: Version::of(&ThisHost),
    };

    let waiting = Mutex::new(cases.into_iter());
    let (sender, results) = channel();
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            let (sender, waiting, parts) = (sender.clone(), &waiting, &parts);
            scope.spawn(move || work(waiting, parts, &sender));
        }
        drop(sender);
        for done in results {
            report.add(&done.name, done.verdict, Some(done.duration));
        }
    });
    Ok(())
}

/// Runs one waiting test after the other.
fn work(waiting: &Mutex<std::vec::IntoIter<Case>>, parts: &Parts, results: &Sender<Done>) {
    loop {
        // Nothing panics with the lock held, so a poisoned lock still holds a sound queue.
        let Some(case) = waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next() else {
            return;
        };
        let started = Instant::now();
        let verdict = try_case(&case, parts).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
        let done = Done { name: case.name, verdict, duration: started.elapsed() };
        if results.send(done).is_err() {
            return;
        }
    }
}

/// Boots the case's machine, presses keys on it, and judges its screen, its output and its end.
fn try_screen(case: &Case, test: &ScreenTest, parts: &Parts) -> Result<Verdict> {
    let variables = Variables::for_case(case)?;
    let ovmf = variables.as_ref().map(|variables| (variables.code, variables.file.as_path()));
    let file = |ending: &str| Scratch(paths::kernel_target().join(format!("{}.{ending}", unique(case))));
    let (iso, socket, picture) = (file("iso"), file("monitor"), file("ppm"));
    let kernel = &parts.image(case.contents).kernel;
    // With the exit port QEMU would end with the kernel's last words, before they can be seen.
    let command_line = match test.ends {
        Seen::Prompt => run::command_line(true, &case.append),
        Seen::Halted => case.append.clone(),
    };
    let contents = image::Contents { kernel, ram_disk: parts.ram_disk.as_deref() };
    image::make(&contents, &command_line, test.graphics, &iso.0)?;
    let files = Files { kernel, ram_disk: None, iso: &iso.0, ovmf };
    let arguments = qemu::arguments_with_monitor(&case.machine, &files, "", Some(&socket.0));
    let session = Session::start(run::program(arguments)?, Feed::Commands(Vec::new()))?;
    let output = Mutex::new(Vec::new());
    let deadline = Instant::now() + case.limit;
    let bench = screen::Bench { test, monitor: &socket.0, picture: &picture.0, output: &output, deadline };
    // The bench ends the machine when the time is over; the session does, should QEMU itself hang.
    let limit = case.limit + Duration::from_secs(30);
    let (seen, ended) = thread::scope(|scope| {
        let typing = scope.spawn(|| bench.run());
        let ended = session.finish(Some(limit), &mut |bytes| {
            output.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend_from_slice(bytes);
            Ok(())
        });
        (typing.join(), ended)
    });
    let (ending, messages) = ended?;
    let output = output.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let output = progress::plain(&String::from_utf8_lossy(&output)).replace('\r', "");
    let Ok(seen) = seen else { bail!("the thread that types has panicked") };
    Ok(match (seen, judge(case, &ending, &output, &messages)) {
        (Ok(()), verdict) => verdict,
        (Err(error), Verdict::Failed(why)) => Verdict::Failed(format!("{error:#}\n{why}")),
        (Err(error), _) => Verdict::Failed(format!("{error:#}\nconsole:\n{output}")),
    })
}

/// A file of one test, gone when the test is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file too many in the target directory is no reason to fail.
        let _ = fs::remove_file(&self.0);
    }
}

/// Boots the case's machine and judges its output and its end.
fn try_case(case: &Case, parts: &Parts) -> Result<Verdict> {
    if let Some(lack) = qemu::lack(&case.machine, &case.append, parts.version) {
        return Ok(Verdict::Skipped(lack.into()));
    }
    if let Some(excess) = qemu::excess(&case.machine, available_bytes()) {
        return Ok(Verdict::Skipped(excess));
    }
    if let Some(test) = &case.screen {
        return try_screen(case, test, parts);
    }
    let variables = Variables::for_case(case)?;
    let ovmf = variables.as_ref().map(|variables| (variables.code, variables.file.as_path()));
    let image = parts.image(case.contents);
    let ram_disk = parts.ram_disk.as_deref().filter(|_| case.has_ram_disk);
    let files = Files { kernel: &image.kernel, ram_disk, iso: &image.iso, ovmf };
    let socket = case.injection.map(|_| paths::kernel_target().join(format!("{}.monitor", unique(case))));
    let command_line = run::command_line(false, &case.append);
    let arguments = qemu::arguments_with_monitor(&case.machine, &files, &command_line, socket.as_deref());
    let session = Session::start(run::program(arguments)?, Feed::Commands(case.commands.clone()))?;
    let (mut output, mut injection) = (Vec::new(), case.injection.zip(socket.as_deref()));
    let mut monitor = None;
    let (ending, messages) = session.finish(Some(case.limit), &mut |bytes| {
        output.extend_from_slice(bytes);
        if let Some(((text, command), socket)) = injection
            && String::from_utf8_lossy(&output).contains(text)
        {
            injection = None;
            // It stays open, so that the command is read before the end of the connection.
            writeln!(monitor.insert(UnixStream::connect(socket)?), "{command}")?;
        }
        Ok(())
    })?;
    // Firmware clears the screen, which a failed test's report must not do.
    let output = progress::plain(&String::from_utf8_lossy(&output)).replace('\r', "");
    Ok(judge(case, &ending, &output, &messages))
}

/// Returns the verdict on a test that ended so, with this output, and with these messages of QEMU.
fn judge(case: &Case, ending: &Ending, output: &str, messages: &str) -> Verdict {
    let wanted = match case.ends {
        Ends::Succeeding => Ending::Succeeded,
        Ends::Failing => Ending::CommandFailed,
        Ends::Panicking => Ending::Panicked,
        Ends::Refusing => Ending::Refused,
        Ends::TurnedOff => Ending::Unreported,
    };
    let mut complaints: Vec<String> =
        case.expectations.iter().filter_map(|expect| expect.complaint(output)).collect();
    if *ending != wanted {
        complaints.insert(0, format!("ended otherwise: {}, not {}", ending.describe(), wanted.describe()));
    }
    match (output.contains(IMPOSSIBLE), case.takes_impossible_step) {
        (true, false) => {
            complaints.push(format!("the kernel took a step that cannot be: look for `{IMPOSSIBLE}`"));
        }
        (false, true) => complaints.push(format!("the kernel did not say `{IMPOSSIBLE}`")),
        (true, true) | (false, false) => {}
    }
    if complaints.is_empty() {
        return Verdict::Passed;
    }
    let lines: Vec<&str> = output.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    let mut why = complaints.join("\n");
    why += &format!("\ncommands: {}\nconsole:\n", case.commands.join("; "));
    shown.iter().for_each(|line| why += &format!("| {line}\n"));
    if !messages.trim().is_empty() {
        why += &format!("QEMU says: {}", messages.trim());
    }
    Verdict::Failed(why)
}

/// Returns a name for files of this run of a case.
fn unique(case: &Case) -> String {
    format!("{}-{}", case.name.replace('/', "-"), std::process::id())
}

/// A private copy of OVMF's variables, which the firmware writes to; gone when the test is.
struct Variables {
    code: &'static Path,
    file: PathBuf,
}

impl Variables {
    /// For a machine with UEFI firmware; `None` for others.
    fn for_case(case: &Case) -> Result<Option<Self>> {
        if case.machine.boot != Boot::IsoUefi {
            return Ok(None);
        }
        let (code, variables) = setup::ovmf(&ThisHost).context("OVMF is not found")?;
        let name = format!("{}.fd", unique(case));
        let file = paths::kernel_target().join(name);
        fs::copy(variables, &file).with_context(|| format!("{variables} cannot be copied"))?;
        Ok(Some(Self { code: Path::new(code), file }))
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        // A file too many in the target directory is no reason to fail.
        let _ = fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests;
