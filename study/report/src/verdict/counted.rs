//! The answer of a study that counts: exact numbers, which need no intervals.

use crate::format::{counted, number, quantity, sentence};
use crate::schema::{Bar, Bars, Study};

/// Returns headline and detail from the first chart of bars or the first table; `None` where there is neither.
pub(super) fn answer(study: &Study) -> Option<(String, String)> {
    let tables = study.tables.iter().filter(|table| !table.rows.is_empty());
    if let Some((headline, bars)) = study.bars.iter().find_map(|bars| Some((headline(bars)?, bars))) {
        let figures = counted(study.bars.len(), "chart");
        let tables = counted(tables.count(), "table");
        let detail =
            format!("{} Below are {figures} and {tables}; counts need no interval.", sentence(&bars.caption));
        return Some((headline, detail.trim_start_matches(['.', ' ']).to_owned()));
    }
    let table = tables.into_iter().next()?;
    let headline = format!("{}: {}.", table.title.trim_end_matches('.'), counted(table.rows.len(), "row"));
    Some((headline, sentence(&table.caption)))
}

/// Sets the first bar beside the one that differs most from it. Either may be 0: a map in the largest pages may miss nothing.
fn headline(bars: &Bars) -> Option<String> {
    let first = bars.bars.first()?;
    let start = total(first);
    // Nothing is as far from zero as the largest, and zero is as far as can be from anything else.
    let far = |bar: &&Bar| if start > 0.0 { (total(bar) / start).ln().abs() } else { total(bar) };
    let others = bars.bars[1..].iter().filter(|bar| !far(bar).is_nan());
    let last = others.reduce(|one, other| if far(&other) > far(&one) { other } else { one });
    let title = bars.title.trim_end_matches('.');
    let value = |bar: &Bar| match total(bar) {
        0.0 => "none".to_owned(),
        total => quantity(total, &bars.unit),
    };
    Some(match last {
        Some(last) if total(last) == start => {
            format!("{title}: {} with {} and with {}.", value(first), first.name, last.name)
        }
        Some(last) => {
            let ratio = total(last) / start;
            let times = match ratio {
                _ if start <= 0.0 || ratio <= 0.0 => String::new(),
                _ if ratio >= 1.0 => format!(" ({} times)", tenths(ratio)),
                _ => format!(" (1/{})", tenths(1.0 / ratio)),
            };
            format!(
                "{title}: {} with {}, {} with {}{times}.",
                value(first),
                first.name,
                value(last),
                last.name
            )
        }
        None => format!("{title}: {} with {}.", value(first), first.name),
    })
}

fn total(bar: &Bar) -> f64 {
    bar.values.iter().filter(|value| value.is_finite()).sum()
}

/// Writes a ratio with at most one digit after the point.
fn tenths(ratio: f64) -> String {
    if ratio < 100.0 {
        format!("{ratio:.1}").trim_end_matches(".0").to_owned()
    } else {
        number(ratio.round())
    }
}
