//! The comparison on a terminal.

use console::Style;

use super::{Compared, FEW, Joined};
use crate::format::{change, counted, interval};
use crate::terminal::{Row, Scale, Screen, forest, key};

/// The most rows of which all machines are shown.
const ROWS: usize = 12;

impl Compared {
    /// Returns the summary for a terminal.
    pub fn summary(&self, screen: Screen) -> String {
        let (headline, detail) = self.verdict();
        let mut lines =
            vec![screen.paint(&screen.wrap(&headline, 0), Style::new().bold()), screen.wrap(&detail, 0)];
        let (void, doubtful) = self.remarks();
        let styles = [(void, Style::new().bold().red()), (doubtful, Style::new().yellow())];
        for (remarks, style) in styles {
            lines.extend(remarks.iter().map(|text| screen.paint(&screen.wrap(text, 0), style.clone())));
        }
        let mut rows = self.disagreements();
        rows.extend(
            self.rows.iter().filter(|row| !row.differs() && row.effects.iter().flatten().count() > 1),
        );
        let total = rows.len();
        rows.truncate(ROWS);
        let scale = Scale::over(rows.iter().flat_map(|row| row.effects.iter().flatten()));
        let start = lines.len();
        for row in &rows {
            lines.push(String::new());
            lines.extend(self.row(row, &scale, screen));
        }
        if lines[start..].iter().any(|line| line.contains('●')) {
            lines.insert(
                start,
                screen.paint(&screen.wrap(&key("more than the baseline"), 0), Style::new().dim()),
            );
            lines.insert(start, String::new());
        }
        if total > ROWS {
            lines.push(String::new());
            lines.push(format!("({} more on the page)", counted(total - ROWS, "comparison")));
        }
        if !self.differences.is_empty() {
            let facts: Vec<&str> = self.differences.iter().map(|difference| &*difference.fact).collect();
            lines.push(String::new());
            lines.push(screen.wrap(&format!("The machines differ in: {}.", facts.join(", ")), 0));
        }
        lines.join("\n") + "\n"
    }

    fn row(&self, row: &Joined, scale: &Scale, screen: Screen) -> Vec<String> {
        let mark = if row.differs() { " (they disagree)" } else { "" };
        let mut lines = vec![screen.wrap(&format!("{}, {}{mark}", row.workload, row.versus), 0)];
        if self.sides.len() <= FEW {
            let sides = self.sides.iter().zip(&row.effects);
            let rows: Vec<Row> = sides
                .filter_map(|(side, effect)| {
                    let void = if side.void.is_some() { " (void)" } else { "" };
                    Some(Row { label: format!("  {}{void}", side.label), effect: (*effect)?, medians: None })
                })
                .collect();
            lines.extend(forest(&rows, scale, screen));
        } else if let Some([least, first, median, third, most]) = row.quantiles {
            let text = format!(
                "median {}, middle half {}, all {}",
                change(median),
                interval(first, third),
                interval(least, most)
            );
            lines.push(screen.wrap(&text, 2));
        }
        if let Some(pooled) = row.pooled {
            let text = format!(
                "mean of {} machines {} ({}), the next one within {}",
                pooled.machines,
                change(pooled.ratio),
                interval(pooled.low, pooled.high),
                interval(pooled.next_low, pooled.next_high)
            );
            lines.push(screen.wrap(&text, 2));
        }
        lines
    }
}
