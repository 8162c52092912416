//! QEMU ends with the study, however the study ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// Has the process that `command` starts be killed when this thread ends, and get no Ctrl-C of its own.
pub(crate) fn die_with_parent(command: &mut Command) {
    command.process_group(0);
    let parent = getpid();
    // SAFETY: between fork and exec only these two system calls are made; they allocate nothing and take no lock.
    unsafe { command.pre_exec(move || end_with(parent)) };
}

/// Has this process be killed when its parent ends, if that is `parent`.
///
/// # Errors
/// The parent has ended before it could be asked for, so that no signal will come.
fn end_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
}

#[cfg(test)]
mod tests;
