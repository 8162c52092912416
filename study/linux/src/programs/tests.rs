//! Reports of the programs, recorded; and those that are installed run once.

use super::single::{fio_ns, hackbench_ns, perf_ns, sysbench_ns};
use super::*;

#[test]
fn reports_are_read() {
    let hackbench = "Running in process mode with 2 groups using 40 file descriptors each (== 80 tasks)\nEach sender will pass 50 messages of 100 bytes\nTime: 0.120\n";
    assert_eq!(hackbench_ns(hackbench), Some(3_000.0));
    assert_eq!(perf_ns("0.240\n"), Some(6_000.0));
    let sysbench = "Throughput:\n    read, MiB/s:                  1012.62\n\nGeneral statistics:\n    total time:                          0.2000s\n    total number of events:              100000\n";
    assert_eq!(sysbench_ns(sysbench), Some(2_000.0));
    let fio = "fio: a warning\n{\"fio version\" : \"fio-3.33\", \"jobs\" : [{\"read\" : {\"lat_ns\" : {\"min\" : 700, \"mean\" : 812.5}}}]}\n";
    assert_eq!(fio_ns(fio), Some(812.5));
    for rubbish in ["", "Time: soon\n", "{", "{}", "total time: s\n", "Time: 0\n"] {
        assert_eq!(hackbench_ns(rubbish), None, "{rubbish}");
        assert_eq!(perf_ns(rubbish), None, "{rubbish}");
        assert_eq!(sysbench_ns(rubbish), None, "{rubbish}");
        assert_eq!(fio_ns(rubbish), None, "{rubbish}");
    }
}

#[test]
fn installed_programs_run_and_others_are_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let session = Session::quiet(scratch.path().into());
    let (mut programs, omissions) = all(scratch.path(), &session);
    assert_eq!(programs.len() + omissions.len(), 5);
    assert!(omissions.iter().all(|omission| !omission.remedy.is_empty()), "{omissions:?}");
    for program in &mut programs {
        // A sandbox may forbid what a program needs; then it says so, in words.
        match program.sample(&session) {
            Ok(ns) => assert!(ns.is_some_and(|ns| ns > 0.0), "{}", program.id()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    session.end();
    for program in &mut programs {
        assert!(!matches!(program.sample(&session), Ok(Some(_))), "{} goes on", program.id());
    }
}
