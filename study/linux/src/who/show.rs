//! Numbers and foreign names as the terminal shows them.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use rhumb_study_report::shows_nothing;

/// Returns a name that another process chose, with each sign escaped that shows nothing by itself.
pub(crate) fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for sign in name.chars() {
        if shows_nothing(sign) {
            let _ = write!(plain, "\\u{{{:x}}}", u32::from(sign));
        } else {
            plain.push(sign);
        }
    }
    plain
}

const UNITS: [(&str, u64); 6] = [
    ("EiB", 1 << 60),
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Returns a size in the largest unit that leaves a whole number of it, or with one digit after the point.
pub(crate) fn size(bytes: u64) -> String {
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        _ => even_size(bytes),
    }
}

/// Returns a size with one digit after the point, whatever it is, as rows of a table need it.
pub(crate) fn even_size(bytes: u64) -> String {
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
    }
}

/// Returns the size of a page.
pub(crate) fn page(bytes: Option<u64>) -> &'static str {
    use crate::proc::counters::{GIB_1, KIB_4, MIB_2, MIB_4};
    match bytes {
        Some(KIB_4) => "4 KiB",
        Some(MIB_2) => "2 MiB",
        Some(MIB_4) => "4 MiB",
        Some(GIB_1) => "1 GiB",
        Some(_) => "other",
        None => "not mapped",
    }
}

/// Returns a duration in its two largest units: `3d 4h`, `12m 5s`.
pub(crate) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Returns a number with the noun that it counts.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    match (count, noun.ends_with("ss") || noun.ends_with("ch")) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

/// Divides a sentence into lines of at most `width` columns, between words. The first line begins with `first`, the others
/// with `rest`.
pub(crate) fn folded(sentence: &str, width: usize, first: &str, rest: &str) -> Vec<String> {
    if sentence.is_empty() {
        return Vec::new();
    }
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::wrap(sentence, options).into_iter().map(std::borrow::Cow::into_owned).collect()
}

/// Returns `text` cut to `width` signs, the last of which tells that something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}
