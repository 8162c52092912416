//! Numbers, sizes, times and ratios as a reader wants them, the same in all texts of a study: with a true minus, and each
//! size and time in the largest unit that fits.

#[cfg(test)]
mod tests;

/// Shown where no number is known.
pub(crate) const UNKNOWN: &str = "–";

/// Returns a number with four significant digits at most, and its thousands apart.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = value.abs();
    if size >= 1e15 || size > 0.0 && size < 1e-4 {
        return format!("{value:.2e}").replace('-', "−");
    }
    let digits = match size {
        _ if value == value.trunc() => 0,
        _ if size < 0.1 => 4,
        _ if size < 1.0 => 3,
        _ if size < 10.0 => 2,
        _ if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{size:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.'));
    format!("{}{grouped}{rest}", if value < 0.0 && !is_zero { "−" } else { "" })
}

/// Returns a size with the largest unit that keeps it at 1 or more.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", number(if scaled.abs() < 100.0 { scaled } else { scaled.round() }), UNITS[unit])
}

/// Returns a page's size in the words of its field: "4 KiB", or "not mapped".
pub fn page(bytes_of_page: Option<u64>) -> String {
    bytes_of_page.map_or("not mapped".to_owned(), |size| bytes(size as f64))
}

/// Returns the bytes of a unit of sizes; `None` of another unit.
pub(crate) fn unit_bytes(unit: &str) -> Option<f64> {
    match unit {
        "bytes" | "B" => Some(1.0),
        "KiB" => Some(1024.0),
        "MiB" => Some(1024.0 * 1024.0),
        "GiB" => Some(1024.0 * 1024.0 * 1024.0),
        _ => None,
    }
}

/// The unit of parts of 1, which are shown in per cent.
pub(crate) const SHARE: &str = "share";

/// Returns a value with its unit. Times and sizes are scaled.
pub fn quantity(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    if let Some(of_unit) = unit_bytes(unit) {
        return bytes(value * of_unit);
    }
    match unit {
        SHARE => share(value),
        "ns" if value.abs() >= 1e9 => format!("{} s", number(value / 1e9)),
        "ns" if value.abs() >= 1e6 => format!("{} ms", number(value / 1e6)),
        "ns" if value.abs() >= 1e4 => format!("{} µs", number(value / 1e3)),
        "" => number(value),
        _ => format!("{} {unit}", number(value)),
    }
}

/// Returns a share: 0.012 as "1.2 %".
pub fn share(value: f64) -> String {
    let percent = value * 100.0;
    let digits = match percent.abs() {
        size if size < 1.0 => 2,
        size if size < 10.0 => 1,
        _ => 0,
    };
    match percent.abs() {
        size if !size.is_finite() => UNKNOWN.to_owned(),
        0.0 => "0 %".to_owned(),
        size if size < 0.005 => "<0.01 %".to_owned(),
        size if size >= 1000.0 => format!("{} %", number(percent.round())),
        _ => format!("{}{:.digits$} %", if percent < 0.0 { "−" } else { "" }, percent.abs()),
    }
}

/// Returns a ratio as the change that it is: 1.023 as "+2.3 %", 4.1 as "×4.1".
pub fn change(ratio: f64) -> String {
    match ratio {
        _ if !ratio.is_finite() => UNKNOWN.to_owned(),
        _ if ratio >= 1e5 => format!("×{ratio:.0e}"),
        _ if ratio >= 3.0 => {
            format!("×{}", number(if ratio < 100.0 { (ratio * 10.0).round() / 10.0 } else { ratio }))
        }
        _ if ratio >= 1.0 => format!("+{}", share(ratio - 1.0)),
        _ => format!("−{}", share(1.0 - ratio)),
    }
}

/// Returns an interval of ratios: "+1.2 % to +3.4 %".
pub fn interval(low: f64, high: f64) -> String {
    format!("{} to {}", change(low), change(high))
}

/// Returns a probability: "1.25e−3".
pub fn probability(p: f64) -> String {
    if p.is_finite() { format!("{p:.2e}").replace('-', "−") } else { UNKNOWN.to_owned() }
}

/// Returns a span of time: "12 ms", "42 s", "3 min 20 s", "1 h 4 min".
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return UNKNOWN.to_owned();
    }
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds == 0.0 => "0 s".to_owned(),
        _ if seconds < 0.0005 => "<1 ms".to_owned(),
        _ if seconds < 0.1 => format!("{:.0} ms", seconds * 1e3),
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Returns a moment in UTC: "28 November 2026, 01:06 UTC".
pub fn moment(unix_s: u64) -> String {
    let moment = i64::try_from(unix_s).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    moment.map_or(UNKNOWN.to_owned(), |at| {
        format!("{} {} {}, {:02}:{:02} UTC", at.day(), at.month(), at.year(), at.hour(), at.minute())
    })
}

/// Returns a count with its noun: "1 comparison", "3 comparisons".
pub fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", number(count as f64), if count == 1 { "" } else { "s" })
}

/// Returns a sentence with its full stop.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let ends = text.ends_with(['.', '!', '?', ':']) || text.is_empty();
    format!("{text}{}", if ends { "" } else { "." })
}

/// A space at which no line ends.
pub(crate) const NO_BREAK: char = '\u{a0}';

/// Keeps numbers and their units on one line: the space between them becomes one that does not break.
pub(crate) fn with_whole_units(text: &str) -> String {
    const UNITS: [&str; 9] = ["%", "KiB", "MiB", "GiB", "TiB", "ns", "µs", "ms", "B"];
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(' ') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        whole.push_str(before);
        let is_number = before.ends_with(|c: char| c.is_ascii_digit());
        let is_unit = |unit: &&str| {
            after
                .strip_prefix(*unit)
                .is_some_and(|next| !next.starts_with(|c: char| c.is_alphanumeric() || c == '='))
        };
        whole.push(if is_number && UNITS.iter().any(is_unit) { NO_BREAK } else { ' ' });
        rest = after;
    }
    whole.push_str(rest);
    whole
}
