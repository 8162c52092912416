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
        Undo::Lower { path: "/a b/c".into(), to: 3, by: 7 },
        Undo::Write { path: "/a b".into(), value: "defer+madvise".into() },
        Undo::Write { path: "/a".into(), value: String::new() },
        Undo::Remove { path: "/x  y".into() },
        Undo::Kill { group: 12, began: 99 },
    ];
    for (id, undo) in orders.into_iter().enumerate() {
        let line = undo.line(id as u64).unwrap();
        assert_eq!(Undo::parse(line.strip_suffix('\n').unwrap()), Some((id as u64, undo)));
    }
    assert!(Undo::Remove { path: "/a\nb".into() }.line(0).is_err());
    for broken in
        ["", "lower", "lower 1", "lower 1 2", "lower 1 2 3", "write 1 x", "kill 1 2", "kill 1 x 2", "eat 1 x"]
    {
        assert_eq!(Undo::parse(broken), None, "{broken}");
    }
}

#[test]
fn the_keeper_undoes_what_is_on_its_list_last_first() {
    let folder = folder("list");
    let (number, file) = (folder.join("number"), folder.join("file"));
    fs::write(&number, "12\n").unwrap();
    fs::write(&file, "x").unwrap();
    let orders = format!(
        "lower 0 5 4 {number}\nwrite 1 20\t{number}\nremove 2 {file}\nremove 3 {folder}\ndone 3\nremove 4",
        number = number.display(),
        file = file.display(),
        folder = folder.display(),
    );
    keep(Cursor::new(orders)).unwrap();
    // Written first, since it came last: 20, then lowered by 4.
    assert_eq!(fs::read_to_string(&number).unwrap(), "16");
    assert!(!file.exists() && folder.exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_number_is_lowered_by_what_was_raised_and_no_more() {
    let folder = folder("number");
    let path = folder.join("number");
    fs::write(&path, "3").unwrap();
    let (change, granted) = Change::raise(None, &path, 5).unwrap();
    assert_eq!((granted, number(&path)), (5, 8));
    // Another program raises it, too.
    fs::write(&path, "10").unwrap();
    drop(change);
    assert_eq!(number(&path), 5);
    // The system granted less than asked.
    let (change, _) = Change::raise(None, &path, 100).unwrap();
    fs::write(&path, "6").unwrap();
    drop(change);
    assert_eq!(number(&path), 5);
    fs::remove_dir_all(folder).unwrap();
}

fn number(path: &Path) -> u64 {
    undo::number(path).unwrap()
}

#[test]
fn a_setting_comes_back_by_its_word() {
    let folder = folder("setting");
    let path = folder.join("enabled");
    fs::write(&path, "always [madvise] never\n").unwrap();
    let change = Change::write(None, &path, "always").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "always");
    drop(change);
    assert_eq!(fs::read_to_string(&path).unwrap(), "madvise");
    fs::remove_dir_all(folder).unwrap();
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
