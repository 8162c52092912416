//! [`Arguments`]: the words after a command's name, taken one by one as what they should be.
//!
//! ```
//! use rhumb_monitor::{Arguments, CommandError, Output};
//!
//! fn dump(_: &mut (), mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
//!     let address = arguments.virt_addr("ADDR")?;
//!     let bytes = arguments.optional(|rest| rest.size("SIZE"))?.unwrap_or(64);
//!     arguments.end()?;
//!     writeln!(out, "{bytes} bytes at {address}");
//!     Ok(())
//! }
//! ```
//!
//! Addresses are hexadecimal, with or without `0x`; numbers decimal unless they begin with `0x`; both may hold `_`.

use core::fmt;

use rhumb_machine::{CpuId, PhysAddr, PhysRange, VirtAddr, VirtRange};

use crate::error::{ArgumentError, Problem};
use crate::text::Text;
use crate::words::split_word;

/// The words that are left.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'line> {
    /// Words that an alias puts before the typed ones.
    ahead: &'static str,
    rest: &'line str,
}

/// An address of either kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// Written without a prefix or with `virt:`.
    Virtual(VirtAddr),
    /// Written with `phys:`.
    Physical(PhysAddr),
}

/// The prefix of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    None,
    Virtual,
    Physical,
}

impl<'line> Arguments<'line> {
    /// Returns the words of `text`.
    pub const fn new(text: &'line str) -> Self {
        Self { ahead: "", rest: text }
    }

    /// Returns the words of `ahead`, then those of `text`.
    pub(crate) const fn after(ahead: &'static str, text: &'line str) -> Self {
        Self { ahead, rest: text }
    }

    /// Tells whether no word is left.
    pub fn is_empty(&self) -> bool {
        self.ahead.trim().is_empty() && self.rest.trim().is_empty()
    }

    /// Returns the next word and leaves it to be taken; `None` where none is left.
    pub fn peek(&self) -> Option<&'line str> {
        { *self }.next()
    }

    /// Fails if a word is left: call it before doing anything.
    pub fn end(mut self) -> Result<(), ArgumentError> {
        self.next().map_or(Ok(()), |word| Err(wrong("", word, Problem::Unexpected)))
    }

    /// Returns the value that `parse` makes of the next words, or `None` where none is left.
    pub fn optional<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ArgumentError>,
    ) -> Result<Option<T>, ArgumentError> {
        if self.is_empty() { Ok(None) } else { parse(self).map(Some) }
    }

    /// Returns the next word, whatever it is.
    pub fn word(&mut self, name: &'static str) -> Result<&'line str, ArgumentError> {
        self.next().ok_or_else(|| wrong(name, "", Problem::Missing))
    }

    /// Returns the next word, which is one of `words`.
    pub fn one_of(
        &mut self,
        name: &'static str,
        words: &'static [&'static str],
    ) -> Result<&'static str, ArgumentError> {
        let word = self.word(name)?;
        words
            .iter()
            .copied()
            .find(|&one| one == word)
            .ok_or_else(|| wrong(name, word, Problem::NotOneOf(words)))
    }

    /// Returns a number of any size.
    pub fn number(&mut self, name: &'static str) -> Result<u64, ArgumentError> {
        let word = self.word(name)?;
        number(word).ok_or_else(|| wrong(name, word, Problem::NotANumber))
    }

    /// Returns a number of at most `most`.
    pub fn number_to(&mut self, name: &'static str, most: u64) -> Result<u64, ArgumentError> {
        let word = self.word(name)?;
        match number(word) {
            None => Err(wrong(name, word, Problem::NotANumber)),
            Some(value) if value > most => Err(wrong(name, word, Problem::Above(most))),
            Some(value) => Ok(value),
        }
    }

    /// Returns a hexadecimal number of at most `most`, with `0x` or without.
    pub fn hexadecimal_to(&mut self, name: &'static str, most: u64) -> Result<u64, ArgumentError> {
        let word = self.word(name)?;
        match hexadecimal(word) {
            None => Err(wrong(name, word, Problem::NotANumber)),
            Some(value) if value > most => Err(wrong(name, word, Problem::Above(most))),
            Some(value) => Ok(value),
        }
    }

    /// Returns the number of a CPU that can exist; whether it does is for the command to find out.
    pub fn cpu(&mut self, name: &'static str) -> Result<CpuId, ArgumentError> {
        let word = self.word(name)?;
        let index = number(word).and_then(|index| usize::try_from(index).ok());
        index.and_then(CpuId::new).ok_or_else(|| wrong(name, word, Problem::NotACpu))
    }

    /// Returns a size in bytes: a number, then nothing, K, M, G or T (powers of 1024; `KiB`, `kB` and so on say the
    /// same).
    pub fn size(&mut self, name: &'static str) -> Result<u64, ArgumentError> {
        let word = self.word(name)?;
        size(word).ok_or_else(|| wrong(name, word, Problem::NotASize))
    }

    /// Returns an address of either kind.
    pub fn address(&mut self, name: &'static str) -> Result<Address, ArgumentError> {
        let word = self.word(name)?;
        let (prefix, digits) = split_prefix(word);
        let value = hexadecimal(digits).ok_or_else(|| wrong(name, word, Problem::NotAnAddress))?;
        Ok(match prefix {
            Prefix::Physical => Address::Physical(PhysAddr::new(value)),
            Prefix::None | Prefix::Virtual => Address::Virtual(VirtAddr::new(value)),
        })
    }

    /// Returns a virtual address; the prefix `virt:` may come before it.
    pub fn virt_addr(&mut self, name: &'static str) -> Result<VirtAddr, ArgumentError> {
        let word = self.word(name)?;
        let digits = without(name, word, Prefix::Physical)?;
        hexadecimal(digits).map(VirtAddr::new).ok_or_else(|| wrong(name, word, Problem::NotAnAddress))
    }

    /// Returns a physical address; the prefix `phys:` may come before it.
    pub fn phys_addr(&mut self, name: &'static str) -> Result<PhysAddr, ArgumentError> {
        let word = self.word(name)?;
        let digits = without(name, word, Prefix::Virtual)?;
        hexadecimal(digits).map(PhysAddr::new).ok_or_else(|| wrong(name, word, Problem::NotAnAddress))
    }

    /// Parses virtual addresses `START..END` (half-open) or `START+SIZE`.
    pub fn virt_range(&mut self, name: &'static str) -> Result<VirtRange, ArgumentError> {
        let word = self.word(name)?;
        let (start, end) = range(name, word, without(name, word, Prefix::Physical)?)?;
        VirtRange::new(VirtAddr::new(start), VirtAddr::new(end))
            .ok_or_else(|| wrong(name, word, Problem::Backwards))
    }

    /// Parses physical addresses `START..END` (half-open) or `START+SIZE`.
    pub fn phys_range(&mut self, name: &'static str) -> Result<PhysRange, ArgumentError> {
        let word = self.word(name)?;
        let (start, end) = range(name, word, without(name, word, Prefix::Virtual)?)?;
        PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
            .ok_or_else(|| wrong(name, word, Problem::Backwards))
    }
}

/// The words, one by one.
impl<'line> Iterator for Arguments<'line> {
    type Item = &'line str;

    fn next(&mut self) -> Option<&'line str> {
        if let Some((word, ahead)) = split_word(self.ahead) {
            self.ahead = ahead;
            return Some(word);
        }
        let (word, rest) = split_word(self.rest)?;
        self.rest = rest;
        Some(word)
    }
}

/// Shows all that is left: the words of an alias, then the typed text with the spaces that it has between words.
impl fmt::Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ahead, rest) = (self.ahead.trim(), self.rest.trim());
        let space = if ahead.is_empty() || rest.is_empty() { "" } else { " " };
        write!(f, "{ahead}{space}{rest}")
    }
}

fn wrong(name: &'static str, word: &str, problem: Problem) -> ArgumentError {
    ArgumentError { name, word: Text::of(word), problem }
}

fn split_prefix(word: &str) -> (Prefix, &str) {
    match word.split_once(':') {
        Some(("phys", digits)) => (Prefix::Physical, digits),
        Some(("virt", digits)) => (Prefix::Virtual, digits),
        _ => (Prefix::None, word),
    }
}

/// `word` without its prefix, which must not be `unwanted`.
fn without<'line>(
    name: &'static str,
    word: &'line str,
    unwanted: Prefix,
) -> Result<&'line str, ArgumentError> {
    let (prefix, digits) = split_prefix(word);
    if prefix != unwanted {
        return Ok(digits);
    }
    let problem = if prefix == Prefix::Physical { Problem::NotVirtual } else { Problem::NotPhysical };
    Err(wrong(name, word, problem))
}

fn range(name: &'static str, word: &str, bounds: &str) -> Result<(u64, u64), ArgumentError> {
    let parsed = if let Some((start, end)) = bounds.split_once("..") {
        hexadecimal(start).zip(hexadecimal(end))
    } else if let Some((start, length)) = bounds.split_once('+') {
        match hexadecimal(start).zip(size(length)) {
            Some((start, length)) => {
                let end = start.checked_add(length).ok_or_else(|| wrong(name, word, Problem::Backwards))?;
                Some((start, end))
            }
            None => None,
        }
    } else {
        None
    };
    parsed.ok_or_else(|| wrong(name, word, Problem::NotARange))
}

/// Returns a size in bytes, such as `4096`, `64K`, `2M`, `1GiB`; `None` where it is none or past 2^64.
pub fn size(text: &str) -> Option<u64> {
    // Hexadecimal sizes take no unit: their B is a digit.
    let length = if text.starts_with("0x") {
        text.len()
    } else {
        text.trim_end_matches(|character: char| character.is_ascii_alphabetic()).len()
    };
    let (digits, unit) = text.split_at(length);
    let is = |names: [&str; 3]| names.iter().any(|name| unit.eq_ignore_ascii_case(name));
    let shift = match () {
        () if unit.is_empty() || is(["b"; 3]) => 0,
        () if is(["k", "kb", "kib"]) => 10,
        () if is(["m", "mb", "mib"]) => 20,
        () if is(["g", "gb", "gib"]) => 30,
        () if is(["t", "tb", "tib"]) => 40,
        () => return None,
    };
    number(digits)?.checked_mul(1 << shift)
}

/// Returns a number: decimal, or hexadecimal after `0x`; `_` may separate digits.
pub fn number(text: &str) -> Option<u64> {
    if text.starts_with("0x") || text.starts_with("0X") { hexadecimal(text) } else { digits(text, 10) }
}

/// Returns a hexadecimal number, with or without `0x`; `_` may separate digits.
pub fn hexadecimal(text: &str) -> Option<u64> {
    digits(text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text), 16)
}

fn digits(text: &str, radix: u32) -> Option<u64> {
    if text.starts_with('_') || text.ends_with('_') || text.is_empty() {
        return None;
    }
    text.chars().filter(|&character| character != '_').try_fold(0u64, |value, character| {
        value.checked_mul(u64::from(radix))?.checked_add(u64::from(character.to_digit(radix)?))
    })
}
