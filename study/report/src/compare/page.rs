//! The page of a comparison.

use maud::{Markup, html};
use rhumb_method::{Effect, quantile};

use super::{Compared, FEW, Figure, Joined};
use crate::format::{UNKNOWN, change, interval, probability, quantity, share};
use crate::page::document;
use crate::page::forest::{Group, Row, Scale, fleet, key, plot};
use crate::page::tables::{rows, table};

/// The most comparisons that are shown unasked.
const SHOWN: usize = 16;

/// The most machines at each end of a fleet that are shown by name.
const ENDS: usize = 5;

/// Returns the page.
pub(super) fn page(compared: &Compared) -> String {
    let (headline, detail) = compared.verdict();
    let (void, doubtful) = compared.remarks();
    let body = html! {
        header {
            p.kicker { "Rhumb study · " (compared.sides.len()) " studies of kind " (compared.kind) }
            h1 { (headline) }
            p.standfirst { (detail) }
            @for remark in &void { p.warning role="alert" { (remark) } }
            @for remark in &doubtful { p.warning { (remark) } }
        }
        main {
            @if !compared.rows.is_empty() {
                section { h2 { "The same comparison on each machine" } (effects(compared)) }
            }
            @if !compared.figures.is_empty() { section { h2 { "Other figures" } (figures(compared)) } }
            @if !compared.differences.is_empty() { section { h2 { "The machines differ in" } (differences(compared)) } }
            (method(compared))
        }
        footer { p { "Made by rhumb-study compare." } }
    };
    document(&headline, &body)
}

/// Returns the forest plot: a group for each comparison, a row for each machine, those that disagree first.
fn effects(compared: &Compared) -> Markup {
    let mut joined = compared.disagreements();
    joined.extend(compared.rows.iter().filter(|row| !row.differs()));
    let scale = Scale::over(joined.iter().flat_map(|row| row.effects.iter().flatten()));
    let few = compared.sides.len() <= FEW;
    let first = joined.len().min(SHOWN);
    html! {
        figure #effects {
            h3 { "Each machine, with its interval" }
            p.versus {
                "Comparisons in which the machines disagree come first."
                @if !compared.conditions.is_empty() { " In all of them: " (compared.conditions.join(" · ")) "." }
            }
            @if few { (key()) } @else { p.versus { "Each dot is a machine. The box holds the middle half, its line is the median." } }
            (shown(compared, &joined[..first], &scale))
            @if first < joined.len() {
                details {
                    summary { "The other " (joined.len() - first) " comparisons" }
                    (shown(compared, &joined[first..], &scale))
                }
            }
            (effect_table(compared, &joined))
        }
    }
}

/// Returns rows of the plot: all machines where they are few, else a picture of the fleet.
fn shown(compared: &Compared, joined: &[&Joined], scale: &Scale) -> Markup {
    html! {
        @for row in joined {
            @if compared.sides.len() <= FEW {
                (plot(&[group(compared, row)], scale))
                (summary(row))
            } @else {
                section.family {
                    h3 { (row.workload) @if row.differs() { " — the machines disagree" } }
                    p.versus { (row.versus) }
                    (fleet(&ratios(compared, row), scale))
                    (summary(row))
                    (ends(compared, row))
                }
            }
        }
    }
}

fn group(compared: &Compared, row: &Joined) -> Group {
    let sides = compared.sides.iter().zip(&row.effects).filter(|(_, effect)| effect.is_some());
    let line = |(side, effect): (&super::Side, &Option<Effect>)| Row {
        name: side.label.clone(),
        remark: if side.void.is_some() { "proves nothing".to_owned() } else { side.doubts.join(", ") },
        effect: *effect,
        is_void: side.void.is_some(),
    };
    let mark = if row.differs() { " — the machines disagree" } else { "" };
    Group {
        title: format!("{}{mark}", row.workload),
        versus: row.versus.clone(),
        rows: sides.map(line).collect(),
    }
}

/// Returns the ratios of the sound studies.
fn ratios(compared: &Compared, row: &Joined) -> Vec<f64> {
    let sides = compared.sides.iter().zip(&row.effects).filter(|(side, _)| side.void.is_none());
    sides.filter_map(|(_, effect)| Some((*effect)?.ratio)).collect()
}

/// Returns the summary of a row over the population of machines.
fn summary(row: &Joined) -> Markup {
    html! {
        @if let Some(pooled) = &row.pooled {
            p.source {
                "Mean of " (pooled.machines) " machines " b { (change(pooled.ratio)) } " (95 % interval " (interval(pooled.low, pooled.high)) "). "
                "The next machine is to be expected within " (interval(pooled.next_low, pooled.next_high)) "."
            }
        }
    }
}

/// Returns the machines with the largest and the smallest effects.
fn ends(compared: &Compared, row: &Joined) -> Markup {
    let sides = compared.sides.iter().zip(&row.effects).filter(|(side, _)| side.void.is_none());
    let mut all: Vec<(&str, Effect)> =
        sides.filter_map(|(side, effect)| Some((&*side.label, (*effect)?))).collect();
    all.sort_by(|(_, one), (_, other)| other.ratio.total_cmp(&one.ratio));
    if all.len() > 2 * ENDS {
        all.drain(ENDS..all.len() - ENDS);
    }
    let body = all
        .into_iter()
        .map(|(label, effect)| {
            vec![label.to_owned(), change(effect.ratio), interval(effect.low, effect.high)]
        })
        .collect();
    html! { details { summary { "The machines at both ends" } (table(&["machine", "effect", "interval"], 1, body)) } }
}

/// Returns all effects as a table: a column for each machine, or quantiles of a fleet.
fn effect_table(compared: &Compared, joined: &[&Joined]) -> Markup {
    let few = compared.sides.len() <= FEW;
    let mut head = vec!["workload", "id", "compared"];
    if few {
        head.extend(compared.sides.iter().map(|side| &*side.label));
    } else {
        head.extend(["machines", "least", "quarter", "median", "three quarters", "most"]);
    }
    head.extend(["mean", "p that all are the same", "smallest visible difference"]);
    let body = joined.iter().map(|row| {
        let mut cells = vec![row.workload.clone(), row.id.clone(), row.versus.clone()];
        if few {
            cells.extend(
                row.effects
                    .iter()
                    .map(|effect| effect.map_or(UNKNOWN.to_owned(), |effect| change(effect.ratio))),
            );
        } else {
            cells.push(ratios(compared, row).len().to_string());
            cells.extend(row.quantiles.map_or(vec![UNKNOWN.to_owned(); 5], |all| all.map(change).to_vec()));
        }
        cells.push(row.pooled.map_or(UNKNOWN.to_owned(), |pooled| change(pooled.ratio)));
        cells.push(row.p_same.map_or(UNKNOWN.to_owned(), probability));
        cells.push(row.smallest_difference.map_or(UNKNOWN.to_owned(), share));
        cells
    });
    rows(&head, 3, body.collect())
}

/// Returns sums and shares, a table for each title.
fn figures(compared: &Compared) -> Markup {
    let mut titles: Vec<&str> = Vec::new();
    for figure in &compared.figures {
        if !titles.contains(&&*figure.title) {
            titles.push(&figure.title);
        }
    }
    let few = compared.sides.len() <= FEW;
    let mut head = vec![""];
    if few {
        head.extend(compared.sides.iter().map(|side| &*side.label));
    } else {
        head.extend(["machines", "least", "quarter", "median", "three quarters", "most"]);
    }
    let cells = |figure: &Figure| {
        let mut cells = vec![figure.name.clone()];
        if few {
            let text =
                |value: &Option<f64>| value.map_or(UNKNOWN.to_owned(), |value| quantity(value, &figure.unit));
            cells.extend(figure.values.iter().map(text));
        } else {
            let mut known: Vec<f64> = figure.values.iter().flatten().copied().collect();
            known.sort_by(f64::total_cmp);
            cells.push(known.len().to_string());
            let at =
                |q| quantile(&known, q).map_or(UNKNOWN.to_owned(), |value| quantity(value, &figure.unit));
            cells.extend([0.0, 0.25, 0.5, 0.75, 1.0].map(at));
        }
        cells
    };
    html! {
        @for title in titles {
            figure {
                h3 { (title) }
                (table(&head, 1, compared.figures.iter().filter(|figure| figure.title == title).map(cells).collect()))
            }
        }
    }
}

/// Returns the facts that differ: a column for each machine, or the commonest values of a fleet.
fn differences(compared: &Compared) -> Markup {
    let few = compared.sides.len() <= FEW;
    let mut head = vec!["fact"];
    if few {
        head.extend(compared.sides.iter().map(|side| &*side.label));
    } else {
        head.extend(["values", "the commonest, with their machines"]);
    }
    let body = compared.differences.iter().map(|difference| {
        let mut cells = vec![difference.fact.clone()];
        let shown = |value: &str| if value.is_empty() { UNKNOWN.to_owned() } else { value.to_owned() };
        if few {
            cells.extend(difference.values.iter().map(|value| shown(value)));
            return cells;
        }
        let mut counts: std::collections::BTreeMap<&str, usize> = Default::default();
        difference.values.iter().for_each(|value| *counts.entry(value).or_default() += 1);
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        cells.push(counts.len().to_string());
        let commonest = counts.iter().take(4).map(|(value, count)| format!("{} ({count})", shown(value)));
        cells.push(commonest.collect::<Vec<_>>().join("; "));
        cells
    });
    let words = head.len();
    html! { figure { (table(&head, words, body.collect())) } }
}

fn method(compared: &Compared) -> Markup {
    let pooled = compared.rows.iter().any(|row| row.pooled.is_some());
    html! {
        section #method {
            h2 { "How this was compared" }
            p { "Comparisons are the same where id, arm and baseline are the same. Machines disagree where Cochran's test finds their effects more different than their intervals allow, adjusted for all comparisons. The smallest visible difference is one between a machine and all others that this test finds in 80 of 100 cases. A study whose controls failed, or that has none, is in no summary, and neither is a second copy of a study." }
            @if pooled { p { "The mean over machines is a random-effects summary (DerSimonian and Laird, with the interval of Hartung and Knapp). It speaks of a population of machines like these, and intervals of single comparisons are not adjusted for their number." } }
        }
    }
}
