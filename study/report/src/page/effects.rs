//! The comparisons of a study as a forest plot, and as a table.

use maud::{Markup, html};
use rhumb_method::median;

use super::forest::{Group, Row, Scale, key, plot};
use super::tables::rows;
use crate::conditions::{own, shared};
use crate::format::{UNKNOWN, change, interval, probability, quantity, share};
use crate::schema::{Comparison, Study};

/// Returns the figure of all comparisons; nothing where there are none.
pub(super) fn figure(study: &Study, is_void: bool) -> Markup {
    if study.comparisons.is_empty() {
        return html! {};
    }
    let groups = groups(study, is_void);
    let scale = Scale::over(study.comparisons.iter().filter_map(|one| one.effect.as_ref()));
    html! {
        figure #effects {
            h3 { "Each comparison, with its interval" }
            p.versus { "To the right of zero the arm takes more than its baseline, to the left less." }
            (key())
            (plot(&groups, &scale))
            (table(study))
        }
    }
}

/// Returns the comparisons by family, in the study's order of families, the largest effect of a family first.
fn groups(study: &Study, is_void: bool) -> Vec<Group> {
    let mut families: Vec<&str> = Vec::new();
    for one in &study.comparisons {
        if !families.contains(&&*one.family) {
            families.push(&one.family);
        }
    }
    let all: Vec<&Comparison> = study.comparisons.iter().collect();
    families
        .into_iter()
        .map(|family| {
            let mut members: Vec<&Comparison> =
                study.comparisons.iter().filter(|one| one.family == family).collect();
            let ratio = |one: &Comparison| one.effect.map_or(f64::NEG_INFINITY, |effect| effect.ratio);
            members.sort_by(|one, other| ratio(other).total_cmp(&ratio(one)));
            let versus = |one: &Comparison| format!("{} against {}", one.arm, one.baseline);
            let common = members.first().map(|one| versus(one)).unwrap_or_default();
            let is_common = members.iter().all(|one| versus(one) == common);
            let row = |one: &&Comparison| {
                let mut remarks: Vec<String> = if is_common { Vec::new() } else { vec![versus(one)] };
                remarks.extend(own(one, &all));
                Row { name: one.workload.clone(), remark: remarks.join(" · "), effect: one.effect, is_void }
            };
            let rows = members.iter().map(row).collect();
            let mut of_all: Vec<String> = if is_common { vec![common] } else { Vec::new() };
            of_all.extend(shared(&all));
            Group { title: family.to_owned(), versus: of_all.join(" · "), rows }
        })
        .collect()
}

fn table(study: &Study) -> Markup {
    let head = [
        "workload",
        "id",
        "baseline",
        "arm",
        "conditions",
        "baseline median",
        "arm median",
        "effect",
        "interval",
        "adjusted interval",
        "adjusted p",
        "could have seen",
        "rounds",
    ];
    let body = study.comparisons.iter().map(|one| {
        let conditions: Vec<String> =
            one.conditions.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let of =
            |samples: &[f64]| median(samples).map_or(UNKNOWN.to_owned(), |value| quantity(value, &one.unit));
        let number = |text: Option<String>| text.unwrap_or(UNKNOWN.to_owned());
        let effect = one.effect;
        vec![
            one.workload.clone(),
            one.id.clone(),
            one.baseline.clone(),
            one.arm.clone(),
            conditions.join(" · "),
            of(&one.baseline_samples),
            of(&one.arm_samples),
            number(effect.map(|effect| change(effect.ratio))),
            number(effect.map(|effect| interval(effect.low, effect.high))),
            number(
                effect
                    .and_then(|effect| effect.adjusted)
                    .map(|adjusted| interval(adjusted.low, adjusted.high)),
            ),
            number(effect.map(|effect| probability(effect.p_adjusted))),
            number(effect.and_then(|effect| effect.smallest_detectable).map(share)),
            one.baseline_samples.len().to_string(),
        ]
    });
    rows(&head, 5, body.collect())
}
