//! QEMU ends with the study, however the study ends.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Has the process that `command` starts be killed when this thread ends, and get no Ctrl-C of its own.
pub(crate) fn die_with_parent(command: &mut Command) {
    command.process_group(0);
    // SAFETY: between fork and exec only this one system call is made; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
}
