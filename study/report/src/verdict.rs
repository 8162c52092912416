//! The answer of a study in two sentences, and the reasons to distrust it.
//!
//! The same words are on top of the page and on the terminal. A failed control comes before everything else: then the
//! study proves nothing, and no figure of it is quoted.

mod counted;
#[cfg(test)]
mod tests;
mod who;

use rhumb_method::{Effect, Finding, median, quantile};

use crate::format::{change, counted, interval, sentence, share};
use crate::schema::{Comparison, Ending, Kind, Study};

pub use who::HOLDERS;

/// The tone of a verdict, for its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// A control failed: the study proves nothing.
    Void,
    /// No effect was seen.
    Unseen,
    /// Effects were seen, and all of them cost.
    More,
    /// Effects were seen, and all of them save.
    Less,
    /// Effects were seen in both directions.
    Mixed,
    /// Counts and lists, which have no direction.
    Plain,
}

/// The answer of a study.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Its tone.
    pub tone: Tone,
    /// The answer in one sentence.
    pub headline: String,
    /// How much, how sure, and the smallest effect that could have been seen.
    pub detail: String,
    /// Reasons to distrust the answer, each a sentence or two.
    pub warnings: Vec<String>,
}

/// Returns the answer of a study.
pub fn verdict(study: &Study) -> Verdict {
    let warnings = warnings(study);
    let failed: Vec<_> = study.controls.iter().filter(|control| !control.passed).collect();
    if !failed.is_empty() {
        let reasons: Vec<String> = failed.iter().map(|control| sentence(&control.verdict)).collect();
        let headline = format!(
            "This study proves nothing: {} of {} failed.",
            failed.len(),
            counted(study.controls.len(), "control")
        );
        let detail = format!(
            "{} The figures below are shown so that the fault can be found; draw no conclusion from them.",
            reasons.join(" ")
        );
        return Verdict { tone: Tone::Void, headline, detail, warnings };
    }
    let (tone, headline, detail) = if study.comparisons.iter().any(|one| one.effect.is_some()) {
        of_effects(study)
    } else if study.kind == Kind::Who {
        who::answer(study)
    } else if let Some((headline, detail)) = counted::answer(study) {
        (Tone::Plain, headline, detail)
    } else {
        of_nothing(study)
    };
    Verdict { tone, headline, detail, warnings }
}

/// Tells whether a unit is one of time, of which there is more where something is slower.
pub(crate) fn is_time(unit: &str) -> bool {
    matches!(unit.split_whitespace().next(), Some("ns" | "us" | "µs" | "ms" | "s"))
}

/// Returns the effects that a study has, with their comparisons.
pub(crate) fn effects(study: &Study) -> Vec<(&Comparison, &Effect)> {
    study.comparisons.iter().filter_map(|one| Some((one, one.effect.as_ref()?))).collect()
}

/// The smallest effects that comparisons could have seen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Detectable {
    /// The median.
    pub(crate) median: f64,
    /// The worst.
    pub(crate) worst: f64,
    /// How many comparisons had too few rounds to see any effect.
    pub(crate) blind: usize,
}

/// Returns the smallest effects that the comparisons could have seen; `None` where none could have seen any.
pub(crate) fn detectable(effects: &[(&Comparison, &Effect)]) -> Option<Detectable> {
    let all: Vec<f64> = effects.iter().filter_map(|(_, effect)| effect.smallest_detectable).collect();
    let worst = all.iter().copied().max_by(f64::total_cmp)?;
    Some(Detectable { median: median(&all)?, worst, blind: effects.len() - all.len() })
}

/// Returns the interval that a reader is shown: the one that is adjusted for all comparisons of the study, where there is
/// one, because it agrees with the finding.
pub(crate) fn shown_interval(effect: &Effect) -> (f64, f64) {
    effect.adjusted.map_or((effect.low, effect.high), |adjusted| (adjusted.low, adjusted.high))
}

/// How far a scale goes for the sake of intervals: ten times, up and down.
const FARTHEST: f64 = 10.0;

/// Returns the least and the largest ratio of a scale that has all effects in it, and their intervals but for the widest
/// tenth, and for ends that are hopelessly far. They are cut where they are drawn.
pub(crate) fn range<'a>(effects: impl Iterator<Item = &'a Effect>) -> (f64, f64) {
    let (mut low, mut high) = (0.985f64, 1.015f64);
    let (mut lows, mut highs) = (Vec::new(), Vec::new());
    let is_ratio = |ratio: &f64| ratio.is_finite() && *ratio > 0.0;
    for effect in effects {
        let (from, to) = shown_interval(effect);
        if is_ratio(&effect.ratio) {
            (low, high) = (low.min(effect.ratio), high.max(effect.ratio));
        }
        lows.extend(Some(from).filter(is_ratio));
        highs.extend(Some(to).filter(is_ratio));
    }
    lows.sort_by(f64::total_cmp);
    highs.sort_by(f64::total_cmp);
    let end = |ends: &[f64], q| quantile(ends, q).unwrap_or(1.0).clamp(1.0 / FARTHEST, FARTHEST);
    (low.min(end(&lows, 0.1)).max(1e-6), high.max(end(&highs, 0.9)).min(1e6))
}

/// Says which effect would have been seen.
fn would_be_seen(effects: &[(&Comparison, &Effect)]) -> String {
    let Some(Detectable { median, worst, blind }) = detectable(effects) else {
        return "There were too few rounds to see any effect.".to_owned();
    };
    let blind = match blind {
        0 => String::new(),
        blind => format!(" {} had too few rounds to see any.", counted(blind, "comparison")),
    };
    let seen = if effects.len() == 1 {
        format!("Smallest visible effect: {}.", share(worst))
    } else {
        format!("Smallest visible effect: {} (median), {} (worst).", share(median), share(worst))
    };
    seen + &blind
}

fn warnings(study: &Study) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ending::Interrupted(reason) = &study.ending {
        let reason = match reason.trim_end_matches('.') {
            "" => "The study was ended early",
            reason => reason,
        };
        warnings.push(format!("{reason}: parts are missing."));
    }
    if let Some(noise) = study.noise.as_ref().filter(|noise| noise.hopeless) {
        warnings.push(format!("The machine is too noisy for small effects. {}", sentence(&noise.verdict)));
    }
    if study.controls.is_empty() && study.comparisons.iter().any(|one| one.effect.is_some()) {
        warnings
            .push("No control was measured: nothing shows that this study could have seen an effect.".into());
    }
    warnings
}

/// Returns the answer where effects were measured.
fn of_effects(study: &Study) -> (Tone, String, String) {
    let effects = effects(study);
    let of = |finding| effects.iter().filter(move |(_, effect)| effect.finding() == finding);
    let (more, less) = (of(Finding::More).count(), of(Finding::Less).count());
    let total = effects.len();
    let seen = would_be_seen(&effects);
    let times = effects.iter().all(|(comparison, _)| is_time(&comparison.unit));
    let (slower, faster) = if times { ("slower", "faster") } else { ("costlier", "cheaper") };
    let unmeasured = match study.comparisons.len() - total {
        0 => String::new(),
        missing => format!(" {} had too few rounds for an answer.", counted(missing, "further comparison")),
    };
    let is_hopeless = study.noise.as_ref().is_some_and(|noise| noise.hopeless);
    let headline = match (more, less) {
        (0, 0) if detectable(&effects).is_none() => {
            format!("No effect could be seen: {} had too few rounds.", counted(total, "comparison"))
        }
        (0, 0) if is_hopeless => {
            "No effect was seen, on a machine that is too noisy to show a small one.".to_owned()
        }
        (0, 0) if total == 1 => "No effect was seen in the one comparison.".to_owned(),
        (0, 0) => format!("No effect was seen in any of {total} comparisons."),
        (more, 0) => format!("{} {slower}.", of_all(more, total)),
        (0, less) => format!("{} {faster}.", of_all(less, total)),
        (more, less) => {
            format!("Of {}, {more} came out {slower} and {less} {faster}.", counted(total, "comparison"))
        }
    };
    let tone = match (more, less) {
        (0, 0) => Tone::Unseen,
        (_, 0) => Tone::More,
        (0, _) => Tone::Less,
        _ => Tone::Mixed,
    };
    if tone == Tone::Unseen {
        return (tone, headline, seen + &unmeasured);
    }
    let far = |effect: &Effect| Some(effect.ratio.ln().abs()).filter(|log| log.is_finite()).unwrap_or(0.0);
    let largest = effects
        .iter()
        .filter(|(_, effect)| effect.finding() != Finding::Unseen)
        .max_by(|(_, one), (_, other)| far(one).total_cmp(&far(other)));
    let largest = largest.map_or(String::new(), |(comparison, effect)| {
        let (low, high) = shown_interval(effect);
        // The adjusted intervals hold together as often as the interval of one comparison does alone.
        let together = match effect.adjusted {
            Some(_) if total > 1 => " for all comparisons together",
            _ => "",
        };
        format!(
            "The largest effect: {}, {}, from {} to {} ({}, {:.0} %{together}). ",
            change(effect.ratio),
            comparison.workload,
            comparison.baseline,
            comparison.arm,
            interval(low, high),
            effect.confidence * 100.0
        )
    });
    (tone, headline, largest + &seen + &unmeasured)
}

/// Returns the beginning of "3 of 12 comparisons came out slower".
fn of_all(some: usize, total: usize) -> String {
    match (some, total) {
        (1, 1) => "The one comparison came out".to_owned(),
        (some, total) if some == total => format!("All {total} comparisons came out"),
        _ => format!("{some} of {} came out", counted(total, "comparison")),
    }
}

/// Returns the answer where nothing was compared.
fn of_nothing(study: &Study) -> (Tone, String, String) {
    let headline = if study.comparisons.is_empty() {
        "This study compared nothing.".to_owned()
    } else {
        format!("{} had too few rounds for an answer.", counted(study.comparisons.len(), "comparison"))
    };
    let has_figures = !(study.bars.is_empty()
        && study.curves.is_empty()
        && study.maps.is_empty()
        && study.tables.is_empty());
    let detail = match (&*study.omissions, &study.ending) {
        // The warning gives the reason.
        (_, Ending::Interrupted(_)) => String::new(),
        ([first, ..], Ending::Whole) => {
            format!("Left out was {}: {} {}", first.part, sentence(&first.why), sentence(&first.remedy))
        }
        ([], Ending::Whole) if has_figures => "Its other figures are below.".to_owned(),
        ([], Ending::Whole) => String::new(),
    };
    (Tone::Plain, headline, detail)
}
