//! Words that pages and comments do without, and lines of pages that are too long.
//!
//! The project's English has six rules; those of them that a search can check are here. Name the actor: the CPU, the
//! caller, the holder. No sentence whose subject is a clause with *what* or *who*. Memory *is* or *lies* somewhere, and
//! is *mapped* there.
//!
//! Sources, linker scripts and manifests are searched in their comments, pages outside of fences and code spans. Pages
//! have no long lines, either, but for rows of tables.

use super::tokens::comments;
use super::{Finding, Tree, prose};

/// Words that are ruled out wherever they are, and what to write instead.
const WORDS: [(&str, &str); 8] = [
    ("nobody", "name the actor: no CPU, no caller, no code"),
    ("somebody", "name the actor"),
    ("whoever", "name the actor: the caller, the holder, code that"),
    ("whom", "name the actor"),
    ("stand", "is, lies, is mapped"),
    ("stands", "is, lies, is mapped"),
    ("for ever", "permanently, endlessly"),
    ("forever", "permanently, endlessly"),
];

/// Words that begin no sentence but a question. A heading may begin with them.
const OPENERS: [&str; 2] = ["What", "Who"];

/// Signs behind which a sentence begins.
const SENTENCE_ENDS: [char; 4] = ['.', ':', ';', '?'];

/// Phrases in which a ruled-out word is right.
const ALLOWED: [&str; 4] = ["stands for", "stand for", "stand-in", "stand in for"];

/// Folders whose sources are not searched: this one names the words that are ruled out.
const LEFT_OUT: [&str; 1] = ["xtask/src/text/"];

/// Returns the ruled-out words of all pages and comments.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_meant = |file: &str| !LEFT_OUT.iter().any(|folder| file.starts_with(folder));
    for (file, text) in tree.ending(".rs").chain(tree.ending(".ld")).filter(|(file, _)| is_meant(file)) {
        search(file, comments(text), &mut findings);
    }
    for (file, text) in tree.ending(".toml") {
        let lines = text.lines().enumerate();
        search(file, lines.filter_map(|(index, line)| Some((index + 1, remark(line)?))), &mut findings);
    }
    for (file, text) in tree.ending(".md") {
        search(file, prose(text), &mut findings);
        findings.extend(long_lines(file, text));
    }
    findings
}

/// The longest line of a page, in characters. A row of a table cannot be broken.
const LINE: usize = 120;

/// Returns the lines of a page that are too long.
fn long_lines<'a>(file: &'a str, text: &'a str) -> impl Iterator<Item = Finding> + 'a {
    let is_long = |line: &str| line.chars().count() > LINE && !line.starts_with('|');
    prose(text).filter(move |(_, line)| is_long(line)).map(|(line, text)| {
        let text = format!("a line of {} characters, which are {LINE} at most", text.chars().count());
        Finding::new(file, line, text)
    })
}

/// Searches lines of prose, of which each begins a comment or a paragraph where the one before it is no prose.
fn search<'a>(file: &str, lines: impl Iterator<Item = (usize, &'a str)>, findings: &mut Vec<Finding>) {
    let mut last = 0;
    let mut blank = true;
    let mut ended = true;
    for (line, text) in lines {
        let begins = blank || last + 1 != line;
        let is_heading = text.starts_with('#');
        (last, blank) = (line, text.trim().is_empty());
        let mut report = |text: String| findings.push(Finding::new(file, line, text));
        let text = outside_of_spans(text);
        for opener in
            OPENERS.iter().filter(|opener| !is_heading && opens_sentence(&text, opener, begins || ended))
        {
            report(format!("a sentence whose subject is a clause: {opener} ..."));
        }
        ended = text.trim_end().ends_with(SENTENCE_ENDS);
        let mut text = text.to_lowercase();
        for phrase in ALLOWED {
            text = text.replace(phrase, "");
        }
        for (word, instead) in WORDS.iter().filter(|(word, _)| has_word(&text, word)) {
            report(format!("`{word}`: {instead}"));
        }
    }
}

/// Returns the text of the comment in a line of a manifest.
fn remark(line: &str) -> Option<&str> {
    let mut quote = None;
    let (start, _) = line.char_indices().find(|&(_, sign)| {
        match (quote, sign) {
            (None, '"' | '\'') => quote = Some(sign),
            (Some(open), _) if open == sign => quote = None,
            _ => {}
        }
        quote.is_none() && sign == '#'
    })?;
    Some(line[start..].trim_start_matches(['#', ' ']))
}

/// Returns a line without its code spans.
fn outside_of_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Tells whether a sentence of `text` that is no question opens with `word`. The first one opens where the line does if
/// `at_start`, and signs of a list or a table may be before it.
fn opens_sentence(text: &str, word: &str, at_start: bool) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let (before, rest) = (text[..at].trim_end(), &text[at + word.len()..]);
        let opens = before.ends_with(SENTENCE_ENDS) || at_start && !before.contains(char::is_alphanumeric);
        let is_whole = !rest.starts_with(|next: char| next.is_alphanumeric() || next == '\'');
        opens && is_whole && rest.find(SENTENCE_ENDS).is_none_or(|end| !rest[end..].starts_with('?'))
    })
}

/// Tells whether `text` has `word` with no letter on either side.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(char::is_alphanumeric)
            && !text[at + word.len()..].starts_with(char::is_alphanumeric)
    })
}
