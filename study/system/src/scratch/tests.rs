//! Folders beside those of a user.

use super::*;

#[test]
fn a_folder_that_was_there_before_is_neither_taken_nor_removed() {
    let out = tempfile::tempdir().expect("a folder");
    let session = Session::quiet(out.path().join("results"));
    // The names that a study with a number of its process would take.
    let others = out.path().join("results").join(format!("scratch-{}", std::process::id()));
    fs::create_dir_all(&others).expect("a folder");
    fs::write(others.join("thesis.txt"), "years of work").expect("a file");
    let one = Scratch::new(&session, "scratch-").expect("a folder");
    let two = Scratch::new(&session, "scratch-").expect("a folder");
    assert!(one.path().is_absolute() && one.path().is_dir());
    assert!(one.path() != two.path() && one.path() != others, "each study has its own");
    assert_eq!(fs::read_dir(one.path()).expect("a folder").count(), 0);
    fs::write(one.path().join("data"), "data").expect("a file");
    let (first, second) = (one.path().to_owned(), two.path().to_owned());
    drop((one, two));
    assert!(!first.exists() && !second.exists());
    assert_eq!(fs::read_to_string(others.join("thesis.txt")).expect("the file"), "years of work");
}

#[test]
fn a_place_that_takes_no_folder_is_an_error() {
    assert!(Scratch::new(&Session::quiet("/proc/no/such/folder".into()), "scratch-").is_err());
    let out = tempfile::tempdir().expect("a folder");
    let session = Session::quiet(out.path().into());
    assert!(Scratch::new(&session, "no/such/").is_err());
    assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 0, "nothing is left");
}
