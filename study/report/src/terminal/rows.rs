//! Effects on a terminal: a row for each, with its interval as a line.

use console::{Style, measure_text_width, truncate_str};
use rhumb_method::{Effect, Finding};

use super::{Screen, visible};
use crate::format::{change, interval};
use crate::verdict::shown_interval;

/// An effect and its name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) label: String,
    /// The effect.
    pub(crate) effect: Effect,
}

/// Keeps the first and the last rows where there are more than `most`.
pub(super) fn ends(mut rows: Vec<Row>, most: usize) -> Vec<Row> {
    if rows.len() > most {
        let last = rows.split_off(rows.len() - most / 2);
        rows.truncate(most - most / 2);
        rows.extend(last);
    }
    rows
}

/// Returns a line for each row: name, effect, interval, and, where there is room, the interval drawn. All drawings have
/// the same scale, which is logarithmic.
pub(crate) fn forest(rows: &[Row], screen: Screen) -> Vec<String> {
    let numbers: Vec<(String, String)> = rows
        .iter()
        .map(|row| {
            (change(row.effect.ratio), {
                let (low, high) = shown_interval(&row.effect);
                interval(low, high)
            })
        })
        .collect();
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let effect = widest(&mut numbers.iter().map(|(effect, _)| measure_text_width(effect)));
    let between = widest(&mut numbers.iter().map(|(_, interval)| measure_text_width(interval)));
    let longest = widest(&mut rows.iter().map(|row| measure_text_width(&row.label)));
    let room = screen.width.saturating_sub(effect + between + 6);
    let drawn = if room >= 56 { (room - 34).min(40) } else { 0 };
    let label = longest.min(room.saturating_sub(drawn + 2)).max(12);
    let scale = Scale::of(rows, drawn);
    rows.iter()
        .zip(numbers)
        .map(|(row, (ratio, between_text))| {
            let style = match row.effect.finding() {
                Finding::More => Style::new().red(),
                Finding::Less => Style::new().green(),
                Finding::Unseen => Style::new().dim(),
            };
            let name = truncate_str(&visible(&row.label), label, "…").into_owned();
            let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(measure_text_width(text)));
            let line = format!(
                "{}  {}{}  [{}]{}",
                pad(&name, label),
                pad(&ratio, effect),
                screen.paint(&ratio, style.clone()),
                between_text,
                pad(&between_text, between)
            );
            let drawing = if drawn > 0 {
                format!("  {}", screen.paint(&scale.draw(&row.effect), style))
            } else {
                String::new()
            };
            format!("{name}{line}{drawing}").trim_end().to_owned()
        })
        .collect()
}

/// The places of ratios in a line of characters.
struct Scale {
    low: f64,
    high: f64,
    width: usize,
}

impl Scale {
    fn of(rows: &[Row], width: usize) -> Self {
        let logs = rows
            .iter()
            .flat_map(|row| {
                let (low, high) = shown_interval(&row.effect);
                [low.ln(), high.ln()]
            })
            .filter(|log| log.is_finite());
        let (low, high) = logs.fold((-0.01f64, 0.01f64), |(low, high), log| (low.min(log), high.max(log)));
        Self { low, high, width }
    }

    fn place(&self, ratio: f64) -> usize {
        let part = (ratio.ln() - self.low) / (self.high - self.low);
        (part.clamp(0.0, 1.0) * (self.width - 1) as f64).round() as usize
    }

    /// Draws an interval with its effect, over the line of no effect.
    fn draw(&self, effect: &Effect) -> String {
        let mut line = vec![' '; self.width];
        line[self.place(1.0)] = '┊';
        let (low, high) = shown_interval(effect);
        let (low, high) = (self.place(low), self.place(high));
        line[low.min(high)..=high.max(low)].fill('─');
        line[self.place(effect.ratio)] = '●';
        line.into_iter().collect()
    }
}
