//! The page: a study as one self-contained HTML file.
//!
//! It needs no network and runs no script, and it says so to the browser, so that a text which came with the data cannot
//! be a program. It has a light and a dark theme, fits a phone, and prints. Pictures with two axes are drawn by
//! `plotters`. Pictures with one axis (effects, bars, memory) are rows of the page with places in per cent, because their
//! names must wrap where the screen is narrow.
//!
//! | module | owns |
//! |---|---|
//! | `effects`, `forest` | effects with their intervals |
//! | `spread` | the samples |
//! | `memory` | the map as a picture of physical memory |
//! | `curves`, `bars`, `tables` | the other figures |
//! | `facts`, `words` | the machine, the controls, the parts left out; the method |
//! | `chart`, `palette` | axes, and colours in both themes |

mod bars;
mod chart;
mod curves;
mod effects;
mod facts;
pub(crate) mod forest;
mod memory;
mod palette;
mod spread;
pub(crate) mod tables;
#[cfg(test)]
mod tests;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use rhumb_method::Finding;

use crate::error::Error;
use crate::format::{moment, share, span, with_whole_units};
use crate::names::{EFFECTS, JSON, SAMPLES};
use crate::schema::{Kind, Study};
use crate::verdict::{Tone, Verdict, detectable, effects, is_time, verdict};

/// Rules of the page that have no colours of their own.
const STYLE: &str = include_str!("page/style.css");

/// Headlines of more bytes are set smaller.
const LONG: usize = 90;

/// Forbids everything that the page does not need: it has its own style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Returns the page of a study.
///
/// # Errors
/// A chart cannot be drawn.
pub(crate) fn page(study: &Study) -> Result<String, Error> {
    let verdict = verdict(study);
    let is_void = verdict.tone == Tone::Void;
    let tables = html! {
        @if study.tables.iter().any(|table| !table.rows.is_empty()) {
            section {
                h2 { (if study.kind == Kind::Who { "Holders and counters" } else { "Tables" }) }
                @for (index, table) in study.tables.iter().enumerate().filter(|(_, table)| !table.rows.is_empty()) { (tables::figure(table, index)) }
            }
        }
    };
    let maps =
        html! { @if !study.maps.is_empty() { section { h2 { "The map" } (memory::figure(&study.maps)) } } };
    // A figure without anything in it is left out; the parts left out say why it is empty.
    let curves = study.curves.iter().enumerate().filter(|(_, curve)| curves::has_points(curve));
    let curves = curves.map(|(index, curve)| curves::figure(curve, index));
    let curves = curves.collect::<Result<Vec<Markup>, Error>>()?;
    let body = html! {
        (header(study, &verdict))
        main {
            @if study.kind == Kind::Who { (tables) (maps) }
            @if !study.comparisons.is_empty() { section { h2 { "Does it matter?" } (effects::figure(study, is_void)) } }
            @if study.kind != Kind::Who { (maps) }
            @if !curves.is_empty() || study.bars.iter().any(|bars| !bars.bars.is_empty()) {
                section {
                    h2 { (if study.kind == Kind::Kernel { "Counted" } else { "What it costs" }) }
                    @for (index, bars) in study.bars.iter().enumerate().filter(|(_, bars)| !bars.bars.is_empty()) { (bars::figure(bars, index)) }
                    @for curve in &curves { (curve) }
                }
            }
            @if !study.comparisons.is_empty() { section { h2 { "How sure is that?" } (spread::figure(study)?) } }
            @if study.kind != Kind::Who { (tables) }
            (facts::omissions(study))
            (facts::notes(&study.notes))
            (facts::machine(&study.machine, study.noise.as_ref()))
            (words::section(study))
        }
        (footer(study))
    };
    Ok(document(&verdict.headline, &body))
}

/// Returns a whole document of a title and a body.
pub(crate) fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(palette::rules())) (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    with_whole_units(&page.into_string())
}

/// Returns the top of the page: the verdict and the reasons to distrust it.
fn header(study: &Study, verdict: &Verdict) -> Markup {
    let subject = match study.kind {
        Kind::Linux => "The running kernel's direct map",
        Kind::Who => "Holders that break the direct map",
        Kind::Hosted => "Rhumb's memory core on this machine",
        Kind::Kernel => "The Rhumb kernel in an emulator",
    };
    html! {
        header.void[verdict.tone == Tone::Void] {
            p.kicker { "Rhumb study · " (subject) }
            h1.long[verdict.headline.len() > LONG] { (verdict.headline) }
            @if !verdict.detail.is_empty() { p.standfirst { (verdict.detail) } }
            p.byline {
                @if !study.machine.name.is_empty() { (study.machine.name) " · " }
                (moment(study.began_unix_s)) " · took " (span(study.took_s))
            }
            @for warning in &verdict.warnings { p.warning role="alert" { (warning) } }
            @if verdict.tone != Tone::Void { (glance(study)) }
            (facts::controls(&study.controls))
        }
    }
}

/// Returns the numbers that a reader looks for first.
fn glance(study: &Study) -> Markup {
    let effects = effects(study);
    if effects.is_empty() {
        return html! {};
    }
    let count = |finding| effects.iter().filter(|(_, effect)| effect.finding() == finding).count();
    let is_time = effects.iter().all(|(one, _)| is_time(&one.unit));
    let (slower, faster) = if is_time { ("slower", "faster") } else { ("costlier", "cheaper") };
    html! {
        ul.glance {
            li { b { (effects.len()) } "comparisons with an answer" }
            li.more { b { (count(Finding::More)) } (slower) }
            li.less { b { (count(Finding::Less)) } (faster) }
            li.unseen { b { (count(Finding::Unseen)) } "without an effect" }
            @if let Some(seen) = detectable(&effects) { li { b { (share(seen.median)) } "is the smallest visible effect (median)" } }
        }
    }
}

fn footer(study: &Study) -> Markup {
    html! {
        footer {
            p { (study.program) " · seed " (study.seed) " · " code { (study.command.join(" ")) } }
            p { "Beside this page: " code { (JSON) } " (all of it), " code { (SAMPLES) } " (each sample), " code { (EFFECTS) } " (each effect)." }
        }
    }
}
