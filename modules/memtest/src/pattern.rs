//! The patterns that are written and read.

/// A pattern.
pub(crate) struct Pattern {
    pub(crate) name: &'static str,
    /// Returns the word at a place, counted in words from physical address 0, in a pass.
    pub(crate) word: fn(u64, u64) -> u64,
}

/// All patterns, in the order of their use.
pub(crate) const PATTERNS: [Pattern; 6] = [
    Pattern { name: "all zeros", word: |_, _| 0 },
    Pattern { name: "all ones", word: |_, _| u64::MAX },
    Pattern { name: "own address", word: |place, _| place * 8 },
    Pattern { name: "alternating bits", word: |place, _| if place % 2 == 0 { STRIPES } else { !STRIPES } },
    Pattern { name: "their inverse", word: |place, _| if place % 2 == 0 { !STRIPES } else { STRIPES } },
    Pattern { name: "random numbers", word: |place, pass| mixed(place ^ mixed(pass)) },
];

const STRIPES: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// Returns a number without a visible relation to its argument (the finalizer of splitmix64, Steele and others 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
