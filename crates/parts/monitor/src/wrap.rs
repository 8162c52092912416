//! [`Wrap`]: text that is broken into lines of at most [`COLUMNS`] characters.

use crate::output::Output;

/// The longest line of help.
pub(crate) const COLUMNS: usize = 100;

/// A line in the making.
pub(crate) struct Wrap<'out> {
    out: &'out mut dyn Output,
    column: usize,
    /// Where the lines begin that follow.
    indent: usize,
}

impl<'out> Wrap<'out> {
    /// Begins a line.
    pub(crate) fn new(out: &'out mut dyn Output) -> Self {
        Self { out, column: 0, indent: 0 }
    }

    /// Begins further lines `indent` columns to the right.
    pub(crate) const fn set_indent(&mut self, indent: usize) {
        self.indent = indent;
    }

    /// Writes text in one piece: on the next line, if it does not fit on this one.
    pub(crate) fn piece(&mut self, text: &str) {
        let width = text.chars().count();
        if self.column > self.indent && self.column + width > COLUMNS {
            self.end();
            self.out.write_fmt(format_args!("{:1$}", "", self.indent));
            self.column = self.indent;
        }
        self.out.write_str(text);
        self.column += width;
    }

    /// Writes words, with a blank before each that does not begin a line.
    pub(crate) fn words(&mut self, text: &str) {
        for word in text.split_ascii_whitespace() {
            let width = 1 + word.chars().count();
            if self.column > self.indent && self.column + width <= COLUMNS {
                self.piece(" ");
            } else if self.column > self.indent {
                // Has the word begin the next line.
                self.column = COLUMNS + 1;
            }
            self.piece(word);
        }
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) {
        self.out.write_str("\n");
        self.column = 0;
    }
}

/// Writes paragraphs and tables. Lines that follow each other and have neither an indent nor a gap of two blanks are a
/// paragraph, which is broken anew where one of them is too long. A line of a table that is too long goes on below its last
/// column.
pub(crate) fn write_text(out: &mut dyn Output, text: &str) {
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        let lines = rest.lines().take_while(|line| is_prose(line)).count();
        if lines == 0 {
            let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
            write_row(out, line);
            rest = behind;
            continue;
        }
        let mut wrap = Wrap::new(out);
        let is_wide = rest.lines().take(lines).any(|line| line.chars().count() > COLUMNS);
        for line in rest.lines().take(lines) {
            if is_wide {
                wrap.words(line);
            } else {
                wrap.piece(line);
                wrap.end();
            }
        }
        if is_wide {
            wrap.end();
        }
        rest = rest.splitn(lines + 1, '\n').nth(lines).unwrap_or("");
    }
}

fn is_prose(line: &str) -> bool {
    !line.starts_with(' ') && !line.contains("  ")
}

/// Writes a line of a table.
fn write_row(out: &mut dyn Output, line: &str) {
    let mut wrap = Wrap::new(out);
    if line.chars().count() <= COLUMNS {
        wrap.piece(line);
    } else {
        let gap = line.rfind("  ").map_or(0, |at| at + 2);
        let (before, last) = line.split_at(gap);
        wrap.piece(before);
        wrap.set_indent(before.chars().count());
        wrap.words(last);
    }
    wrap.end();
}
