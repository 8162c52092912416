//! Verdicts on what a kernel said.

use super::{IMPOSSIBLE, judge};
use crate::console::Ending;
use crate::test::case::Case;
use crate::test::report::Verdict;

#[test]
fn an_impossible_step_is_a_fault_unless_the_case_asks_for_one() {
    let said = format!("{IMPOSSIBLE}a place in the code\n");
    let verdict = |case: &Case, output: &str| match judge(case, &Ending::Succeeded, output, "") {
        Verdict::Passed => None,
        Verdict::Failed(why) => why.lines().next().map(str::to_owned),
        Verdict::Skipped(why) => panic!("skipped: {why}"),
    };
    let (usual, asks) = (Case::new("a", ""), Case::new("b/inject/impossible", "").takes_impossible_step());
    assert_eq!(verdict(&usual, "sound\n"), None);
    assert_eq!(verdict(&asks, &said), None);
    let took = verdict(&usual, &said).expect("a fault");
    assert!(took.contains("took a step that cannot be"), "{took}");
    let missing = verdict(&asks, "sound\n").expect("a fault");
    assert!(missing.contains("did not say"), "{missing}");
    let by_name_alone = verdict(&Case::new("inject/impossible", ""), &said);
    assert_eq!(by_name_alone, Some(took));
}
