//! Effects with their intervals: a forest plot.
//!
//! Each row is a line of the page, so that its name can wrap and the text stays readable on a phone. The drawing between
//! name and number has places in per cent of its width. All rows of the page have the same scale, which is logarithmic.

use maud::{Markup, html};
use rhumb_method::{Effect, Finding};

use crate::format::{UNKNOWN, change, interval, share};
use crate::verdict::{range, shown_interval};

#[cfg(test)]
mod tests;

/// The most rows with an effect, in a group, that are shown unasked.
const SEEN: usize = 16;

/// Rows without an effect are shown unasked up to this many rows of a group.
const UNSEEN: usize = 8;

/// Room beyond the last effect.
const EDGE: f64 = 1.006;

/// A row of the plot.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    /// The name: a workload or a machine.
    pub(crate) name: String,
    /// The rest of the name, in smaller letters.
    pub(crate) remark: String,
    /// The effect; `None` where there is no answer.
    pub(crate) effect: Option<Effect>,
    /// Whether the study that it is from proves nothing.
    pub(crate) is_void: bool,
}

/// Rows under one heading.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Group {
    /// The heading.
    pub(crate) title: String,
    /// The arm and its baseline, if they are the same in all rows.
    pub(crate) versus: String,
    /// The rows, in the order in which they are shown.
    pub(crate) rows: Vec<Row>,
}

impl Group {
    /// Divides the rows into those that are shown unasked and the others, both in their order.
    fn divided(&self) -> (Vec<&Row>, Vec<&Row>) {
        let is_seen = |row: &&Row| row.effect.is_some_and(|effect| effect.finding() != Finding::Unseen);
        let seen = self.rows.iter().filter(is_seen).count().min(SEEN);
        let (mut room_seen, mut room_unseen) = (seen, UNSEEN.saturating_sub(seen));
        self.rows.iter().partition(|row| {
            let room = if is_seen(row) { &mut room_seen } else { &mut room_unseen };
            let fits = *room > 0;
            *room -= usize::from(fits);
            fits
        })
    }
}

/// The scale that all rows share.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    /// Returns the scale of these effects.
    pub(crate) fn over<'a>(effects: impl Iterator<Item = &'a Effect>) -> Self {
        let (low, high) = range(effects);
        let (low, high) = (low / EDGE, high * EDGE);
        Self { low, high, ticks: ticks(low, high) }
    }

    /// Returns the place of a ratio in per cent of the width.
    fn place(&self, ratio: f64) -> f64 {
        let part = (ratio.ln() - self.low.ln()) / (self.high.ln() - self.low.ln());
        if part.is_nan() { 50.0 } else { part.clamp(0.0, 1.0) * 100.0 }
    }

    fn is_inside(&self, ratio: f64) -> bool {
        ratio >= self.low && ratio <= self.high
    }
}

/// Returns round changes between two ratios, 1 among them, and at most seven.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    if high / low > 5.0 {
        let decade = |power: i32| [1.0, 2.0, 5.0].map(|part| part * 10f64.powi(power));
        let all: Vec<f64> = (-6..7).flat_map(decade).filter(|tick| *tick >= low && *tick <= high).collect();
        let keep = all.len().div_ceil(6);
        let one = all.iter().position(|tick| *tick == 1.0).unwrap_or(0);
        return all
            .into_iter()
            .enumerate()
            .filter(|(index, _)| index.abs_diff(one) % keep == 0)
            .map(|(_, tick)| tick)
            .collect();
    }
    let steps = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
    let step = steps.into_iter().find(|step| (high - low) / step <= 5.0).unwrap_or(2.0);
    let (first, last) = (((low - 1.0) / step).ceil() as i32, ((high - 1.0) / step).floor() as i32);
    (first..=last).map(|index| 1.0 + f64::from(index) * step).collect()
}

/// Returns the groups with a common scale.
pub(crate) fn plot(groups: &[Group], scale: &Scale) -> Markup {
    html! {
        @for group in groups {
            @let (shown, others) = group.divided();
            section.family {
                h3 { (group.title) }
                @if !group.versus.is_empty() { p.versus { (group.versus) } }
                div.forest {
                    (axis(scale))
                    @for row in shown { (line(row, scale)) }
                }
                @if !others.is_empty() {
                    details {
                        summary { "The other " (others.len()) " of this group" }
                        div.forest { @for row in others { (line(row, scale)) } }
                    }
                }
            }
        }
    }
}

/// Returns the effects of many machines as one row: a dot for each, a box for the middle half, a line at the median.
pub(crate) fn fleet(ratios: &[f64], scale: &Scale) -> Markup {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q| scale.place(rhumb_method::quantile(&sorted, q).unwrap_or(1.0));
    let (first, median, third) = (at(0.25), at(0.5), at(0.75));
    html! {
        div.forest {
            (axis(scale))
            div.row {
                span.what { (ratios.len()) " machines" }
                svg.lane role="img" aria-label="The effect on each machine" {
                    @for tick in &scale.ticks { line.tick x1=(percent(scale.place(*tick))) x2=(percent(scale.place(*tick))) y1="0" y2="100%" {} }
                    line.zero x1=(percent(scale.place(1.0))) x2=(percent(scale.place(1.0))) y1="0" y2="100%" {}
                    rect.half x=(percent(first)) width=(percent(third - first)) y="3" height="22" {}
                    @for (index, ratio) in sorted.iter().enumerate() {
                        circle.machine cx=(percent(scale.place(*ratio))) cy=(format!("{:.1}", 6.0 + (index as f64 * 0.618_034).fract() * 16.0)) r="2.5" {}
                    }
                    line.median x1=(percent(median)) x2=(percent(median)) y1="1" y2="27" {}
                }
                span.value { (rhumb_method::quantile(&sorted, 0.5).map_or(UNKNOWN.to_owned(), change)) small { "median" } }
            }
        }
    }
}

/// Returns the key of the plot.
pub(crate) fn key() -> Markup {
    html! {
        ul.legend {
            li { svg.sample viewBox="0 0 34 14" aria-hidden="true" { line.thin x1="1" x2="33" y1="7" y2="7" {} line.thick x1="8" x2="26" y1="7" y2="7" {} circle cx="17" cy="7" r="4.5" {} }
                "effect, its interval, and (thin) the interval adjusted for all comparisons" }
            li { i.band {} "effects too small for this comparison to see" }
        }
    }
}

fn axis(scale: &Scale) -> Markup {
    html! {
        div.row.scale aria-hidden="true" {
            span.what {}
            svg.lane {
                @for tick in &scale.ticks {
                    @let place = scale.place(*tick);
                    text x=(percent(place)) y="14" text-anchor=(if place > 93.0 { "end" } else if place < 7.0 { "start" } else { "middle" }) {
                        (if (*tick - 1.0).abs() < 1e-9 { "0".to_owned() } else { short(*tick) })
                    }
                }
            }
            span.value {}
        }
    }
}

/// Writes a tick: "+5 %".
fn short(ratio: f64) -> String {
    let percent = ((ratio - 1.0) * 1000.0).round() / 10.0;
    match ratio {
        _ if ratio >= 3.0 => format!("×{ratio}"),
        _ => format!("{}{} %", if percent < 0.0 { "−" } else { "+" }, percent.abs()),
    }
}

fn percent(place: f64) -> String {
    format!("{place:.2}%")
}

/// Returns the class of a finding.
pub(crate) fn class(effect: &Effect) -> &'static str {
    match effect.finding() {
        Finding::More => "more",
        Finding::Less => "less",
        Finding::Unseen => "unseen",
    }
}

fn line(row: &Row, scale: &Scale) -> Markup {
    let Some(effect) = &row.effect else {
        return html! {
            div.row { span.what { (row.name) small { (row.remark) } } span.lane.none { "too few rounds" } span.value { (UNKNOWN) } }
        };
    };
    let (low, high) = shown_interval(effect);
    let class = if row.is_void { "void" } else { class(effect) };
    html! {
        div class=(format!("row {class}")) {
            span.what { (row.name) small { (row.remark) } }
            (lane(effect, scale))
            span.value { (change(effect.ratio)) small { (interval(low, high)) } }
        }
    }
}

/// Draws an effect.
fn lane(effect: &Effect, scale: &Scale) -> Markup {
    let (low, high) = shown_interval(effect);
    let seen = effect.smallest_detectable.unwrap_or(1e9);
    let (from, to) = (scale.place(1.0 / (1.0 + seen)), scale.place(1.0 + seen));
    let alt = format!(
        "{}, interval {}, could have seen {}",
        change(effect.ratio),
        interval(low, high),
        effect.smallest_detectable.map_or("nothing".to_owned(), share)
    );
    html! {
        svg.lane role="img" aria-label=(alt) {
            rect.band x=(percent(from)) y="0" width=(percent(to - from)) height="100%" {}
            @for tick in &scale.ticks { line.tick x1=(percent(scale.place(*tick))) x2=(percent(scale.place(*tick))) y1="0" y2="100%" {} }
            line.zero x1=(percent(scale.place(1.0))) x2=(percent(scale.place(1.0))) y1="0" y2="100%" {}
            line.thin x1=(percent(scale.place(low))) x2=(percent(scale.place(high))) y1="14" y2="14" {}
            @for (end, is_low) in [(low, true), (high, false)] {
                // An interval that is cut goes on beyond the edge.
                @if !scale.is_inside(end) { text.cut x=(if is_low { "0" } else { "100%" }) y="19" text-anchor=(if is_low { "start" } else { "end" }) { (if is_low { "‹" } else { "›" }) } }
            }
            line.thick x1=(percent(scale.place(effect.low))) x2=(percent(scale.place(effect.high))) y1="14" y2="14" {}
            circle cx=(percent(scale.place(effect.ratio))) cy="14" r="5" {}
        }
    }
}
