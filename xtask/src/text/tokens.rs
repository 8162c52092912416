//! Source text as words and signs, without comments, strings and characters; and its comments.

/// A word, `::`, or any other sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// The part that a piece of source has in the checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Token,
    Comment,
    /// A string, a character, or the space between the others.
    Filling,
}

/// Returns the tokens of Rust source.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let of_kind = |(kind, token)| (kind == Kind::Token).then_some(token);
    pieces(text).filter_map(of_kind).collect()
}

/// Returns the lines of all comments in Rust source, or in a linker script, without the signs that make them comments.
pub(super) fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    pieces(text).filter(|(kind, _)| *kind == Kind::Comment).flat_map(|(_, comment)| {
        let body = comment.text.strip_suffix("*/").unwrap_or(comment.text);
        let lines = body.lines().enumerate();
        lines.map(move |(index, line)| (comment.line + index, line.trim_start_matches([' ', '/', '!', '*'])))
    })
}

/// Returns all pieces of a source, in order.
fn pieces(text: &str) -> impl Iterator<Item = (Kind, Token<'_>)> {
    let (mut rest, mut line) = (text, 1);
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (kind, length) = if rest.starts_with("//") {
            (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (Kind::Comment, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if let Some(length) = literal(rest) {
            (Kind::Filling, length)
        } else if is_of_a_word(first) {
            (Kind::Token, rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len()))
        } else if first.is_whitespace() {
            (Kind::Filling, first.len_utf8())
        } else {
            (Kind::Token, if rest.starts_with("::") { 2 } else { first.len_utf8() })
        };
        let piece = Token { line, text: &rest[..length] };
        line += piece.text.matches('\n').count();
        rest = &rest[length..];
        Some((kind, piece))
    })
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
