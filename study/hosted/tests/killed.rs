//! A study that is killed leaves no huge pages reserved: the keeper gives them back.
//!
//! The processes are this test's own program: with [`ROLE`] set, a test is the study or its keeper instead of a test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use rhumb_study_hosted::{Options, run};
use rhumb_study_system::{Keeper, Session, available_bytes, keeper};

/// The variable that says what a process is.
const ROLE: &str = "RHUMB_STUDY_ROLE";

const GIB: u64 = 1 << 30;

/// The count of huge pages, where the machine has pages of this size.
const COUNT: &str = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";

fn role(name: &str) -> bool {
    env::var(ROLE).is_ok_and(|role| role == name)
}

/// Returns a command that runs the test `name` as a process of this role.
fn process_of(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, name);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn reserved() -> Option<u64> {
    fs::read_to_string(Path::new(COUNT)).ok()?.trim().parse().ok()
}

#[test]
fn as_keeper() {
    if role("as_keeper") {
        keeper::keep(io::stdin().lock()).unwrap();
        process::exit(0);
    }
}

#[test]
fn as_study() {
    if role("as_study") {
        let keeper = Keeper::start(process_of("as_keeper")).unwrap();
        let session = Session::quiet(env::temp_dir()).kept_by(keeper);
        let options = Options { memory: Some(GIB), minutes: Some(1.0), ..Options::default() };
        // It is killed long before its end.
        let _ = run(&options, &session);
    }
}

/// Starts a study and kills it `after` it began, or as soon as it has changed the machine and `after` more has passed.
fn kill(study: &mut Child, before: Option<u64>, change: Duration, after: Duration) -> bool {
    let began = Instant::now();
    while reserved() == before && began.elapsed() < change {
        thread::sleep(Duration::from_millis(1));
    }
    let changed = reserved() != before;
    thread::sleep(after);
    study.kill().unwrap();
    study.wait().unwrap();
    changed
}

#[test]
fn a_killed_study_leaves_no_huge_pages_reserved() {
    if [ROLE].iter().any(|name| env::var(name).is_ok()) {
        return;
    }
    if available_bytes().is_none_or(|bytes| bytes < 4 * GIB) {
        eprintln!("too little memory for a study of huge pages");
        return;
    }
    // Before the first change, in the middle of it, while the pages are in use.
    for (change, after) in [(0, 5), (0, 150), (4_000, 0), (4_000, 1), (4_000, 40), (4_000, 300)] {
        // A machine without such pages, or a user who may not reserve them, has no change to wait for.
        let change = if may_reserve() { change } else { 0 };
        // Another program may change the count meanwhile, but hardly each time.
        let mut tries =
            (0..3).map(|_| leaves_nothing(Duration::from_millis(change), Duration::from_millis(after)));
        assert!(tries.any(|nothing| nothing), "killed {after} ms after the change");
    }
}

/// Kills a study, and tells whether the system has no more huge pages afterwards than before.
fn leaves_nothing(change: Duration, after: Duration) -> bool {
    let before = reserved();
    let mut study = process_of("as_study").spawn().unwrap();
    let changed = kill(&mut study, before, change, after);
    let killed = Instant::now();
    while reserved() > before && killed.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
    eprintln!("changed: {changed}; {before:?} before, {:?} after", reserved());
    reserved() <= before
}

/// Tells whether this user may write the count.
fn may_reserve() -> bool {
    fs::OpenOptions::new().write(true).open(COUNT).is_ok()
}
