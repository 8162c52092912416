//! Source text as words and signs, without comments, strings and characters.

/// A word, `::`, or any other sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// Returns the tokens of Rust source.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_of_a_word(first) {
            let length = rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len());
            tokens.push(Token { line, text: &rest[..length] });
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(Token { line, text: &rest[..length] });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the length of the string or character that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let raw =
        text.strip_prefix('b').unwrap_or(text).strip_prefix('r').filter(|rest| rest.starts_with(['"', '#']));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &raw[..hashes]);
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(text.len() - body.len() + length);
    }
    let (quote, rest) = match text.as_bytes() {
        [b'b', b'"' | b'\'', ..] => (text[1..].chars().next()?, &text[2..]),
        [b'"' | b'\'', ..] => (text.chars().next()?, &text[1..]),
        _ => return None,
    };
    // A lifetime has no second quote.
    let mut characters = rest.char_indices();
    if quote == '\'' && !rest.starts_with('\\') && rest.chars().nth(1) != Some('\'') {
        return None;
    }
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            _ if c == quote => return Some(text.len() - rest.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}
