//! Effects on a terminal: a row for each, with its interval as a line.

use console::{Style, measure_text_width};
use rhumb_method::{Effect, Finding};

use super::{Screen, visible};
use crate::format::{change, interval};
use crate::verdict::{range, shown_interval};

/// An effect and its name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) label: String,
    /// The effect.
    pub(crate) effect: Effect,
    /// The medians of both arms with their unit, where they are known.
    pub(crate) medians: Option<String>,
}

/// Keeps the first and the last rows where there are more than `most`.
pub(super) fn ends<T>(mut rows: Vec<T>, most: usize) -> Vec<T> {
    if rows.len() > most {
        let last = rows.split_off(rows.len() - most / 2);
        rows.truncate(most - most / 2);
        rows.extend(last);
    }
    rows
}

/// The fewest columns of a drawing.
const LEAST: usize = 16;

/// The most columns of a drawing.
const DRAWN: usize = 32;

/// Returns each row's name, effect, interval, and, where there is room, the interval drawn over `scale`.
pub(crate) fn forest(rows: &[Row], scale: &Scale, screen: Screen) -> Vec<String> {
    let numbers: Vec<(String, String)> = rows
        .iter()
        .map(|row| {
            let (low, high) = shown_interval(&row.effect);
            (change(row.effect.ratio), format!("[{}]", interval(low, high)))
        })
        .collect();
    let names: Vec<String> = rows.iter().map(|row| visible(&row.label)).collect();
    let widest = |texts: &mut dyn Iterator<Item = &String>| {
        texts.map(|text| measure_text_width(text)).max().unwrap_or(0)
    };
    let ratio_width = widest(&mut numbers.iter().map(|(ratio, _)| ratio));
    let interval_width = widest(&mut numbers.iter().map(|(_, interval)| interval));
    let longest = widest(&mut names.iter());
    let room = screen.width.saturating_sub(ratio_width + interval_width + 4);
    // A name that is too long to be beside its numbers has lines of its own.
    let is_beside = longest + 2 + LEAST <= room;
    let name_width = if is_beside { longest } else { 2 };
    let mut room = room.saturating_sub(name_width + 2);
    let medians: Vec<String> =
        rows.iter().map(|row| visible(row.medians.as_deref().unwrap_or_default())).collect();
    let medians_width = widest(&mut medians.iter());
    let has_medians = medians_width > 0 && medians_width + 2 + LEAST <= room;
    room -= if has_medians { medians_width + 2 } else { 0 };
    let drawn = room.min(DRAWN);
    let drawn = if drawn < LEAST { 0 } else { drawn };
    let mut lines = Vec::new();
    for (((row, name), (ratio, between)), medians) in rows.iter().zip(names).zip(numbers).zip(medians) {
        let style = match row.effect.finding() {
            Finding::More => Style::new().red(),
            Finding::Less => Style::new().green(),
            Finding::Unseen => Style::new().dim(),
        };
        let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(measure_text_width(text)));
        let name = if is_beside {
            name
        } else {
            let indent = name.len() - name.trim_start().len();
            lines.push(screen.wrap(name.trim_start(), indent));
            String::new()
        };
        let mut line = format!(
            "{name}{}  {}{}  {between}",
            pad(&name, name_width),
            pad(&ratio, ratio_width),
            screen.paint(&ratio, style.clone())
        );
        if has_medians {
            line += &format!("{}  {medians}{}", pad(&between, interval_width), pad(&medians, medians_width));
        }
        if drawn > 0 {
            line += &if has_medians { String::new() } else { pad(&between, interval_width) };
            line += &format!("  {}", screen.paint(&scale.draw(&row.effect, drawn), style));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The range of ratios that drawings share. They are logarithmic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Returns the scale of these effects.
    pub(crate) fn over<'a>(effects: impl Iterator<Item = &'a Effect>) -> Self {
        let (low, high) = range(effects);
        Self { low: low.ln(), high: high.ln() }
    }

    fn place(&self, ratio: f64, width: usize) -> usize {
        let part = (ratio.ln() - self.low) / (self.high - self.low);
        (part.clamp(0.0, 1.0) * (width - 1) as f64).round() as usize
    }

    /// Draws an interval with its effect, over the line of no effect.
    fn draw(&self, effect: &Effect, width: usize) -> String {
        let (low, high) = shown_interval(effect);
        let (low, high) = (self.place(low, width), self.place(high, width));
        let mut line = vec![' '; width];
        line[low.min(high)..=high.max(low)].fill('─');
        let zero = self.place(1.0, width);
        line[zero] = if line[zero] == ' ' { '┊' } else { '┼' };
        line[self.place(effect.ratio, width)] = '●';
        line.into_iter().collect()
    }
}
