//! Numbers and foreign names as the terminal shows them.

#[cfg(test)]
mod tests;

use std::fmt::Write;

/// Returns a name that another process chose, with each sign that could move the cursor or the direction of writing
/// escaped.
pub fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for sign in name.chars() {
        let turns =
            matches!(sign, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if sign.is_control() || turns || matches!(sign, '\u{2028}' | '\u{2029}' | '\u{feff}') {
            let _ = write!(plain, "\\u{{{:x}}}", u32::from(sign));
        } else {
            plain.push(sign);
        }
    }
    plain
}

/// Returns a size in the largest unit that leaves a whole number of it, or with one digit after the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
    }
}

/// Returns the size of a page.
pub fn page(bytes: Option<u64>) -> &'static str {
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
pub fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Returns a number with the noun that it counts.
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.ends_with("ss")) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

/// Returns `text` cut to `width` signs, the last of which tells that something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}
