//! Cargo's messages.

use super::{Status, status};

#[test]
fn tells_progress_from_diagnostics() {
    let working = |text: &str| Some(Status::Working(text.into()));
    assert_eq!(status("   Compiling core v0.0.0 (/usr/lib/core)"), working("compiling core v0.0.0"));
    assert_eq!(status("\x1b[1m\x1b[92m   Compiling\x1b[0m alloc v0.0.0"), working("compiling alloc v0.0.0"));
    assert_eq!(status("    Finished `kernel` profile [optimized] target(s) in 1s"), Some(Status::Idle));
    assert_eq!(status("error[E0425]: cannot find value `x` in this scope"), None);
    assert_eq!(status("  --> kernel/src/main.rs:1:1"), None);
}
