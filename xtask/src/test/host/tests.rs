//! Cargo's results, retold.

use super::{Report, Teller, result};
use crate::test::builds::USUAL;

#[test]
fn understands_results() {
    assert_eq!(result("test tests::a ... ok"), Some(("tests::a", "ok")));
    assert_eq!(result("test tests::a - should panic ... FAILED"), Some(("tests::a", "FAILED")));
    assert_eq!(
        result("test src/lib.rs - X (line 3) ... ignored, slow"),
        Some(("src/lib.rs - X (line 3)", "ignored, slow"))
    );
    assert_eq!(result("test result: ok. 1 passed; 0 failed"), None);
}

/// Cargo's words where the second suite's process fails after its last test.
#[test]
fn a_process_that_fails_after_its_tests_is_told() {
    let lines = [
        "     Running unittests src/lib.rs (target/debug/deps/rhumb_frames-0a1b)",
        "test tests::a ... ok",
        "test result: ok. 1 passed; 0 failed",
        "     Running unittests src/lib.rs (target/debug/deps/rhumb_slab-0a1b)",
        "test tests::b ... ok",
        "test result: ok. 1 passed; 0 failed",
        "error: test failed, to rerun pass `-p rhumb-slab --lib`",
        "  process didn't exit successfully: `rhumb_slab-0a1b` (exit status: 66)",
        "     Running unittests src/lib.rs (target/debug/deps/rhumb_smp-0a1b)",
        "test tests::c ... FAILED",
        "test result: FAILED. 0 passed; 1 failed",
        "error: test failed, to rerun pass `-p rhumb-smp --lib`",
        "error: 2 targets failed:",
    ];
    let (mut teller, mut report) = (Teller::of(&USUAL), Report::default());
    lines.iter().for_each(|line| teller.hear(line, &mut report));
    teller.close(false, &mut report);
    assert_eq!(report.failed(), ["host/slab::(process)", "host/smp::tests::c"]);
}
