//! Programs that end, fail, hang, and leave children.

use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn words_and_failures_are_told() {
    let (scratch, session) = (tempfile::tempdir().expect("a folder"), Session::quiet(std::env::temp_dir()));
    let limit = Duration::from_secs(60);
    match run(shell("echo words; pwd; echo $HOME; echo $USER"), scratch.path(), limit, &session)
        .expect("a program")
    {
        Outcome::Ended(took, words) => {
            assert!(words.starts_with("words\n"), "{words}");
            assert!(
                words.lines().nth(1).is_some_and(
                    |line| Path::new(line).ends_with(scratch.path().file_name().expect("a name"))
                )
            );
            assert_eq!(words.lines().nth(3), Some(""), "the environment is not passed on");
            assert!(took < limit);
        }
        other => panic!("{other:?}"),
    }
    let error =
        run(shell("echo no luck >&2; exit 3"), scratch.path(), limit, &session).expect_err("a failure");
    assert!(error.to_string().contains("no luck"), "{error}");
    assert!(run(Command::new("no-such-program"), scratch.path(), limit, &session).is_err());
    assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 0, "nothing is left");
}

#[test]
fn a_program_that_hangs_ends_with_all_its_children() {
    let (scratch, session) = (tempfile::tempdir().expect("a folder"), Session::quiet(std::env::temp_dir()));
    let script = "sleep 1000 & echo $! > pid; wait";
    let error =
        run(shell(script), scratch.path(), Duration::from_millis(500), &session).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(has_ended(&scratch), "the grandchild is still there");
}

#[test]
fn the_end_of_the_study_ends_its_programs() {
    let (scratch, session) = (tempfile::tempdir().expect("a folder"), Session::quiet(std::env::temp_dir()));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The program says when it runs.
            let ends = Instant::now() + Duration::from_secs(60);
            while !scratch.path().join("runs").exists() && Instant::now() < ends {
                std::thread::sleep(Duration::from_millis(10));
            }
            session.end();
        });
        run(shell("touch runs; sleep 1000"), scratch.path(), Duration::from_secs(900), &session)
            .expect("an end")
    });
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    let outcome = run(shell("exit 3"), scratch.path(), Duration::from_secs(900), &session).expect("an end");
    assert!(matches!(outcome, Outcome::Cancelled), "no program starts any more: {outcome:?}");
}

#[test]
fn programs_are_found_on_the_path() {
    assert!(find("sh").is_some());
    assert_eq!(find("no-such-program"), None);
}

#[test]
fn children_of_a_program_that_ended_by_itself_end_before_its_number_is_free() {
    let (scratch, session) = (tempfile::tempdir().expect("a folder"), Session::quiet(std::env::temp_dir()));
    let mut program =
        Background::start(shell("sleep 1000 & echo $! > pid"), scratch.path(), &session).expect("a program");
    let ends = Instant::now() + Duration::from_secs(60);
    while program.is_running() && Instant::now() < ends {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Asking does not wait for the program: its number is still taken, so that the group is still its own.
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", program.child.id())).expect("a process that has ended");
    assert!(stat.contains(") Z "), "{stat}");
    assert!(!program.is_reaped);
    program.end().expect("a status");
    assert!(program.is_reaped);
    assert!(has_ended(&scratch), "the grandchild is still there");
    drop(program);
    assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 1, "only the file with the number");
}

/// Tells whether the process whose number is in `pid` has ended, waiting for it for a while.
fn has_ended(scratch: &tempfile::TempDir) -> bool {
    let pid = fs::read_to_string(scratch.path().join("pid")).expect("a number");
    let is_gone = || match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    let ends = Instant::now() + Duration::from_secs(30);
    while !is_gone() && Instant::now() < ends {
        std::thread::sleep(Duration::from_millis(20));
    }
    is_gone()
}
