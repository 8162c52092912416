//! The bits of one block: 512 frames in eight words, a set bit being a free frame.
//!
//! Runs of 2^k free frames, aligned to their size, are found by folding a word onto itself k times; there are no
//! lists of them and nothing to merge when frames come back.

/// Frames in a block.
pub const FRAMES: u32 = 512;
/// Words in a block.
pub const WORDS: usize = 8;
/// The bits of one block.
pub type Bits = [u64; WORDS];

/// `ALIGNED[k]` has a bit at each multiple of 2^k.
const ALIGNED: [u64; 7] = [
    u64::MAX,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// Folds runs of 2^`LEVEL` frames to runs twice as long.
#[inline(always)]
const fn fold<const LEVEL: usize>(starts: u64) -> u64 {
    starts & starts >> (1 << LEVEL) & ALIGNED[LEVEL + 1]
}

/// Returns the starts of the aligned free runs of 2^`order` frames in `word`; `order` is at most 6.
#[inline]
pub(crate) const fn run_starts(word: u64, order: u32) -> u64 {
    // Written out, so that each shift is by a constant.
    let one = fold::<0>(word);
    let two = fold::<1>(one);
    let three = fold::<2>(two);
    match order {
        0 => word,
        1 => one,
        2 => two,
        3 => three,
        4 => fold::<3>(three),
        5 => fold::<4>(fold::<3>(three)),
        _ => (word == u64::MAX) as u64,
    }
}

/// Returns the starts of the aligned pairs of free frames in `word`.
#[inline(always)]
pub(crate) const fn pairs(word: u64) -> u64 {
    fold::<0>(word)
}

/// Returns the starts of the aligned runs of 2^(`log2` + 1), made from those of 2^`log2`, at most 5.
#[inline(always)]
pub(crate) const fn double(starts: u64, log2: usize) -> u64 {
    starts & starts >> (1 << log2) & ALIGNED[log2 + 1]
}

/// Returns a mask of 2^`order` bits from bit `start` of a word; `order` is at most 6.
#[inline]
pub const fn run_mask(start: u32, order: u32) -> u64 {
    (u64::MAX >> (64 - (1 << order))) << start
}

/// Returns the largest order, 0..=9, of a free run in the block, plus one; 0 where no frame is free.
pub fn block_rank(bits: &Bits) -> u32 {
    let full = full_words(bits);
    if full != 0 {
        return full_words_rank(full);
    }
    // All words are folded together: no branch depends on a single one.
    let any = |starts: &Bits| starts.iter().fold(0, |any, &word| any | word) != 0;
    let one = bits.map(fold::<0>);
    if !any(&one) {
        return u32::from(any(bits));
    }
    let two = one.map(fold::<1>);
    if !any(&two) {
        return 2;
    }
    let three = two.map(fold::<2>);
    if !any(&three) {
        return 3;
    }
    let four = three.map(fold::<3>);
    4 + u32::from(any(&four)) + u32::from(any(&four.map(fold::<4>)))
}

/// Returns the same for a block of which the words in the set `full` (bit per word, not empty) are all free.
#[inline]
pub(crate) const fn full_words_rank(full: u32) -> u32 {
    let pairs = full & full >> 1 & 0x55;
    let quads = pairs & pairs >> 2 & 0x11;
    7 + (pairs != 0) as u32 + (quads != 0) as u32 + (quads == 0x11) as u32
}

/// Returns the first aligned free run of 2^`order` frames; `order` is at most 8. Words that are in part used already
/// come first.
pub fn find_run(bits: &Bits, order: u32) -> Option<u32> {
    if order > 6 {
        let span = 1 << (order - 6);
        let first =
            (0..WORDS).step_by(span).find(|&at| bits[at..at + span].iter().all(|&word| word == u64::MAX));
        return first.map(|at| at as u32 * 64);
    }
    let mut whole = None;
    for (at, &word) in bits.iter().enumerate() {
        let starts = run_starts(word, order);
        if starts != 0 {
            let run = at as u32 * 64 + starts.trailing_zeros();
            if word != u64::MAX || order == 6 {
                return Some(run);
            }
            whole = whole.or(Some(run));
        }
    }
    whole
}

/// Returns the bits `start..end` of a block.
pub(crate) fn mask_of(start: usize, end: usize) -> Bits {
    core::array::from_fn(|word| {
        let (from, to) = (start.clamp(word * 64, word * 64 + 64), end.clamp(word * 64, word * 64 + 64));
        if from >= to { 0 } else { (u64::MAX >> (64 - (to - from))) << (from % 64) }
    })
}

/// Returns the first bit of `wanted` that `bits` lacks.
pub(crate) fn first_missing(bits: &Bits, wanted: &Bits) -> Option<u32> {
    let missing = |at: &usize| wanted[*at] & !bits[*at] != 0;
    let at = (0..WORDS).find(missing)?;
    Some(at as u32 * 64 + (wanted[at] & !bits[at]).trailing_zeros())
}

/// Returns which words are all free: a bit for each.
fn full_words(bits: &Bits) -> u32 {
    bits.iter().enumerate().fold(0, |full, (at, &word)| full | u32::from(word == u64::MAX) << at)
}

/// Returns how many aligned runs of 2^`order` frames, at most 8, are free; overlapping with those of other orders.
pub(crate) fn count_runs(bits: &Bits, order: u32) -> u32 {
    if order <= 6 {
        return bits.iter().map(|&word| run_starts(word, order).count_ones()).sum();
    }
    let span = 1 << (order - 6);
    bits.chunks(span).filter(|words| words.iter().all(|&word| word == u64::MAX)).count() as u32
}
