//! This tool from outside: what `cargo xtask run` prints, how it exits, and what it leaves of the terminal;
//! [`counting`] has the tests of `cargo xtask count`, [`studying`] those of `cargo xtask study`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;

use super::report::{Report, Verdict};
use super::{counting, studying};
use crate::build::BUILDING;

/// A name, and the test of that name.
type Test = (&'static str, fn() -> Result<()>);

const TESTS: [Test; 13] = [
    ("tool/run/exec", exec),
    ("tool/run/pipe", pipe),
    ("tool/run/no-input", no_input),
    ("tool/run/failed-command", failed_command),
    ("tool/run/panic", panic),
    ("tool/run/time-out", time_out),
    ("tool/run/unknown-cpu", unknown_cpu),
    ("tool/run/ctrl-c", ctrl_c),
    ("tool/run/terminated", terminated),
    ("tool/count/known", counting::known),
    ("tool/count/repeats", counting::repeats),
    ("tool/count/unknown-region", counting::unknown_region),
    ("tool/study/kernel", studying::kernel),
];

/// The prompt of a kernel that is ready for a person.
const PROMPT: &[u8] = b"> ";
/// How often to look at the clock while nothing comes.
const POLL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// A busy host boots slowly.
const LIMIT: Duration = Duration::from_secs(120);

/// Returns the names that `filter` is a part of.
pub(super) fn list(filter: &str) -> Vec<String> {
    TESTS.iter().map(|(name, _)| (*name).into()).filter(|name: &String| name.contains(filter)).collect()
}

/// Runs the tests that `filter` is a part of, one after the other.
pub(super) fn run(filter: &str, report: &mut Report) {
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(filter)) {
        let started = Instant::now();
        let verdict = test().map_or_else(|error| Verdict::Failed(format!("{error:#}")), |()| Verdict::Passed);
        report.add(name, verdict, Some(started.elapsed()));
    }
}

fn exec() -> Result<()> {
    let done = piped(&["--exec", "meminfo; uptime"], "unread")?;
    done.must(0, &["MemTotal:", "up "])?;
    ensure!(!done.output.contains('\r'), "carriage returns in the output");
    // The build may wait for another one of the user's, and says so.
    let mut errors = done.errors.lines().filter(|line| !line.starts_with(BUILDING));
    ensure!(errors.next().is_none(), "on standard error: {}", done.errors);
    Ok(())
}

fn pipe() -> Result<()> {
    // Without a line end after the last command, as `printf` leaves it.
    piped(&[], "uptime\nmeminfo")?.must(0, &["up ", "MemTotal:"])
}

fn no_input() -> Result<()> {
    piped(&[], "")?.must(0, &[])
}

fn failed_command() -> Result<()> {
    let done = piped(&["--exec", "frobnicate; uptime"], "")?;
    done.must(1, &["up "])?;
    ensure!(done.errors.contains("a command failed"), "on standard error: {}", done.errors);
    Ok(())
}

fn panic() -> Result<()> {
    let done = piped(&["--exec", "panic"], "")?;
    done.must(1, &["panic"])?;
    ensure!(done.errors.contains("the kernel panicked"), "on standard error: {}", done.errors);
    Ok(())
}

fn time_out() -> Result<()> {
    let done = piped(&["--exec", "uptime", "--timeout", "0.05"], "")?;
    done.must(124, &[])?;
    ensure!(done.errors.contains("0.05 s"), "on standard error: {}", done.errors);
    Ok(())
}

fn unknown_cpu() -> Result<()> {
    let done = piped(&["--exec", "uptime", "--cpu", "frobnicate"], "")?;
    done.must(1, &[])?;
    ensure!(done.errors.contains("frobnicate"), "on standard error: {}", done.errors);
    Ok(())
}

/// Ctrl-C ends a command and not the machine; Ctrl-A x ends that.
fn ctrl_c() -> Result<()> {
    on_terminal(0, |terminal, _| {
        terminal.write_all(b"stress slabs 600\r").context("the terminal cannot be written")?;
        thread::sleep(Duration::from_secs(1));
        terminal.write_all(b"\x03").context("the terminal cannot be written")?;
        await_text(terminal, b"frames free again")?;
        terminal.write_all(b"\x01x").context("the terminal cannot be written")
    })
}

fn terminated() -> Result<()> {
    on_terminal(143, |_, child| {
        let process = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).context("no signal can be sent")
    })
}

/// The result of a run.
struct Done {
    status: Option<i32>,
    output: String,
    errors: String,
}

impl Done {
    /// Fails unless the run ended with `status` and printed all of `texts`.
    fn must(&self, status: i32, texts: &[&str]) -> Result<()> {
        let said = format!("standard output:\n{}standard error:\n{}", self.output, self.errors);
        ensure!(self.status == Some(status), "status {:?}, not {status}\n{said}", self.status);
        for text in texts {
            ensure!(self.output.contains(text), "expected, but not there: {text}\n{said}");
        }
        Ok(())
    }
}

/// `cargo xtask run` with these arguments.
fn tool(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
    command.arg("run").args(arguments);
    Ok(command)
}

/// Runs the tool with `input` through a pipe.
fn piped(arguments: &[&str], input: &str) -> Result<Done> {
    let mut command = tool(arguments)?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no tool")?;
    let mut pipe = child.stdin.take().context("no pipe")?;
    // With --exec it is not read, which is no failure.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    let mut errors = child.stderr.take().context("no pipe")?;
    let mut output = child.stdout.take().context("no pipe")?;
    let (mut said, mut complained) = (String::new(), String::new());
    let (said_end, complained_end) = thread::scope(|scope| {
        let reader = scope.spawn(|| errors.read_to_string(&mut complained));
        (output.read_to_string(&mut said), reader.join())
    });
    said_end.context("standard output cannot be read")?;
    complained_end.ok().context("standard error cannot be read")?.context("standard error cannot be read")?;
    let status = wait(&mut child)?;
    Ok(Done { status, output: said, errors: complained })
}

/// Runs the tool on a terminal of its own; at the prompt does `act`. The tool must end with `status` and leave the
/// terminal as it was.
fn on_terminal(status: i32, act: fn(&mut File, &Child) -> Result<()>) -> Result<()> {
    let (mut ours, theirs) = terminal()?;
    let before = format!("{:?}", tcgetattr(&theirs).context("the terminal has no modes")?);
    let copy = || theirs.try_clone().context("the terminal cannot be shared");
    let mut child = tool(&[])?.stdin(copy()?).stdout(copy()?).stderr(copy()?).spawn().context("no tool")?;

    let prompt = await_text(&mut ours, PROMPT);
    if prompt.is_err() {
        // It may have ended by itself; its own output is the better message.
        let _ = child.kill();
    }
    prompt?;
    let during = format!("{:?}", tcgetattr(&theirs).context("the terminal has no modes")?);
    ensure!(during != before, "the terminal was not raw at the prompt");

    act(&mut ours, &child)?;
    let ended = wait(&mut child)?;
    ensure!(ended == Some(status), "status {ended:?}, not {status}");
    let after = format!("{:?}", tcgetattr(&theirs).context("the terminal has no modes")?);
    ensure!(after == before, "the terminal is not as it was: {after}, not {before}");
    Ok(())
}

/// Reads the terminal up to `text`.
fn await_text(terminal: &mut File, text: &[u8]) -> Result<()> {
    let started = Instant::now();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(text.len()).any(|part| part == text) {
        let ready =
            poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&POLL)).context("the terminal is gone")?;
        if ready > 0 {
            let length = terminal.read(&mut buffer).context("the terminal cannot be read")?;
            seen.extend_from_slice(&buffer[..length]);
        }
        ensure!(
            started.elapsed() < LIMIT,
            "no {}:\n{}",
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(&seen)
        );
    }
    Ok(())
}

/// Returns a new terminal: our end, and the end that programs see.
fn terminal() -> Result<(File, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = openpt(flags).context("no terminal")?;
    grantpt(&ours).and_then(|()| unlockpt(&ours)).context("no terminal")?;
    let name = ptsname(&ours, Vec::new()).context("no terminal")?;
    let theirs =
        open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).context("no terminal")?;
    Ok((File::from(ours), theirs))
}

/// Returns the child's exit status; a child that does not end is ended.
fn wait(child: &mut Child) -> Result<Option<i32>> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().context("the tool's end cannot be seen")? {
            return Ok(status.code());
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().and_then(|()| child.wait()).context("the tool cannot be ended")?;
    anyhow::bail!("the tool did not end within {} s", LIMIT.as_secs())
}
