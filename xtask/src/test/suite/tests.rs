//! Cargo's headings.

use super::Suite;

#[test]
fn understands_cargos_headings() {
    let unit = Suite::announced("     Running unittests src/lib.rs (target/debug/deps/rhumb_machine-0a1b)");
    assert_eq!(unit, Some(Suite::Library("rhumb_machine".into())));
    let program = Suite::announced("     Running unittests src/main.rs (target/debug/deps/xtask-0a1b)");
    assert_eq!(program, Some(Suite::Program("xtask".into())));
    assert_eq!(unit.expect("above").full_name("", "tests::range"), "host/machine::tests::range");
    let integration = Suite::announced("     Running tests/whole.rs (/t/debug/deps/whole-0a1b)");
    assert_eq!(integration, Some(Suite::Integration("whole".into())));
    assert_eq!(Suite::announced("   Doc-tests rhumb_symbols"), Some(Suite::Doc("rhumb_symbols".into())));
    assert_eq!(Suite::announced("running 3 tests"), None);
}
