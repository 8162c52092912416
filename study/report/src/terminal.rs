//! The summary of a study on a terminal, with the same verdict as the page.
//!
//! Texts of the study may hold names that other processes chose, so control characters never reach the terminal.

mod rows;
#[cfg(test)]
mod tests;

use console::{Style, Term};
use rhumb_method::{Effect, median};

use crate::conditions::own;
use crate::format::{NO_BREAK, counted, moment, quantity, sentence, span, with_whole_units};
use crate::schema::{Comparison, ControlKind, Study};
use crate::verdict::{Tone, is_time, verdict};

pub(crate) use rows::{Row, Scale, forest};

/// The widest that sentences get: longer lines are hard to read.
const WIDEST: usize = 110;

/// The most effects that a summary shows.
const EFFECTS: usize = 12;

/// How a terminal shows text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether text may have colours.
    pub has_colours: bool,
}

impl Screen {
    /// Returns the standard output's width and colours. A pipe or a file gets 100 columns and no colours, and `NO_COLOR`
    /// is obeyed.
    pub fn of_stdout() -> Self {
        let term = Term::stdout();
        match term.size_checked() {
            Some((_, columns)) if term.is_term() => Self {
                width: usize::from(columns).clamp(40, 160),
                has_colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            },
            _ => Self::plain(),
        }
    }

    /// Returns a screen for pipes and files.
    pub fn plain() -> Self {
        Self { width: 100, has_colours: false }
    }

    /// Returns `text` in a style.
    pub(crate) fn paint(self, text: &str, style: Style) -> String {
        style.force_styling(self.has_colours).apply_to(text).to_string()
    }

    /// Returns `text` as lines of this width, each after `indent` spaces. Control characters become visible.
    pub(crate) fn wrap(self, text: &str, indent: usize) -> String {
        let space = " ".repeat(indent);
        let options = textwrap::Options::new(self.width.min(WIDEST).max(indent + 20))
            // A name with a hyphen, such as a kernel's, stays whole.
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .initial_indent(&space)
            .subsequent_indent(&space);
        textwrap::fill(&with_whole_units(&visible(text)), options).replace(NO_BREAK, " ")
    }
}

/// Returns text that cannot steer a terminal or hide: control characters, those that change the direction of writing or
/// end a line, and those without a glyph become `\u{fffd}`. Names of others, such as those of processes, are shown
/// through this.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if shows_nothing(c) { '\u{fffd}' } else { c }).collect()
}

/// Tells whether a sign could move the cursor or the direction of writing, or shows nothing, so that two names could look
/// alike.
pub fn shows_nothing(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the style of a verdict.
pub(crate) fn style_of(tone: Tone) -> Style {
    match tone {
        Tone::Void => Style::new().bold().white().on_red(),
        Tone::More => Style::new().bold().red(),
        Tone::Less => Style::new().bold().green(),
        Tone::Mixed => Style::new().bold().yellow(),
        Tone::Unseen | Tone::Plain => Style::new().bold(),
    }
}

/// Returns the summary of a study: several lines, the last with its end.
pub fn summary(study: &Study, screen: Screen) -> String {
    let verdict = verdict(study);
    let dim = Style::new().dim();
    let mut lines = Vec::new();
    let machine = &study.machine;
    // The name may be made of the CPU's.
    let cpu = if machine.name.contains(&machine.cpu) { "" } else { &*machine.cpu };
    let facts = [&machine.name, cpu, &machine.kernel];
    let facts: Vec<&str> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    let head = format!(
        "study {}, {}, {}: {}",
        study.kind,
        moment(study.began_unix_s),
        span(study.took_s),
        facts.join(", ")
    );
    lines.push(screen.paint(&screen.wrap(&head, 0), dim.clone()));
    lines.push(String::new());
    lines.push(screen.paint(&screen.wrap(&verdict.headline, 0), style_of(verdict.tone)));
    if !verdict.detail.is_empty() {
        lines.push(screen.wrap(&verdict.detail, 0));
    }
    for warning in &verdict.warnings {
        lines.push(screen.paint(&screen.wrap(warning, 0), Style::new().yellow()));
    }
    if !study.controls.is_empty() {
        lines.push(String::new());
    }
    for control in &study.controls {
        let kind = match control.kind {
            ControlKind::Positive => "positive control",
            ControlKind::Negative => "negative control",
        };
        let (word, style) = if control.passed {
            ("passed", Style::new().green())
        } else {
            ("FAILED", Style::new().bold().white().on_red())
        };
        let text = format!("{kind} {word}: {}", sentence(&control.verdict));
        let text = screen.wrap(&text, 0);
        lines.push(match text.split_once(word) {
            Some((before, after)) => format!("{before}{}{after}", screen.paint(word, style)),
            None => text,
        });
    }
    lines.extend(effects(study, screen));
    if !study.omissions.is_empty() {
        lines.push(String::new());
        lines.push(format!("{} left out:", counted(study.omissions.len(), "part")));
        for omission in &study.omissions {
            let text =
                format!("{}: {} {}", omission.part, sentence(&omission.why), sentence(&omission.remedy));
            lines.push(screen.wrap(&text, 2));
        }
    }
    lines.join("\n") + "\n"
}

/// Returns the effects as rows, the largest first, and a line that explains their drawings.
fn effects(study: &Study, screen: Screen) -> Vec<String> {
    let mut effects = crate::verdict::effects(study);
    if effects.is_empty() {
        return Vec::new();
    }
    effects.sort_by(|(_, one), (_, other)| other.ratio.total_cmp(&one.ratio));
    let total = effects.len();
    let shown = rows::ends(effects, EFFECTS);
    let all: Vec<&Comparison> = shown.iter().map(|(one, _)| *one).collect();
    let row = |(one, effect): &(&Comparison, &Effect)| {
        let conditions = own(one, &all).into_iter().map(|condition| format!(", {condition}"));
        let value = |samples: &[f64]| median(samples).map(|value| quantity(value, &one.unit));
        Row {
            label: format!("{}: {}{}", one.workload, one.arm, conditions.collect::<String>()),
            effect: **effect,
            medians: value(&one.baseline_samples)
                .zip(value(&one.arm_samples))
                .map(|(baseline, arm)| format!("{baseline} → {arm}")),
        }
    };
    let drawn: Vec<Row> = shown.iter().map(row).collect();
    let scale = Scale::over(drawn.iter().map(|row| &row.effect));
    let forest = forest(&drawn, &scale, screen);
    let dim = Style::new().dim();
    let mut lines = vec![String::new()];
    if forest.iter().any(|line| line.contains('●')) {
        let is_time = all.iter().all(|one| is_time(&one.unit));
        let is_common = all.iter().all(|one| one.baseline == all[0].baseline);
        let baseline = if is_common { &all[0].baseline } else { "the baseline" };
        let key = key(&format!("{} than {baseline}", if is_time { "slower" } else { "costlier" }));
        lines.push(screen.paint(&screen.wrap(&key, 0), dim.clone()));
    }
    lines.extend(forest);
    if drawn.len() < total {
        lines.push(screen.paint(&format!("({} of {total}: both ends)", drawn.len()), dim));
    }
    lines
}

/// Returns the line that explains the drawings of effects, where those right of the line of no effect are `more`.
pub(crate) fn key(more: &str) -> String {
    format!("●: effect; ─: its interval; right of ┊: {more}")
}
