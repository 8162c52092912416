//! Names of cases.

use std::collections::BTreeSet;

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = super::with_kasan(1);
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len());
}
