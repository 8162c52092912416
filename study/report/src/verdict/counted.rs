//! The answer of a study that counts: exact numbers, which need no intervals.

use crate::format::{counted, number, quantity, sentence};
use crate::schema::{Bar, Bars, Study};

/// Returns headline and detail from the first chart of bars or the first table; `None` where there is neither.
pub(super) fn answer(study: &Study) -> Option<(String, String)> {
    let tables = study.tables.iter().filter(|table| !table.rows.is_empty());
    if let Some((headline, bars)) = study.bars.iter().find_map(|bars| Some((headline(bars)?, bars))) {
        let figures = counted(study.bars.len(), "chart");
        let tables = counted(tables.count(), "table");
        let detail = format!(
            "{} In all there are {figures} and {tables} of exact counts, which repeat to the digit and need no interval.",
            sentence(&bars.caption)
        );
        return Some((headline, detail.trim_start_matches(['.', ' ']).to_owned()));
    }
    let table = tables.into_iter().next()?;
    let headline = format!("{}: {}.", table.title.trim_end_matches('.'), counted(table.rows.len(), "row"));
    Some((headline, sentence(&table.caption)))
}

/// Sets the first bar beside the one that differs most from it.
fn headline(bars: &Bars) -> Option<String> {
    let first = bars.bars.first()?;
    let start = total(first);
    let far = |bar: &&Bar| (total(bar) / start).ln().abs();
    let last =
        bars.bars[1..].iter().filter(|bar| far(bar).is_finite()).max_by(|a, b| far(a).total_cmp(&far(b)));
    let title = bars.title.trim_end_matches('.');
    Some(match last {
        Some(last) if total(last) == start => {
            format!("{title}: {} with {} and with {}.", quantity(start, &bars.unit), first.name, last.name)
        }
        Some(last) => {
            let ratio = total(last) / start;
            let times = if ratio >= 1.0 {
                format!("{} times", tenths(ratio))
            } else {
                format!("1/{}", tenths(1.0 / ratio))
            };
            format!(
                "{title}: {} with {}, {} with {} ({times}).",
                quantity(start, &bars.unit),
                first.name,
                quantity(total(last), &bars.unit),
                last.name
            )
        }
        None => format!("{title}: {} with {}.", quantity(start, &bars.unit), first.name),
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
