use std::io::Cursor;
use std::process::Command;
use std::{env, fs, process};

use super::*;

/// A folder of this test alone; the change in it is the test's subject, so that nothing else cleans up.
fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("rhumb-keeper-{name}-{}", process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn orders_are_read_as_they_were_written() {
    let orders = [
        Undo::Lower { path: "/a b/c".into(), floor: 3, by: 7 },
        Undo::Nothing,
        Undo::Remove { path: "/x  y".into() },
        Undo::Kill { group: 12, began: 99 },
    ];
    for (id, undo) in orders.into_iter().enumerate() {
        let line = undo.line(id as u64).unwrap();
        assert_eq!(Undo::parse(line.strip_suffix('\n').unwrap()), Some((id as u64, undo)));
    }
    assert!(Undo::Remove { path: "/a\nb".into() }.line(0).is_err());
    assert!(Undo::Remove { path: "/a".repeat(LONGEST / 2).into() }.line(0).is_err());
    for broken in
        ["", "lower", "lower 1", "lower 1 2", "lower 1 2 3", "done x", "kill 1 2", "kill 1 x 2", "eat 1 x"]
    {
        assert_eq!(Undo::parse(broken), None, "{broken}");
    }
}

#[test]
fn the_keeper_undoes_what_is_on_its_list_last_first() {
    let folder = folder("list");
    let (number, inner, file) = (folder.join("number"), folder.join("inner"), folder.join("file"));
    fs::write(&number, "12\n").unwrap();
    fs::create_dir(&inner).unwrap();
    fs::write(&file, "x").unwrap();
    let orders = format!(
        "remove 0 {inner}\nremove 1 {file}\nremove 2 {folder}\ndone 2\nlower 3 0 4 {number}\nlower 4 11 4 {number}\n",
        number = number.display(),
        inner = inner.display(),
        file = file.display(),
        folder = folder.display(),
    );
    keep(Cursor::new(orders)).unwrap();
    // Not below 11 first, since that order came last; then lowered by 4.
    assert_eq!(get(&number), 7);
    assert!(!inner.exists() && !file.exists() && folder.exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_line_that_is_not_whole_is_no_order() {
    let folder = folder("whole");
    let file = folder.join("keep me");
    fs::write(&file, "x").unwrap();
    let order = format!("remove 0 {}", file.display());
    keep(Cursor::new(order.clone())).unwrap();
    // The end of a line that is too long is no order of its own, wherever the keeper's buffer ends.
    for length in LONGEST - 2..LONGEST + 2 {
        keep(Cursor::new(format!("{}{order}\n", "x".repeat(length)))).unwrap();
    }
    assert!(file.exists());
    keep(Cursor::new(format!("{}\nnonsense\n{order}\n", "x".repeat(3 * LONGEST)))).unwrap();
    assert!(!file.exists(), "the orders after a line that is too long are obeyed");
    fs::write(&file, "x").unwrap();
    keep(Cursor::new([b"\xff\xff\n".as_slice(), order.as_bytes(), b"\n"].concat())).unwrap();
    assert!(!file.exists(), "the orders after a line that is no text are obeyed");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_order_replaces_the_one_with_its_number() {
    let folder = folder("replaced");
    let number = folder.join("number");
    fs::write(&number, "10").unwrap();
    let path = number.display();
    let orders = format!("lower 0 0 10 {path}\nlower 1 5 1 {path}\nlower 0 0 3 {path}\ndone 1\n");
    keep(Cursor::new(orders)).unwrap();
    assert_eq!(get(&number), 7);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_number_is_lowered_by_what_was_raised_and_no_more() {
    let folder = folder("number");
    let path = folder.join("number");
    fs::write(&path, "3").unwrap();
    let (change, granted) = Change::raise(None, &path, 5).unwrap();
    assert_eq!((granted, get(&path)), (5, 8));
    // Another program raises it, too.
    fs::write(&path, "10").unwrap();
    drop(change);
    assert_eq!(get(&path), 5);
    assert!(Change::raise(None, &path, u64::MAX).is_err());
    // A number that cannot be written is left.
    let refused = Change::raise_by(None, &path, 5, |_, _| Err(io::ErrorKind::PermissionDenied.into()));
    assert!(refused.is_err() && get(&path) == 5);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_system_that_grants_less_gets_back_as_much() {
    let folder = folder("less");
    let path = folder.join("number");
    for ending in [Ending::Whole, Ending::Killed] {
        fs::write(&path, "0").unwrap();
        let keeper = keeper();
        let (change, granted) =
            Change::raise_by(Some(&keeper), &path, 10, |number, wanted| number.set(wanted.min(3))).unwrap();
        assert_eq!(granted, 3);
        // An administrator adds 7, which stay.
        fs::write(&path, "10").unwrap();
        ending.of(change, keeper);
        assert_eq!(get(&path), 7);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_study_that_is_killed_before_the_grant_is_known_leaves_nothing() {
    let folder = folder("between");
    let path = folder.join("number");
    fs::write(&path, "2").unwrap();
    let mut orders = Vec::new();
    let killed = Change::raise_by(None, &path, 10, |number, wanted| {
        orders = Undo::Lower { path: path.clone(), floor: number.get()?, by: 10 }.line(0)?.into_bytes();
        number.set(wanted.min(5))
    });
    killed.unwrap().0.forget();
    keep(Cursor::new(orders)).unwrap();
    assert_eq!(get(&path), 2);
    fs::remove_dir_all(folder).unwrap();
}

/// The variable that makes a run of this program a keeper.
const KEEPER: &str = "RHUMB_TEST_KEEPER";

#[test]
fn a_process_that_keeps() {
    if env::var_os(KEEPER).is_some() {
        keep(io::stdin().lock()).unwrap();
    }
}

/// Starts a keeper: this program, in which it is a test.
fn keeper() -> Keeper {
    let mut program = Command::new(env::current_exe().unwrap());
    program.args(["--exact", "keeper::tests::a_process_that_keeps", "--nocapture"]).env(KEEPER, "1");
    Keeper::start(program).unwrap()
}

/// How a study ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Whole,
    Killed,
}

impl Ending {
    /// Ends a study with one change.
    fn of(self, mut change: Change, keeper: Keeper) {
        if let Self::Killed = self {
            change.keeper = None;
            change.undo = Undo::Nothing;
        }
        drop(change);
        // The keeper ends before this does.
        drop(keeper);
    }
}

#[test]
fn studies_that_overlap_give_back_all_in_whatever_order_they_end() {
    let folder = folder("overlap");
    let path = folder.join("number");
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (index, order) in orders.into_iter().enumerate() {
        fs::write(&path, "4").unwrap();
        let mut studies: Vec<_> = (0..3u64)
            .map(|study| {
                let keeper = keeper();
                let (change, granted) = Change::raise(Some(&keeper), &path, 10 + study).unwrap();
                assert_eq!(granted, 10 + study);
                Some((change, keeper))
            })
            .collect();
        for study in order {
            let (change, keeper) = studies[study].take().unwrap();
            let ending = if (index >> study) & 1 == 0 { Ending::Killed } else { Ending::Whole };
            ending.of(change, keeper);
        }
        assert_eq!(get(&path), 4, "ended in order {order:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn studies_at_the_same_time_claim_no_page_twice() {
    let folder = folder("same-time");
    let path = folder.join("number");
    fs::write(&path, "1").unwrap();
    std::thread::scope(|scope| {
        for study in 0..4u64 {
            let path = &path;
            scope.spawn(move || {
                for round in 0..6 {
                    let keeper = keeper();
                    let (change, granted) = Change::raise(Some(&keeper), path, 10 + study).unwrap();
                    assert_eq!(granted, 10 + study);
                    let ending = if (study + round) % 2 == 0 { Ending::Killed } else { Ending::Whole };
                    ending.of(change, keeper);
                }
            });
        }
    });
    assert_eq!(get(&path), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_number_that_another_study_changes_is_waited_for() {
    let folder = folder("lock");
    let path = folder.join("number");
    fs::write(&path, "1").unwrap();
    let held = Number::lock(&path).unwrap();
    let error = Number::lock_within(&path, std::time::Duration::ZERO).unwrap_err();
    assert!(error.kind() == io::ErrorKind::TimedOut && error.to_string().contains("locked"), "{error}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Number::lock(&path).unwrap().get().unwrap());
        held.set(7).unwrap();
        drop(held);
        assert_eq!(waiting.join().unwrap(), 7);
    });
    fs::remove_dir_all(folder).unwrap();
}

fn get(path: &Path) -> u64 {
    number::number(path).unwrap()
}

#[test]
fn a_forgotten_change_stays() {
    let folder = folder("forgotten");
    let path = folder.join("file");
    let change = Change::remove(None, path.clone()).unwrap();
    fs::write(&path, "x").unwrap();
    change.forget();
    assert!(path.exists());
    drop(Change::remove(None, path.clone()).unwrap());
    assert!(!path.exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_group_is_ended_only_if_it_is_the_one_that_was_meant() {
    let mut sleeper = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    let undo = Undo::kill(sleeper.id()).unwrap();
    let Undo::Kill { group, began } = undo else { panic!("{undo:?}") };
    Undo::Kill { group, began: began + 1 }.run().unwrap();
    assert!(sleeper.try_wait().unwrap().is_none(), "another process of this number was ended");
    undo.run().unwrap();
    assert!(!sleeper.wait().unwrap().success());
    undo.run().unwrap();
}

#[test]
fn a_group_whose_leader_has_ended_before_is_ended_too() {
    let folder = folder("leader");
    let number = folder.join("child");
    let script = "sleep 600 & echo $! > child; read line";
    let mut leader = Command::new("sh")
        .args(["-c", script])
        .current_dir(&folder)
        .process_group(0)
        .stdin(Stdio::piped())
        // A child that is left keeps no reader of the test's output waiting.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = || fs::read_to_string(&number).ok()?.trim().parse::<u32>().ok();
    while child().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let undo = Undo::kill(leader.id()).unwrap();
    // The leader ends, as one does that dies with the study, and is waited for, as by the first process of the system.
    drop(leader.stdin.take());
    leader.wait().unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", child().unwrap()));
    let has_ended = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    assert!(!has_ended());
    undo.run().unwrap();
    let began = std::time::Instant::now();
    while !has_ended() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "the leader's child is left");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // An empty group's number takes no signal, whichever process has it later.
    undo.run().unwrap();
    fs::remove_dir_all(folder).unwrap();
}
