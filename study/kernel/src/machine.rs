//! One machine from start to end: QEMU with the kernel, the plugin, and commands for the kernel's prompt.
//!
//! The protocol is that of `cargo xtask` (docs/xtask.md): the kernel sends ENQ when it is ready, gets a command a line
//! and EOT, and writes its outcome to the exit port, so that QEMU ends with status 2N + 1.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rhumb_study_system::{Scratch, Session};
use rhumb_tlb_model::Geometry;

use crate::orphan;
use crate::plan::{Planned, Trace};

/// The kernel is ready for commands.
const ENQ: u8 = 0x05;
/// No more commands.
const EOT: u8 = 0x04;
const EXIT_PORT: u16 = 0xf4;
/// QEMU's status where all commands succeeded: the kernel reports 0x10.
const SUCCEEDED: i32 = 2 * 0x10 + 1;
/// QEMU's status where a command failed: the kernel reports 0x11.
const COMMAND_FAILED: i32 = 2 * 0x11 + 1;
/// A busy host emulates slowly.
const LIMIT: Duration = Duration::from_secs(600);
/// How often the user's wish to end is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// The guest's memory. Enough for several pages of 1 GiB; the host gives only what is touched.
const MEMORY_MIB: u64 = 8192;
/// The part of it below the PCI hole, as QEMU's q35 has it.
const LOW_BYTES: u64 = 2 << 30;
/// An instruction takes 2^4 ns of the guest's time, as in `cargo xtask count`.
const TIME_SHIFT: u32 = 4;
/// Under `-icount` QEMU cannot keep the timers of an x2APIC.
const CPU: &str = "max,-x2apic";

/// The first QEMU that shows the guest's registers to plugins.
const SHOWS_REGISTERS: u32 = 9;

/// The files that machines are made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parts {
    pub(crate) qemu: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) plugin: PathBuf,
}

/// Everything that one machine said.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Said {
    /// The kernel's console.
    pub(crate) console: String,
    /// The counting plugin's report.
    pub(crate) counts: rhumb_count::Report,
    /// The report of its trace, where accesses were followed.
    pub(crate) trace: Option<rhumb_trace::Report>,
}

/// Why a machine said nothing that counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
    /// The user or the system wants the study to end.
    #[error("the study was ended")]
    Ended,
    /// It took too long.
    #[error("it was not done after {} minutes", LIMIT.as_secs() / 60)]
    TimedOut,
    /// It ended otherwise than it should.
    #[error("{0}")]
    Failed(String),
    /// The system refused something.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// The folder for files that go away again, also if the study is killed.
pub(crate) struct Folder(Scratch);

impl Folder {
    /// Makes it within the folder for results, with the geometries in it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(session: &Session, geometries: &[Geometry]) -> std::io::Result<Self> {
        let folder = Self(Scratch::new(session, "kernel-")?);
        fs::write(folder.geometries(), serde_json::to_vec(geometries)?)?;
        Ok(folder)
    }

    fn geometries(&self) -> PathBuf {
        self.0.path().join("geometries.json")
    }

    fn counts(&self) -> PathBuf {
        self.0.path().join("counts.txt")
    }

    fn trace(&self) -> PathBuf {
        self.0.path().join("trace.txt")
    }
}

/// Returns the major version of a QEMU; `None` where it does not say.
pub(crate) fn version(qemu: &Path) -> Option<u32> {
    let output = Command::new(qemu).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("version ").nth(1)?.split('.').next()?.parse().ok()
}

/// Tells whether a QEMU of this version can be traced.
pub(crate) fn can_be_traced(version: Option<u32>) -> bool {
    version.is_some_and(|version| version >= SHOWS_REGISTERS)
}

/// Runs a machine to its end.
///
/// # Errors
/// It did not come to the end that it should.
pub(crate) fn run(
    parts: &Parts,
    planned: &Planned,
    folder: &Folder,
    session: &Session,
) -> Result<Said, Silence> {
    for file in [folder.counts(), folder.trace()] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut command = Command::new(&parts.qemu);
    command.args(arguments(parts, planned, folder));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    orphan::die_with_parent(&mut command);
    let console = converse(command.spawn()?, &planned.commands(), session)?;
    let counts = fs::read_to_string(folder.counts())?;
    let counts: rhumb_count::Report = counts.parse().map_err(failed)?;
    if !counts.faults.is_empty() {
        return Err(Silence::Failed(
            "marks do not pair, so that nothing that was counted can be trusted".into(),
        ));
    }
    let trace = match planned.trace {
        Trace::Left => None,
        Trace::Followed => Some(fs::read_to_string(folder.trace())?.parse().map_err(failed)?),
    };
    Ok(Said { console, counts, trace })
}

fn failed(error: impl std::fmt::Display) -> Silence {
    Silence::Failed(format!("the plugin's report cannot be read: {error}"))
}

fn arguments(parts: &Parts, planned: &Planned, folder: &Folder) -> Vec<String> {
    // A comma in a file's name would end the option's value.
    let quoted = |path: &Path| path.display().to_string().replace(',', ",,");
    let mut plugin = format!("file={},out={}", quoted(&parts.plugin), quoted(&folder.counts()));
    if planned.trace == Trace::Followed {
        let (trace, geometries) = (quoted(&folder.trace()), quoted(&folder.geometries()));
        plugin += &format!(",trace={trace},geometries={geometries},low={LOW_BYTES}");
    }
    let fixed = "-nodefaults -no-user-config -display none -monitor none -no-reboot \
                 -chardev stdio,id=console,signal=off -serial chardev:console -accel tcg \
                 -machine q35,memory-backend=ram0 -seed 1";
    let mut words: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    for (option, value) in [
        ("-cpu", CPU.to_owned()),
        ("-smp", planned.cpus.to_string()),
        ("-m", format!("{MEMORY_MIB}M")),
        ("-object", format!("memory-backend-memfd,id=ram0,size={MEMORY_MIB}M,reserve=off")),
        ("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04")),
        ("-icount", format!("shift={TIME_SHIFT},sleep=off")),
        ("-kernel", parts.kernel.display().to_string()),
        ("-append", format!("exit_port={EXIT_PORT:#x} batch loglevel=warn {}", planned.words)),
        ("-plugin", plugin),
    ] {
        words.extend([option.to_owned(), value]);
    }
    words
}

/// Gives the kernel its commands, and returns its console.
fn converse(mut qemu: Child, commands: &[String], session: &Session) -> Result<String, Silence> {
    let (Some(input), Some(output), Some(errors)) =
        (qemu.stdin.take(), qemu.stdout.take(), qemu.stderr.take())
    else {
        end(&mut qemu);
        return Err(Silence::Failed("QEMU's console is not connected".into()));
    };
    let events = listen(output);
    let messages = thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let listened = listen_to_the_end(&events, input, commands, session);
    if listened.is_err() {
        end(&mut qemu);
    }
    let status = qemu.wait()?;
    let messages = messages.join().unwrap_or_default();
    let console = listened?;
    match status.code() {
        Some(SUCCEEDED) => Ok(console),
        // A region that this machine cannot measure fails its command; the others have their rows.
        Some(COMMAND_FAILED) if console.contains("not measured") => Ok(console),
        Some(COMMAND_FAILED) => Err(Silence::Failed(format!("a command failed: {}", last(&console)))),
        _ if !messages.trim().is_empty() => Err(Silence::Failed(format!("QEMU says: {}", messages.trim()))),
        _ => Err(Silence::Failed(format!("the kernel did not come to its end: {}", last(&console)))),
    }
}

/// Ends QEMU. It may have ended by itself just now; then there is nothing to kill.
fn end(qemu: &mut Child) {
    let _ = qemu.kill();
}

fn last(console: &str) -> &str {
    console.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim()
}

/// Reads in a thread, so that a silent guest keeps nothing waiting.
fn listen(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, events) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    events
}

fn listen_to_the_end(
    events: &Receiver<Vec<u8>>,
    mut input: impl Write,
    commands: &[String],
    session: &Session,
) -> Result<String, Silence> {
    let (began, mut console, mut is_ready) = (Instant::now(), Vec::new(), false);
    loop {
        match events.recv_timeout(LOOK) {
            Ok(bytes) => console.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if session.is_ending() {
            return Err(Silence::Ended);
        }
        if began.elapsed() > LIMIT {
            return Err(Silence::TimedOut);
        }
        if !is_ready && console.contains(&ENQ) {
            is_ready = true;
            let mut text: Vec<u8> =
                commands.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            text.push(EOT);
            // Writing fails when QEMU has ended, which the output's end tells better.
            let _ = input.write_all(&text).and_then(|()| input.flush());
        }
    }
    console.retain(|byte| *byte != b'\r' && *byte != ENQ);
    Ok(String::from_utf8_lossy(&console).into_owned())
}

#[cfg(test)]
mod tests;
