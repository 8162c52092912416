//! Maps as text: one line for each counter, bars for each histogram, as bpftrace shows them.
//!
//! ```text
//! @splits[monitor, directmap set]: 12
//! @pages[split]:
//! [1]                     5 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
//! [2, 4)                  1 |@@@@@@@@@@                                        |
//! ```

use alloc::vec::Vec;
use core::fmt;

use crate::map::{BUCKETS, Entry, Map, MapKind, Part, bucket};

/// Characters of the longest bar.
const BAR: u64 = 50;

/// Something that knows names for numbers.
pub trait Names {
    /// Writes the name of `value`, which is a `part` of a key.
    fn write(&self, part: Part, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Numbers as they are: for a reader that knows no names.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Names for Plain {
    fn write(&self, _: Part, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{value}")
    }
}

/// A map to be shown: its `Display` is its entries, the largest last. Programs may count meanwhile.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The map.
    pub map: &'a Map,
    /// The names for its keys.
    pub names: &'a dyn Names,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = Vec::new();
        let count = self.map.entries().count();
        if self.map.kind() != MapKind::Array && entries.try_reserve_exact(count).is_ok() {
            // Programs may have added some meanwhile: they are shown the next time.
            entries.extend(self.map.entries().take(count).map(|entry| (entry.total(), entry)));
            entries.sort_unstable_by_key(|entry| entry.0);
            entries.iter().try_for_each(|(_, entry)| self.write_entry(entry, f))?;
        } else {
            // An array has its order; without memory for a sort, the order of the slots will do.
            self.map.entries().try_for_each(|entry| self.write_entry(&entry, f))?;
        }
        if count == 0 {
            writeln!(f, "@{}: nothing yet", self.map.name())?;
        }
        match self.map.dropped() {
            0 => Ok(()),
            dropped => {
                writeln!(f, "@{}: {dropped} times there was no room for a new key", self.map.name())
            }
        }
    }
}

impl Shown<'_> {
    fn write_entry(&self, entry: &Entry<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}[", self.map.name())?;
        let key = entry.key();
        for (index, (&part, value)) in self.map.parts().iter().zip(key).enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            self.names.write(part, value, f)?;
        }
        f.write_str("]:")?;
        if self.map.kind() == MapKind::Histogram {
            return write_bars(entry, f);
        }
        for word in 0..entry.words() {
            write!(f, " {}", entry.value(word))?;
        }
        f.write_str("\n")
    }
}

fn write_bars(entry: &Entry<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\n")?;
    let counts: [u64; BUCKETS] = core::array::from_fn(|bucket| entry.value(bucket));
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let first = counts.iter().position(|&count| count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
    for (bucket, &count) in counts.iter().enumerate().take(last + 1).skip(first) {
        let bar = (u128::from(count) * u128::from(BAR) / u128::from(most)) as usize;
        let label = Bucket(bucket);
        writeln!(f, "{label} {count:>8} |{:@<bar$}{:rest$}|", "", "", rest = BAR as usize - bar)?;
    }
    Ok(())
}

/// The numbers of one bucket.
struct Bucket(usize);

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 16;
        let mut text = arrayvec::ArrayString::<32>::new();
        // The longest, "[512P, 1024P)", fits.
        let _ = match self.0 {
            bits @ 0..=1 => fmt::write(&mut text, format_args!("[{bits}]")),
            bits => {
                let least = 1_u64 << (bits - 1);
                fmt::write(&mut text, format_args!("[{}, {})", Short(least), Short(least.wrapping_mul(2))))
            }
        };
        write!(f, "{text:<WIDTH$}")
    }
}

/// A power of two with the largest unit that divides it; 0 is 2^64.
struct Short(u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bits) = bucket(self.0).checked_sub(1) else { return f.write_str("16E") };
        let units = ["", "K", "M", "G", "T", "P", "E"];
        write!(f, "{}{}", 1_u64 << (bits % 10), units[bits / 10])
    }
}
