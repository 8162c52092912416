//! Programs that the study starts. They end with it, whatever happens, and write nowhere but into its folder.
#![expect(unsafe_code, reason = "the wish to die with the parent is told between fork and exec")]

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rhumb_study_system::Session;
use rhumb_study_system::keeper::Change;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::set_parent_process_death_signal;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process_group, pidfd_open, waitid,
};

/// How often a wait looks whether the study is to end.
const SLICE: Duration = Duration::from_millis(100);

/// Tells logs apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The end of a program.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ended by itself, after this time, with these words.
    Ended(Duration, String),
    /// It was ended, because the user ended the study.
    Cancelled,
}

/// A program that runs in the background. It ends when this goes.
pub(crate) struct Background {
    child: Child,
    /// Whether the child was waited for. From then on its number, and its group's, may be another's.
    is_reaped: bool,
    change: Option<Change>,
    log: PathBuf,
}

impl Background {
    /// Starts a program in the folder `scratch`, with nothing of the user's environment but the search path.
    ///
    /// # Errors
    /// The system's: the program is missing, for example.
    pub(crate) fn start(mut command: Command, scratch: &Path, session: &Session) -> io::Result<Self> {
        let log = scratch.join(format!("program-{}.log", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let output = File::create(&log)?;
        let parent = getpid();
        command.env_clear().env("LC_ALL", "C").env("HOME", scratch).env("TMPDIR", scratch);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .current_dir(scratch)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        // SAFETY: the closure makes two system calls and allocates nothing, which is safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have ended before the wish was told.
                if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
            });
        }
        let child = command.spawn().inspect_err(|_| drop(fs::remove_file(&log)))?;
        // Its own children, which do not know the wish, are in its group: the keeper ends the group.
        let change = Change::kill(session.keeper(), child.id()).ok();
        Ok(Self { child, is_reaped: false, change, log })
    }

    /// Returns the program's words until now.
    pub(crate) fn words(&self) -> String {
        crate::proc::read(&self.log).unwrap_or_default()
    }

    /// Tells whether the program has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // The child keeps its number until it is waited for, and with it the group that is to end.
        matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }

    /// Waits until the program ends.
    ///
    /// # Errors
    /// A program that fails, with the end of its words; one that takes longer than `limit`.
    fn wait(mut self, began: Instant, limit: Duration, session: &Session) -> io::Result<Outcome> {
        let pid = Pid::from_child(&self.child);
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            let time = Timespec { tv_sec: 0, tv_nsec: SLICE.subsec_nanos().into() };
            let ended = match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&time)) {
                Ok(ready) => ready > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            let took = began.elapsed();
            if ended {
                let status = self.end()?;
                return self.ended(status).map(|words| Outcome::Ended(took, words));
            }
            if session.is_ending() {
                return Ok(Outcome::Cancelled);
            }
            if took > limit {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("it took longer than {limit:?}"),
                ));
            }
        }
    }

    /// Ends the program and all its children, and waits for it.
    fn end(&mut self) -> io::Result<ExitStatus> {
        if !self.is_reaped {
            // Before the wait, the number of the group is certainly the program's, whether it has ended or not.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let status = self.child.wait()?;
        self.is_reaped = true;
        Ok(status)
    }

    fn ended(&self, status: ExitStatus) -> io::Result<String> {
        let words = self.words();
        if status.success() {
            return Ok(words);
        }
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Err(io::Error::other(format!("it ended with {status}: {}", crate::who::show::plain(last))))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.end();
        if let Some(change) = self.change.take() {
            change.forget();
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// Runs a program to its end.
///
/// # Errors
/// The system's; a program that fails or takes longer than `limit`.
pub(crate) fn run(
    command: Command,
    scratch: &Path,
    limit: Duration,
    session: &Session,
) -> io::Result<Outcome> {
    if session.is_ending() {
        return Ok(Outcome::Cancelled);
    }
    let began = Instant::now();
    Background::start(command, scratch, session)?.wait(began, limit, session)
}

/// Looks for a program on the search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}
