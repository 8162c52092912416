//! However a study ends, the machine is as it was.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rhumb_study_system::{Change, Keeper};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rhumb-study");

/// Long enough for the slowest machine: the test ends when its condition holds.
const PATIENCE: Duration = Duration::from_secs(60);

fn reserved() -> Vec<u64> {
    let pools = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let mut pools: Vec<_> = pools.map(|pool| pool.path().join("nr_hugepages")).collect();
    pools.sort();
    pools.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).collect()
}

/// Returns the processes that run this test's program.
fn running() -> usize {
    let program = fs::canonicalize(PROGRAM).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program))
        .count()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_keeper_undoes_changes_when_the_pipe_closes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("left behind");
    fs::write(&file, "x").unwrap();
    let mut keeper = Command::new(PROGRAM).arg("keeper").stdin(Stdio::piped()).spawn().unwrap();
    let mut orders = keeper.stdin.take().unwrap();
    writeln!(orders, "remove 0 {}", file.display()).unwrap();
    drop(orders);
    assert!(keeper.wait().unwrap().success());
    assert!(!file.exists());
}

/// The variable that makes a run of this test the study that will be killed: the folder of its changes.
const VICTIM: &str = "RHUMB_TEST_VICTIM";

/// Changes a number, a file and a process, says so, and waits.
fn change_and_wait(folder: &Path) -> ! {
    let mut keeper = Command::new(PROGRAM);
    keeper.arg("keeper");
    let keeper = Some(Keeper::start(keeper).unwrap());
    let keeper = keeper.as_ref();
    let number = Change::raise(keeper, &folder.join("number"), 7).unwrap();
    let file = Change::remove(keeper, folder.join("file")).unwrap();
    fs::write(folder.join("file"), "x").unwrap();
    let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    let group = Change::kill(keeper, child.id()).unwrap();
    println!("changed {}", child.id());
    thread::sleep(PATIENCE);
    drop((number, file, group));
    child.wait().unwrap();
    panic!("nothing has killed this process");
}

#[test]
fn a_killed_process_has_its_changes_undone() {
    if let Some(folder) = env::var_os(VICTIM) {
        change_and_wait(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::write(path("number"), "5").unwrap();
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_has_its_changes_undone", "--nocapture"])
        .env(VICTIM, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let sleeper =
        lines.map_while(Result::ok).find_map(|line| line.split_once("changed ")?.1.parse::<u32>().ok());
    let sleeper = PathBuf::from(format!("/proc/{}", sleeper.expect("the process made no changes")));
    assert_eq!(fs::read_to_string(path("number")).unwrap(), "12");
    assert!(path("file").exists() && sleeper.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_for("the changes are not undone", || {
        fs::read_to_string(path("number")).unwrap() == "5"
            && !path("file").exists()
            && !fs::read_to_string(sleeper.join("cmdline")).is_ok_and(|line| line.contains("600"))
    });
}

/// A short study.
const SHORT: [&str; 8] =
    ["hosted", "--quick", "--memory", "64M", "--minutes", "0.5", "--only", "page-read-64b"];

/// Kills a study at several moments: while it plans, reserves, fills its memories, and measures.
#[test]
fn a_killed_study_leaves_nothing_behind() {
    let before = reserved();
    for (milliseconds, signal) in
        [(20, "KILL"), (300, "KILL"), (1500, "KILL"), (4000, "KILL"), (1500, "TERM")]
    {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut study = Command::new(PROGRAM)
            .args(SHORT)
            .arg("--out")
            .arg(&out)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(milliseconds));
        assert!(study.try_wait().unwrap().is_none(), "the study ended by itself within {milliseconds} ms");
        let kill =
            Command::new("kill").arg(format!("-{signal}")).arg(study.id().to_string()).status().unwrap();
        let status = study.wait().unwrap();
        assert!(kill.success() || status.success(), "the study ended by itself: {status}");
        wait_for("a process is left", || running() == 0);
        assert_eq!(reserved(), before, "huge pages are left after SIG{signal} at {milliseconds} ms");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.iter().all(|path| path == &out), "files outside of the folder: {left:?}");
        if signal == "TERM" {
            assert!(
                Path::new(&out).join("study.json").exists(),
                "a study that was asked to end wrote no report"
            );
        }
    }
}

#[test]
fn a_folder_that_takes_no_files_is_refused_before_the_work() {
    // As root, only a file system without files refuses: that of processes.
    let study = Command::new(PROGRAM).args(SHORT).args(["--out", "/proc/self"]).output().unwrap();
    let error = String::from_utf8(study.stderr).unwrap();
    assert_eq!(study.status.code(), Some(1), "{error}");
    assert!(error.contains("/proc/self") && error.contains("--out") && error.lines().count() == 1, "{error}");
}

/// A disk of 64 KiB is mounted in a name space of the test's own.
#[test]
fn a_full_disk_is_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=64k none disk && echo mounted >&2 && exec \"$0\" \"$@\" --out disk/out";
    fs::create_dir(folder.path().join("disk")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, PROGRAM]);
    let study = command.args(SHORT).current_dir(folder.path()).output();
    let Some(study) = study.ok().filter(|study| study.stderr.starts_with(b"mounted\n")) else {
        eprintln!("skipped: `unshare` is missing, or this user may mount nothing");
        return;
    };
    let error = String::from_utf8(study.stderr).unwrap();
    assert_eq!(study.status.code(), Some(1), "{error}");
    assert!(error.contains("free some space") && error.contains("disk/out"), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn wrong_words_are_refused_with_status_2_and_leave_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["hosted", "--seed", "x"][..],
        &["linux", "who", "--quick"],
        &["compare", "one.json"],
        &["hosted", "--minutes", "0"],
        &["everything"],
    ] {
        let study = Command::new(PROGRAM).args(words).current_dir(folder.path()).output().unwrap();
        assert_eq!(study.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&study.stderr));
    }
    let study = Command::new(PROGRAM).arg("kernel").current_dir(folder.path()).output().unwrap();
    assert_eq!(study.status.code(), Some(1));
    let studies = folder.path().join("rhumb-study");
    let left = fs::read_dir(studies).into_iter().flatten().flatten().map(|entry| entry.path());
    assert_eq!(left.collect::<Vec<_>>(), [""; 0].map(PathBuf::from), "a folder without results is left");
}
