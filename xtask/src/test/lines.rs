//! Random command lines for the kernel's prompt: right ones, nearly right ones, and rubbish.
//!
//! The same seed makes the same lines, so that what they find can be found again. Commands that end the run or break a
//! rule of the page tables on purpose are left out, by [`FORBIDDEN`]; all others are in, on any range, in any order.

use std::time::SystemTime;

use anyhow::{Context, Result};

/// Variable that gives the seed.
const SEED: &str = "RHUMB_SEED";

/// Words that end the run, break what the audit looks at, or take minutes.
const FORBIDDEN: [&str; 7] = ["poweroff", "reboot", "panic", "fault", "inject", "selftest", "count"];

/// The forms of lines: [`Lines::fill`] replaces each `{...}`. The first ones are had more often.
const TEMPLATES: [&str; 64] = [
    "directmap set {range} {attribute}",
    "directmap set {range} {attribute}",
    "directmap set {range} {attribute}",
    "directmap restore {range}",
    "directmap restore {range}",
    "directmap restore all",
    "directmap why phys:{hex}",
    "directmap why {virtual}",
    "directmap pool take {small}",
    "directmap pool take {small}",
    "directmap pool give",
    "directmap pool grow {size}",
    "directmap pool shrink",
    "directmap pool",
    "directmap owners",
    "directmap journal | head {small}",
    "directmap journal | count",
    "directmap",
    "directmap age 1-in-{small}",
    "directmap age random:{small}",
    "directmap age full",
    "directmap heal",
    "directmap heal",
    "walk {virtual}",
    "walk phys:{hex}",
    "walk {word}",
    "frames {frame}",
    "frames {frame}",
    "frames phys:{hex}",
    "frames compact",
    "sample 1-in-{small}",
    "sample 1-in-{small}",
    "sample free",
    "sample free",
    "sample",
    "sample {word}",
    "stress frames 0",
    "stress movable 0",
    "stress slabs 0",
    "stress directmap 0",
    "stress pool 0",
    "slabs",
    "slabs reclaim",
    "slabs leaks",
    "slabinfo | grep {word}",
    "buddyinfo",
    "zoneinfo | head {small}",
    "meminfo",
    "meminfo | grep {word} | count",
    "memmap",
    "maps | grep -v {word} | head {small}",
    "maps audit",
    "cpus",
    "cpuid {small}",
    "cpuid {word}",
    "uptime # {word}",
    "vmstat | grep -i {word}",
    "dmesg | head {small}",
    "dmesg -x | count",
    "help {word}",
    "help directmap",
    "{word} {word} {word}",
    "{rubbish}",
    "{long}",
];

const ATTRIBUTES: [&str; 13] =
    ["ro", "rw", "rox", "x", "nx", "np", "p", "uc", "wc", "wt", "wb", "default", "rwx"];
const WORDS: [&str; 16] = [
    "Direct",
    "normal",
    "-1",
    "0",
    "18446744073709551616",
    "0x",
    "\"",
    "'x'",
    "a;b",
    "|",
    "-v",
    "grep",
    "frames",
    "directmap",
    "日本",
    "..",
];

/// Makes lines.
pub(super) struct Lines {
    state: u64,
    /// Addresses below this are RAM or nearly so.
    memory_bytes: u64,
}

/// Returns the seed that a person has chosen, or one of the clock's.
///
/// # Errors
/// The variable holds no number.
pub(super) fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED}={text} is no seed: it is a number")),
        Err(_) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok(now.as_millis() as u64 % 1_000_000)
        }
    }
}

impl Lines {
    pub(super) fn new(seed: u64, memory_bytes: u64) -> Self {
        Self { state: seed, memory_bytes }
    }

    /// Returns another line, which may be of any length and may hold anything but line ends and control characters.
    pub(super) fn line(&mut self) -> String {
        loop {
            let template = self.pick(&TEMPLATES);
            let mut line = self.expand(template);
            match self.below(16) {
                0 => line = self.damaged(&line),
                1 => line = format!("{line}; {}", self.expand("meminfo")),
                _ => {}
            }
            if !FORBIDDEN.iter().any(|word| line.contains(word)) || line.contains("| count") {
                return line;
            }
        }
    }

    /// Returns a number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit.max(1)
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len() as u64) as usize]
    }

    fn expand(&mut self, template: &str) -> String {
        let mut line = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            line += before;
            line += &self.fill(name);
            rest = after;
        }
        line + rest
    }

    fn fill(&mut self, name: &str) -> String {
        match name {
            "range" => self.range(),
            "attribute" => self.pick(&ATTRIBUTES).into(),
            "hex" => format!("{:x}", self.address()),
            "frame" => format!("{:x}", self.address() >> 12),
            "small" => self.below(64).to_string(),
            "size" => self.pick(&["2M", "2M", "2M", "1G", "4K"]).into(),
            "virtual" => {
                let base = self.pick(&["ffff8", "ffffc", "ffffe", "fffff", "00000", "80000"]);
                format!("0x{base}{:011x}", self.below(1 << 44) >> self.below(44))
            }
            "word" => self.pick(&WORDS).into(),
            "long" => "x ".repeat(200 + self.below(200) as usize),
            _ => (0..self.below(60)).map(|_| char::from(b' ' + self.below(95) as u8)).collect(),
        }
    }

    /// Returns an address that is RAM, most often.
    fn address(&mut self) -> u64 {
        match self.below(16) {
            0 => self.below(1 << 52),
            1 => 0xfee0_0000,
            _ => self.below(self.memory_bytes + self.memory_bytes / 16),
        }
    }

    fn range(&mut self) -> String {
        let unit = [1u64 << 12, 1 << 21, 1 << 30][self.below(16).min(18).saturating_sub(13) as usize];
        let start = self.address() / unit * unit;
        let count = 1 + self.below(if unit == 1 << 12 { 600 } else { 3 });
        match self.below(8) {
            0 => format!("frames:{:x}..{:x}", start >> 12, (start >> 12) + self.below(700)),
            1 => format!("0x{start:x}..0x{:x}", start + count * unit),
            2 => format!("0x{:x}+{}", start + self.below(4096), self.below(9000)),
            3 => format!("0x{start:x}+{}M", self.below(9)),
            _ => format!("0x{start:x}+{}K", count * (unit >> 10)),
        }
    }

    /// Returns the line with a character lost, doubled, or replaced.
    fn damaged(&mut self, line: &str) -> String {
        let mut characters: Vec<char> = line.chars().collect();
        let at = self.below(characters.len() as u64) as usize;
        match self.below(3) {
            0 if !characters.is_empty() => drop(characters.remove(at)),
            1 if !characters.is_empty() => characters.insert(at, characters[at]),
            _ => characters.insert(at, char::from(b' ' + self.below(95) as u8)),
        }
        characters.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
