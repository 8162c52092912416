//! Names of builds, and which of them a filter asks for.

use super::{OTHERS, SANITIZED, Suite, USUAL};

#[test]
fn names_of_other_builds() {
    let [_, loom, ..] = &OTHERS;
    let suite = Suite::Library("rhumb_frames".into());
    assert_eq!(USUAL.full_name(&suite, "tests::a"), "host/frames::tests::a");
    assert_eq!(loom.full_name(&suite, "tests::a"), "host/frames-loom::tests::a");
    assert_eq!(SANITIZED.full_name(&suite, "tests::a"), "host/frames-tsan::tests::a");
    for filter in ["", "host/", "loom", "frames-loom", "host/frames-loom::tests"] {
        assert!(loom.is_wanted(filter) && USUAL.is_wanted(filter), "{filter}");
    }
    for filter in ["host/frames::", "frames", "frames-checked"] {
        assert!(!loom.is_wanted(filter) && USUAL.is_wanted(filter), "{filter}");
    }
}
