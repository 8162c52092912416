//! A parent that is there, and one that is gone.

use super::*;

#[test]
fn a_process_whose_parent_is_gone_does_not_start() {
    // Of this process's children, none has the process with number 1 for its parent in place of this one.
    let mut command = Command::new("true");
    // SAFETY: as for `die_with_parent`.
    unsafe { command.pre_exec(|| end_with(Pid::INIT)) };
    let error = command.spawn().expect_err("another parent than the one that was named");
    assert_eq!(error.raw_os_error(), Some(Errno::SRCH.raw_os_error()));
    let mut command = Command::new("true");
    die_with_parent(&mut command);
    assert!(command.status().expect("a program").success());
}
