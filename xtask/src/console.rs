//! One QEMU from start to end: its serial port here, its exit status turned into what the kernel meant.
//!
//! The protocol with the kernel, on the first serial port and the exit port:
//! - `batch` on its command line: no prompt, no echo. When it is ready for commands, it sends ENQ (0x05), which goes
//!   no further. Nothing is sent to it before: firmware reads the serial port, too, and drivers clear what came early.
//! - One command a line; EOT (0x04) after the last: it powers off.
//! - Through the exit port: [`REPORT_SUCCESS`], [`REPORT_FAILURE`], [`REPORT_PANIC`] or [`REPORT_REFUSAL`]. QEMU then
//!   ends with status 2N+1. Any other end means that the kernel lost control.
//!
//! Threads: one feeds the guest, one reads what it says, one what QEMU itself says; all events meet in
//! [`Session::finish`]. So a guest that does not read cannot keep its output from being shown, nor a time-out from
//! coming.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// All commands succeeded.
const REPORT_SUCCESS: i32 = 0x10;
/// Some command failed.
const REPORT_FAILURE: i32 = 0x11;
/// The kernel panicked.
const REPORT_PANIC: i32 = 0x12;
/// The kernel cannot run on this machine.
const REPORT_REFUSAL: i32 = 0x13;

/// The kernel is ready for commands.
const ENQ: u8 = 0x05;
/// No more commands.
const EOT: u8 = 0x04;
/// The key that begins one of this tool's own, as with `qemu -nographic`.
const CTRL_A: u8 = 0x01;

/// The input of the guest.
pub(crate) enum Feed {
    /// Standard input, a raw terminal: key by key, from the start.
    Keys,
    /// Standard input, when the kernel asks; EOT at its end.
    Pipe,
    /// These commands, when the kernel asks; then EOT.
    Commands(Vec<String>),
}

/// How a machine ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The kernel reported that all went well.
    Succeeded,
    /// The kernel reported a failed command.
    CommandFailed,
    /// The kernel reported a panic.
    Panicked,
    /// The kernel said that it cannot run on this machine.
    Refused,
    /// It took longer than allowed.
    TimedOut(Duration),
    /// A person or a signal ended it.
    Stopped(Stop),
    /// Its output is no longer read.
    Unheard,
    /// The machine was reset or turned off without a word from the kernel.
    Unreported,
    /// QEMU ended without a word from the kernel; the text says how.
    Lost(String),
}

impl Ending {
    /// Returns the ending as the middle of a sentence.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Succeeded => "all commands succeeded".into(),
            Self::CommandFailed => "a command failed".into(),
            Self::Panicked => "the kernel panicked".into(),
            Self::Refused => "the kernel cannot run on this machine".into(),
            Self::TimedOut(limit) => format!("not done after {} s, the time limit", limit.as_secs_f64()),
            Self::Stopped(_) => "stopped from outside".into(),
            Self::Unheard => "the output is not read any more".into(),
            Self::Unreported => {
                "the machine was reset (by a triple fault, most likely) or switched off without a report"
                    .into()
            }
            Self::Lost(how) => how.clone(),
        }
    }
}

/// The cause that ended a machine from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Ctrl-A x on the raw terminal.
    Quit,
    /// A signal to this process.
    Signal(i32),
}

/// An event of a session.
pub(crate) enum Event {
    Output(Vec<u8>),
    OutputEnded,
    Stop(Stop),
}

/// A running QEMU.
pub(crate) struct Session {
    child: Child,
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// Tells the feeder that the kernel is ready; `None` once told, or where no feeder waits.
    ready: Option<Sender<()>>,
    /// When to say that the kernel is not ready yet.
    patience: Option<Duration>,
    messages: thread::JoinHandle<String>,
    started: Instant,
}

impl Session {
    /// Starts QEMU with `feed` for its serial port.
    ///
    /// # Errors
    /// QEMU does not start.
    pub(crate) fn start(mut qemu: Command, feed: Feed) -> Result<Self> {
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut qemu);
        let mut child =
            qemu.spawn().with_context(|| format!("{} does not start", qemu.get_program().display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).context("QEMU's console is not connected")?;
        let errors = child.stderr.take().context("QEMU's messages are not connected")?;

        let (sender, events) = channel();
        let (ready, wait) = channel();
        let interactive = matches!(feed, Feed::Keys);
        let (from_output, from_keys) = (sender.clone(), sender.clone());
        thread::spawn(move || read_output(output, &from_output));
        let messages = thread::spawn(move || io::read_to_string(errors).unwrap_or_default());
        // Writing fails when QEMU has ended, which the output's end tells better.
        thread::spawn(move || match feed {
            Feed::Keys => feed_keys(input, &from_keys),
            Feed::Pipe => feed_pipe(input, &wait),
            Feed::Commands(commands) => feed_commands(input, &wait, &commands),
        });
        let ready = (!interactive).then_some(ready);
        Ok(Self { child, sender, events, ready, patience: None, messages, started: Instant::now() })
    }

    /// Returns where events from elsewhere (signals) come in.
    pub(crate) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Says so on standard error if the kernel has not asked for commands after this long.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Hands the guest's output to `sink` until the machine ends or `limit` has passed. Returns how it ended, and QEMU's
    /// own messages.
    ///
    /// # Errors
    /// QEMU's end cannot be awaited.
    pub(crate) fn finish(
        mut self,
        limit: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(Ending, String)> {
        let forced = loop {
            let elapsed = self.started.elapsed();
            if let Some(limit) = limit.filter(|&limit| elapsed >= limit) {
                break Some(Ending::TimedOut(limit));
            }
            self.lose_patience(elapsed);
            let next = [limit, self.patience].into_iter().flatten().map(|at| at - elapsed).min();
            match self.events.recv_timeout(next.unwrap_or(Duration::MAX)) {
                Ok(Event::Output(mut bytes)) => {
                    self.take_ready(&mut bytes);
                    if sink(&bytes).is_err() {
                        break Some(Ending::Unheard);
                    }
                }
                Ok(Event::Stop(stop)) => break Some(Ending::Stopped(stop)),
                Ok(Event::OutputEnded) | Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        if forced.is_some() {
            // It may have ended by itself just now; then there is nothing to kill.
            let _ = self.child.kill();
        }
        let status = self.child.wait().context("QEMU's end cannot be awaited")?;
        let messages = self.messages.join().unwrap_or_default();
        Ok((forced.unwrap_or_else(|| ending(status, &messages)), messages))
    }

    /// Says that the kernel is not ready yet, if that is so and it is time.
    fn lose_patience(&mut self, elapsed: Duration) {
        if self.patience.is_some_and(|patience| elapsed >= patience) {
            self.patience = None;
            if self.ready.is_some() {
                tell!("The kernel has not asked for commands yet (ENQ, 0x05, on the first serial port).");
            }
        }
    }

    /// Takes the kernel's ENQ out of its output, and lets the feeder go.
    fn take_ready(&mut self, bytes: &mut Vec<u8>) {
        if self.ready.is_some() && bytes.contains(&ENQ) {
            bytes.retain(|&byte| byte != ENQ);
            // The feeder is gone only if QEMU is.
            let _ = self.ready.take().map(|ready| ready.send(()));
        }
    }
}

/// Returns the kernel's outcome by QEMU's exit status.
fn ending(status: ExitStatus, messages: &str) -> Ending {
    let reported = |report| Some(2 * report + 1);
    match status.code() {
        code if code == reported(REPORT_SUCCESS) => Ending::Succeeded,
        code if code == reported(REPORT_FAILURE) => Ending::CommandFailed,
        code if code == reported(REPORT_PANIC) => Ending::Panicked,
        code if code == reported(REPORT_REFUSAL) => Ending::Refused,
        Some(0) => Ending::Unreported,
        Some(1) => Ending::Lost(format!("QEMU did not run the machine: {}", messages.trim())),
        Some(code) => Ending::Lost(format!("QEMU ended with status {code}, which the kernel never reports")),
        None => Ending::Lost(format!("QEMU was killed: {status}")),
    }
}

fn read_output(mut output: impl Read, events: &Sender<Event>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        if events.send(Event::Output(buffer[..length].to_vec())).is_err() {
            return;
        }
    }
    let _ = events.send(Event::OutputEnded);
}

fn feed_commands(mut guest: ChildStdin, ready: &Receiver<()>, commands: &[String]) {
    let mut text: Vec<u8> =
        commands.iter().flat_map(|command| [command.as_bytes(), b"\n"].concat()).collect();
    text.push(EOT);
    if ready.recv().is_ok() {
        let _ = guest.write_all(&text);
    }
}

fn feed_pipe(mut guest: ChildStdin, ready: &Receiver<()>) {
    if ready.recv().is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    let mut last = b'\n';
    while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
        last = buffer[length - 1];
        if guest.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let end: &[u8] = if last == b'\n' { &[EOT] } else { &[b'\n', EOT] };
    let _ = guest.write_all(end);
}

fn feed_keys(mut guest: ChildStdin, events: &Sender<Event>) {
    let mut buffer = [0; 256];
    let mut keys = Keys::default();
    let stop = loop {
        let read = match io::stdin().read(&mut buffer) {
            Ok(length @ 1..) => &buffer[..length],
            // The terminal went away.
            _ => break Stop::Quit,
        };
        let mut typed = Vec::with_capacity(read.len());
        let stop = read.iter().find_map(|&key| keys.take(key, &mut typed));
        if let Some(stop) = stop {
            break stop;
        }
        if guest.write_all(&typed).is_err() {
            return;
        }
    };
    // There is no listener only when the machine has ended anyway.
    let _ = events.send(Event::Stop(stop));
}

/// How a person leaves: the first line on a terminal, and the answer to Ctrl-A h.
pub(crate) const HOW_TO_LEAVE: &str =
    "Ctrl-A x ends the machine, Ctrl-A Ctrl-A is one Ctrl-A; every other key, Ctrl-C too, is the kernel's.";

/// Takes this tool's own keys out of the typed ones. They are the same as with `qemu -nographic`: Ctrl-C goes to
/// the guest, and Ctrl-A begins a key of ours.
#[derive(Default)]
struct Keys {
    after_ctrl_a: bool,
}

impl Keys {
    /// Adds the part of `key` that is for the guest to `typed`; tells whether the key ends the machine.
    fn take(&mut self, key: u8, typed: &mut Vec<u8>) -> Option<Stop> {
        if !std::mem::take(&mut self.after_ctrl_a) {
            self.after_ctrl_a = key == CTRL_A;
            typed.extend((key != CTRL_A).then_some(key));
            return None;
        }
        match key {
            b'x' => return Some(Stop::Quit),
            CTRL_A | b'a' => typed.push(CTRL_A),
            b'h' | b'?' => eprint!("\r\n{HOW_TO_LEAVE}\r\n"),
            // No key of ours, and none of the guest's: QEMU drops it, too.
            _ => {}
        }
        None
    }
}

/// Sees to it that QEMU does not outlive this process, however that ends, and gets no Ctrl-C of its own.
fn die_with_parent(qemu: &mut Command) {
    use std::os::unix::process::CommandExt;
    qemu.process_group(0);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // SAFETY: between fork and exec only this one system call is made; it allocates nothing and takes no lock.
        unsafe { qemu.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    }
}

#[cfg(test)]
mod tests;
