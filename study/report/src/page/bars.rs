//! Bars of one part or several, a line of the page each.

use maud::{Markup, html};

use super::palette::SERIES;
use super::tables::{caption, rows};
use crate::format::quantity;
use crate::schema::{Bar, Bars};

/// The most bars that are shown unasked.
const SHOWN: usize = 24;

/// Returns the figure of a chart of bars, which is the `index`th.
pub(super) fn figure(bars: &Bars, index: usize) -> Markup {
    let longest = bars.bars.iter().map(total).fold(0.0, f64::max);
    html! {
        figure id=(format!("bars-{index}")) {
            h3 { (bars.title) }
            @if bars.parts.len() > 1 {
                ul.legend { @for (index, part) in bars.parts.iter().enumerate() { li { i class=(format!("f{}", index % SERIES.len())) {} (part) } } }
            }
            div.bars { @for bar in bars.bars.iter().take(SHOWN) { (line(bar, bars, longest)) } }
            @if bars.bars.len() > SHOWN {
                details { summary { "The other " (bars.bars.len() - SHOWN) } div.bars { @for bar in &bars.bars[SHOWN..] { (line(bar, bars, longest)) } } }
            }
            (caption(&bars.caption))
            (table(bars))
        }
    }
}

/// Returns a value that a bar can show.
fn shown(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

fn total(bar: &Bar) -> f64 {
    bar.values.iter().copied().map(shown).sum()
}

fn line(bar: &Bar, bars: &Bars, longest: f64) -> Markup {
    let mut at = 0.0;
    let parts: Vec<(f64, f64)> = bar
        .values
        .iter()
        .map(|value| {
            let width = if longest > 0.0 { shown(*value) / longest * 100.0 } else { 0.0 };
            at += width;
            (at - width, width)
        })
        .collect();
    let known = bar.values.iter().any(|value| value.is_finite());
    let sum = if known { bar.values.iter().filter(|value| value.is_finite()).sum() } else { f64::NAN };
    html! {
        div.row {
            span.what { (bar.name) }
            svg.lane role="img" aria-label=(format!("{}: {}", bar.name, quantity(sum, &bars.unit))) {
                @for (index, (at, width)) in parts.iter().enumerate() {
                    rect class=(format!("f{}", index % SERIES.len())) x=(format!("{at:.3}%")) y="4" width=(format!("{width:.3}%")) height="16" {
                        title { (bars.parts.get(index).map_or("", |part| part)) ": " (quantity(bar.values[index], &bars.unit)) }
                    }
                }
                line.base x1="0" x2="0" y1="0" y2="24" {}
            }
            span.value { (quantity(sum, &bars.unit)) }
        }
    }
}

fn table(bars: &Bars) -> Markup {
    let mut head = vec![""];
    head.extend(bars.parts.iter().map(|part| &**part));
    let body = bars.bars.iter().map(|bar| {
        let values = bar.values.iter().map(|value| quantity(*value, &bars.unit));
        std::iter::once(bar.name.clone()).chain(values).collect()
    });
    rows(&head, 1, body.collect())
}
