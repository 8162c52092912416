//! `who` against holders that the test starts itself: processes that hold secret memory in each possible way.
//!
//! A holder is this test program again, as the test `a_holder`, which does as the variable `HOLDER` says and waits for the
//! end of its input. Where the machine has no secret memory, the tests say so, and look at the answer without holders.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rhumb_study_linux::proc::Root;
use rhumb_study_linux::secret::{Availability, FileMemory, memfd_secret};
use rhumb_study_linux::who::rows::{Row, rows};
use rhumb_study_linux::who::survey::{Picture, Survey, survey};

/// The variable by which a holder knows that it is one.
const HOLDER: &str = "HOLDER";

/// The line that a holder writes once it holds.
const READY: &str = "the holder is ready";

/// A running holder. It ends when this goes.
struct Holder(Child);

impl Holder {
    fn start(how: &str) -> Self {
        Self::run(Command::new(std::env::current_exe().expect("this program")), how)
            .expect("a holder that is ready")
    }

    /// Starts a holder by a command that takes the arguments of this program.
    fn run(mut command: Command, how: &str) -> Option<Self> {
        command.args(["--exact", "a_holder", "--nocapture", "--test-threads=1"]).env(HOLDER, how);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let output = BufReader::new(child.stdout.take()?);
        let is_ready = output.lines().map_while(Result::ok).any(|line| line.contains(READY));
        let holder = Self(child);
        is_ready.then_some(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Does nothing as a test; as a holder, holds secret memory as it is told, until its input ends.
#[test]
fn a_holder() {
    let Ok(how) = std::env::var(HOLDER) else { return };
    let mut memory = None;
    let mut file = None;
    match how.as_str() {
        "descriptor" => file = Some(memfd_secret().expect("a file")),
        "untouched" => memory = Some(FileMemory::secret(4 * 4096).expect("memory")),
        "touched" | "closed" => {
            let mut new = FileMemory::secret(4 * 4096).expect("memory");
            new.touch(0);
            new.touch(2 * 4096);
            if how == "closed" {
                new.close_file();
            }
            memory = Some(new);
        }
        // Its child inherits the descriptor, because it is not closed on `execve`.
        "parent" => {
            let secret = memfd_secret().expect("a file");
            rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).expect("inherited");
            rustix::fs::ftruncate(&secret, 8192).expect("a size");
            file = Some(secret);
        }
        "heir" => {}
        other => panic!("{other} is no way of holding"),
    }
    let child = (how == "parent").then(|| Holder::start("heir"));
    println!("{READY} {}", file.as_ref().map_or(0, AsRawFd::as_raw_fd));
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0]);
    drop((memory, file, child));
}

/// Looks at the whole system; the time is ample, because a machine under test is slow.
fn look() -> Survey {
    survey(&Root::system(), Duration::from_secs(20), Picture::Left).expect("a system with /proc")
}

/// Returns the row of a process.
fn row_of(survey: &Survey, pid: u32) -> Option<Row> {
    rows(survey).into_iter().find(|row| row.pid == pid)
}

/// Tells whether holders can be started here, and says so if not.
fn can_hold() -> bool {
    match Availability::probe() {
        Availability::Available { .. } => true,
        other => {
            eprintln!("skipped: this system has no secret memory ({other:?})");
            assert!(look().scan.holders.is_empty(), "no holder without secret memory");
            false
        }
    }
}

#[test]
fn a_descriptor_alone_is_seen() {
    if !can_hold() {
        return;
    }
    let holder = Holder::start("descriptor");
    let row = row_of(&look(), holder.0.id()).expect("a row");
    assert_eq!((row.descriptors, row.mappings, row.files, row.shared_files), (1, 0, 1, 0));
    assert_eq!((row.bytes, row.touched_bytes), (0, Some(0)));
    assert!(row.command.starts_with("holders") || row.command.starts_with("a_holder"), "{}", row.command);
    let pid = holder.0.id();
    drop(holder);
    assert_eq!(row_of(&look(), pid), None, "the holder has ended");
}

#[test]
fn a_mapping_is_seen_untouched_and_touched() {
    if !can_hold() {
        return;
    }
    for (how, touched) in [("untouched", 0), ("touched", 2 * 4096)] {
        let holder = Holder::start(how);
        let row = row_of(&look(), holder.0.id()).expect("a row");
        assert_eq!((row.descriptors, row.mappings, row.bytes), (1, 1, 4 * 4096), "{how}");
        assert_eq!(row.touched_bytes, Some(touched), "{how}");
    }
}

#[test]
fn a_mapping_without_its_descriptor_is_seen() {
    if !can_hold() {
        return;
    }
    let holder = Holder::start("closed");
    let row = row_of(&look(), holder.0.id()).expect("a row");
    assert_eq!((row.descriptors, row.mappings, row.bytes), (0, 1, 4 * 4096));
    assert_eq!(row.touched_bytes, Some(2 * 4096));
}

#[test]
fn a_shared_file_counts_once() {
    if !can_hold() {
        return;
    }
    let holder = Holder::start("parent");
    let survey = look();
    let parent = row_of(&survey, holder.0.id()).expect("a row");
    assert_eq!((parent.files, parent.shared_files, parent.bytes), (1, 1, 8192));
    let file = *survey.scan.holders[&parent.pid].files.keys().next().expect("a file");
    let holders: Vec<_> =
        survey.scan.holders.values().filter(|other| other.files.contains_key(&file)).collect();
    assert_eq!(holders.len(), 2, "the parent and its heir");
    assert_eq!(survey.scan.files[&file].bytes, 8192, "once in the sum");
}

#[test]
fn a_holder_in_another_name_space_is_seen() {
    if !can_hold() {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"]);
    command.arg(std::env::current_exe().expect("this program"));
    let Some(holder) = Holder::run(command, "untouched") else {
        eprintln!("skipped: `unshare` is missing, or this user may make no name space");
        return;
    };
    let survey = look();
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let row = rows(&survey).into_iter().find(|row| parent(row.pid) == Some(holder.0.id())).expect("a row");
    assert_eq!(row.inner_pid, Some(1), "the first process of its name space");
    assert_eq!(row.bytes, 4 * 4096);
}
