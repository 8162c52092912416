use std::fs;

use super::*;

fn session(name: &str) -> (Session, PathBuf) {
    let out = std::env::temp_dir().join(format!("rhumb-study-kernel-{name}-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    (Session::quiet(out.clone()), out)
}

#[test]
fn missing_files_are_named_with_the_way_to_get_them() {
    let (session, out) = session("missing");
    let none = run(&Options::default(), &session).unwrap_err().to_string();
    assert!(none.contains("cargo xtask study kernel") && none.contains("--kernel FILE"), "{none}");
    let absent = Options { kernel: Some(out.join("no-kernel")), ..Options::default() };
    let absent = run(&absent, &session).unwrap_err().to_string();
    assert!(absent.contains("no-kernel is not there"), "{absent}");
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_study_of_which_no_machine_runs_fails_and_leaves_nothing() {
    let (session, out) = session("nothing");
    let file = out.join("file");
    fs::write(&file, "").unwrap();
    // `true` is no QEMU: it says no version, and ends at once.
    let options = Options {
        kernel: Some(file.clone()),
        plugin: Some(file.clone()),
        qemu: Some("/bin/true".into()),
        ..Options::default()
    };
    let error = run(&options, &session).unwrap_err().to_string();
    assert!(error.starts_with("no machine ran to its end"), "{error}");
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [file]);
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_study_that_is_ended_keeps_what_it_has() {
    let (session, out) = session("ended");
    let file = out.join("file");
    fs::write(&file, "").unwrap();
    session.end();
    let options = Options {
        kernel: Some(file.clone()),
        plugin: Some(file.clone()),
        qemu: Some("/bin/true".into()),
        ..Options::default()
    };
    let study = run(&options, &session).unwrap();
    assert!(matches!(study.ending, rhumb_study_report::Ending::Interrupted(_)));
    // An old QEMU, or one that says no version, is not traced, and the study says so.
    assert!(study.omissions.iter().any(|omission| omission.why.contains("version 9")));
    fs::remove_dir_all(out).unwrap();
}
