//! Cutting the line into words, and values into numbers.

/// The words of a command line, each as its name and its value.
///
/// As on Linux: words are separated by blanks, a double quote makes the blanks up to the next one part of the word,
/// quotes around a word or a value are not part of it, and `--` ends the line (what follows is for user space). A NUL
/// ends it, too.
#[derive(Clone, Debug)]
pub(super) struct Words<'line> {
    rest: &'line [u8],
}

/// One word: `name` or `name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'line> {
    /// The whole word, as the line has it.
    pub(super) text: &'line [u8],
    pub(super) name: &'line [u8],
    pub(super) value: Option<&'line [u8]>,
}

impl<'line> Words<'line> {
    pub(super) fn of(line: &'line [u8]) -> Self {
        let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
        Self { rest: &line[..end] }
    }
}

impl<'line> Iterator for Words<'line> {
    type Item = Word<'line>;

    fn next(&mut self) -> Option<Word<'line>> {
        let start = self.rest.iter().position(|&byte| !is_blank(byte))?;
        let rest = &self.rest[start..];
        let mut quoted = false;
        let end = rest
            .iter()
            .position(|&byte| {
                quoted ^= byte == b'"';
                is_blank(byte) && !quoted
            })
            .unwrap_or(rest.len());
        self.rest = &rest[end..];
        let text = &rest[..end];
        if text == b"--" {
            self.rest = &[];
            return None;
        }
        Some(Word::of(text))
    }
}

impl<'line> Word<'line> {
    fn of(text: &'line [u8]) -> Self {
        let bare = unquoted(text);
        match bare.iter().position(|&byte| byte == b'=') {
            Some(at) => Self { text, name: &bare[..at], value: Some(unquoted(&bare[at + 1..])) },
            None => Self { text, name: bare, value: None },
        }
    }

    /// Tells whether its name is `name`; dashes and underscores are the same, as on Linux.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let plain = |byte: u8| if byte == b'-' { b'_' } else { byte };
        self.name.len() == name.len()
            && self.name.iter().zip(name.bytes()).all(|(&a, b)| plain(a) == plain(b))
    }
}

/// `text` without the double quotes around it. The closing one may be missing, or may have closed an inner quote
/// (`mem="1G"` loses both of them by losing the last here and the first with its value).
fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    text.strip_suffix(b"\"").unwrap_or(text)
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Returns a number, decimal or `0x` and hexadecimal.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let (digits, radix) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        digits => (digits, 10),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

/// Returns a size in bytes: a number, and K, M, G or T (either case) for powers of 1,024. Zero is no size.
pub(super) fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'k' | b'K'] => (digits, 10),
        [digits @ .., b'm' | b'M'] => (digits, 20),
        [digits @ .., b'g' | b'G'] => (digits, 30),
        [digits @ .., b't' | b'T'] => (digits, 40),
        digits => (digits, 0),
    };
    number(digits)?.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}
