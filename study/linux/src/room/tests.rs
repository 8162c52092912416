//! The margin that stays.

use super::*;

#[test]
fn a_margin_stays() {
    assert_eq!(margin(100 << 30), 15 << 30);
    assert_eq!(margin(0), MARGIN_AT_LEAST);
    let available = available_bytes().unwrap_or(0);
    // Memory comes and goes meanwhile, but not as much as the margin is at least.
    assert!(room(&Root::system()) <= available.max(MARGIN_AT_LEAST));
}
