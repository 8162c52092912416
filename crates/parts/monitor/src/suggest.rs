//! The known word nearest to a misspelt one.

/// Longer words are not compared: no command's name is that long.
const LONGEST: usize = 24;

/// Returns the word of `known` that `word` was most likely meant to be, if any is near: at most one edit in a short
/// word, two in a longer one, or `word` is the beginning of it. The first of several equally near ones.
pub(crate) fn nearest<'known>(word: &str, known: impl Iterator<Item = &'known str>) -> Option<&'known str> {
    let allowed = if word.len() <= 4 { 1 } else { 2 };
    let rank = |candidate: &'known str| {
        let edits = distance(word.as_bytes(), candidate.as_bytes())?;
        match edits {
            _ if edits <= allowed => Some((edits, candidate)),
            _ if word.len() >= 2 && candidate.starts_with(word) => Some((allowed + 1, candidate)),
            _ => None,
        }
    };
    known.filter_map(rank).min_by_key(|&(edits, _)| edits).map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, changes and swaps of neighbours between `one` and `other` (optimal string alignment).
fn distance(one: &[u8], other: &[u8]) -> Option<usize> {
    if one.len() > LONGEST || other.len() > LONGEST {
        return None;
    }
    let (mut before_last, mut last) = ([0; LONGEST + 1], [0; LONGEST + 1]);
    for (column, cell) in last.iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=one.len() {
        let mut this = [row; LONGEST + 1];
        for column in 1..=other.len() {
            let changed = last[column - 1] + usize::from(one[row - 1] != other[column - 1]);
            this[column] = changed.min(last[column] + 1).min(this[column - 1] + 1);
            let is_swap = row > 1
                && column > 1
                && one[row - 1] == other[column - 2]
                && one[row - 2] == other[column - 1];
            if is_swap {
                this[column] = this[column].min(before_last[column - 2] + 1);
            }
        }
        (before_last, last) = (last, this);
    }
    Some(last[other.len()])
}
