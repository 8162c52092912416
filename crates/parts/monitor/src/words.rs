//! Cutting a line into commands, filters and words.
//!
//! Grammar, all of it: commands are separated by `;`, filters follow a command after `|`, words are separated by
//! white space. Within `"..."` none of these separates. A command that begins with `#` is a remark.

/// The parts of `text` between separators, quotes respected.
#[derive(Clone)]
pub(crate) struct Parts<'line> {
    rest: Option<&'line str>,
    separator: char,
}

impl<'line> Parts<'line> {
    pub(crate) fn new(text: &'line str, separator: char) -> Self {
        Self { rest: Some(text), separator }
    }
}

impl<'line> Iterator for Parts<'line> {
    type Item = &'line str;

    fn next(&mut self) -> Option<&'line str> {
        let text = self.rest?;
        let (part, rest) = match find_outside_quotes(text, |character| character == self.separator) {
            Some(index) => (&text[..index], Some(&text[index + self.separator.len_utf8()..])),
            None => (text, None),
        };
        self.rest = rest;
        Some(part.trim())
    }
}

/// Tells whether a quote is left open.
pub(crate) fn has_open_quote(text: &str) -> bool {
    text.matches('"').count() % 2 == 1
}

/// Returns the first word of `text`, without quotes around it, and what follows.
pub(crate) fn split_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let end = find_outside_quotes(text, char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
    Some((inner.unwrap_or(word), rest))
}

fn find_outside_quotes(text: &str, is_wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut is_quoted = false;
    for (index, character) in text.char_indices() {
        if character == '"' {
            is_quoted = !is_quoted;
        } else if !is_quoted && is_wanted(character) {
            return Some(index);
        }
    }
    None
}
