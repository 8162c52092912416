use std::fs;
use std::process::Command;

use super::*;
use crate::samples::{empty, extreme, hosted, kernel, linux, who};
use crate::schema::Kind;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_study_is_read_as_it_was_written() {
    for study in [empty(Kind::Linux), hosted(), kernel(), linux(), who()] {
        let folder = folder();
        let written = write(&study, folder.path()).unwrap();
        assert_eq!(read(&written.json).unwrap(), study);
        assert_eq!(names(folder.path()), ["effects.csv", "study.csv", "study.html", "study.json"]);
    }
}

#[test]
fn numbers_that_json_lacks_are_read_as_none() {
    let folder = folder();
    let mut study = extreme();
    study.comparisons[0].effect.as_mut().unwrap().high = f64::INFINITY;
    let written = write(&study, folder.path()).unwrap();
    let again = read(&written.json).unwrap();
    assert_eq!(again.comparisons[0].effect, None);
    let odd = again.comparisons.iter().find(|one| one.id == "odd").unwrap();
    assert!(odd.arm_samples[0].is_nan() && odd.arm_samples[1].is_nan() && odd.arm_samples[4] == 1e308);
    write(&again, folder.path()).unwrap();
}

#[test]
fn each_sample_has_a_line() {
    let folder = folder();
    let study = hosted();
    let written = write(&study, folder.path()).unwrap();
    let mut lines = ::csv::Reader::from_path(written.samples).unwrap();
    assert_eq!(lines.headers().unwrap(), csv::SAMPLE_COLUMNS.as_slice());
    let all = study.comparisons.iter().chain(study.controls.iter().map(|control| &control.comparison));
    let samples: usize = all.map(|one| one.baseline_samples.len() + one.arm_samples.len()).sum();
    assert_eq!(lines.records().map(Result::unwrap).count(), samples);
    let mut lines = ::csv::Reader::from_path(written.effects).unwrap();
    assert_eq!(lines.headers().unwrap(), csv::EFFECT_COLUMNS.as_slice());
    let first = lines.records().next().unwrap().unwrap();
    assert_eq!((&first[1], &first[2], &first[19]), ("positive", "true", "more"));
    assert_eq!(lines.records().count() + 1, study.comparisons.len() + study.controls.len());
}

#[test]
fn files_that_are_no_study_are_told_in_one_sentence() {
    let folder = folder();
    let path = folder.path().join("other.json");
    let whole = serde_json::to_string_pretty(&linux()).unwrap();
    let newer = whole.replace("\"version\": 1,", "\"version\": 2, \"comparisons_went\": true,");
    let swapped = whole.replace("\"comparisons\": [", "\"comparisons\": [17,");
    for (text, says) in [
        ("", "is no study"),
        ("<html>", "is no study"),
        ("[1, 2]", "is no study"),
        ("{\"a\": 1}", "is no study"),
        ("{\"schema\": 7}", "is no study"),
        ("{\"schema\": \"rhumb-study\"}", "is a damaged study: missing field"),
        ("{\"schema\": \"rhumb-study\", \"version\": -1}", "is a damaged study"),
        ("{\"schema\": \"rhumb-study\", \"version\": 1e999}", "is a damaged study"),
        (&newer, "has version 2 of the schema, and this program reads up to 1"),
        (&whole[..whole.len() / 2], "it ends in its middle"),
        (&swapped, "is a damaged study"),
        (
            &whole.replacen("\"confidence\": 0.95", "\"confidence\": 2.0", 1),
            "is impossible: its confidence is 2, which is not between 0 and 1",
        ),
        (&whole.replace("\"seed\": 1", "\"seed\": NaN"), "is a damaged study"),
        (&"{\"a\":".repeat(100_000), "is a damaged study"),
    ] {
        fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("other.json") && error.contains(says), "{error}");
        assert!(!error.contains('\n') && error.len() < 400, "{error}");
    }
    let missing = read(&folder.path().join("missing.json")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read ") && missing.contains("missing.json"), "{missing}");
}

#[test]
fn only_regular_files_of_a_bounded_size_are_read() {
    let folder = folder();
    let says = |path: &Path| read(path).unwrap_err().to_string();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&*pipe, Path::new("/dev/zero")] {
        assert!(says(path).contains("is no regular file: name a study.json"), "{}", says(path));
    }
    let large = folder.path().join("large.json");
    fs::File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
    assert!(says(&large).contains("is larger than 256 MiB, as no study is"), "{}", says(&large));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(says(&empty).contains("empty holds no study.json"), "{}", says(&empty));
    write(&linux(), &empty).unwrap();
    assert_eq!(read(&empty).unwrap(), linux());
}

#[test]
fn unknown_fields_are_accepted() {
    let folder = folder();
    let path = folder.path().join("study.json");
    let whole = serde_json::to_string(&linux()).unwrap();
    fs::write(&path, whole.replacen('{', "{\"new_field\": {\"a\": [1]},", 1)).unwrap();
    assert_eq!(read(&path).unwrap(), linux());
}

#[test]
fn a_fault_leaves_the_file_of_before() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "before").unwrap();
    let fault = replace(&path, |out| {
        out.write_all(&[7; 100_000])?;
        Err(io::ErrorKind::StorageFull.into())
    });
    let says = fault.unwrap_err().to_string();
    assert!(says.contains("is full: free some space"), "{says}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(names(folder.path()), ["file"]);
    replace(&path, |out| out.write_all(b"after")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "after");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    let says = write(&linux(), &folder.path().join("file/within")).unwrap_err().to_string();
    assert!(says.starts_with("cannot write ") && says.contains("file/within"), "{says}");
}

/// The folder on the full disk, for the test that runs itself there.
const FULL: &str = "RHUMB_TEST_FULL_DISK";

#[test]
fn a_full_disk_is_one_sentence_and_leaves_no_half_file() {
    if let Some(folder) = std::env::var_os(FULL) {
        let folder = PathBuf::from(folder);
        let says = write(&extreme(), &folder).unwrap_err().to_string();
        assert!(says.contains("is full: free some space, or name another folder"), "{says}");
        assert_eq!(names(&folder), Vec::<String>::new());
        println!("seen on a full disk");
        return;
    }
    let folder = folder();
    // A disk of 64 KiB, in a mount name space that goes with its process.
    let script =
        "mount -t tmpfs -o size=64k none \"$1\" && echo mounted && exec \"$2\" --exact --nocapture \"$3\"";
    let test = "files::tests::a_full_disk_is_one_sentence_and_leaves_no_half_file";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(FULL, folder.path())
        .output();
    let text = output.map(|output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    });
    match text {
        Ok(text) if text.contains("mounted") => assert!(text.contains("seen on a full disk"), "{text}"),
        _ => eprintln!("left out: this machine lets no user mount a small disk"),
    }
}
