//! How much of the map is to be broken: `10%`, `max`, `512M`.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

/// How much of the map is to be broken beyond what is broken already.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Amount {
    /// A share of the whole map: above 0, up to 1.
    Share(f64),
    /// So many bytes.
    Bytes(u64),
    /// As much as memory allows.
    Most,
}

impl Amount {
    /// Returns the bytes that this is of a map of `total` bytes.
    pub(crate) fn of(self, total: u64) -> u64 {
        match self {
            Self::Share(share) => (total as f64 * share) as u64,
            Self::Bytes(bytes) => bytes.min(total),
            Self::Most => total,
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no share of the map: it is a percentage above 0 and up to 100 (`10%`), a size (`512M`), or `max`"
            )
        };
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Most);
        }
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.trim().parse().map_err(|_| wrong())?;
            return if percent > 0.0 && percent <= 100.0 {
                Ok(Self::Share(percent / 100.0))
            } else {
                Err(wrong())
            };
        }
        let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
        let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let bytes = number.checked_mul(unit).filter(|bytes| *bytes > 0);
        bytes.map(Self::Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{} %", (share * 100_000.0).round() / 1_000.0),
            Self::Bytes(bytes) => f.write_str(&crate::who::show::size(*bytes)),
            Self::Most => f.write_str("as much as memory allows"),
        }
    }
}
