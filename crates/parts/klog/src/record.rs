//! [`Record`]: one message of the log, and how it looks.

use core::fmt::{self, Write};

use log::Level;
use rhumb_machine::{CpuId, impossible};
use rhumb_sync::atomic::IS_MODELLED;

const WORD_BYTES: usize = 8;

/// Words of a record in a ring, its target and text apart: the time, and everything small.
pub(crate) const HEAD_WORDS: usize = 2;

/// Words of a record in a ring that hold target and text. With the head and a sequence number a slot has 256 bytes,
/// four cache lines, of which 232 are for target and text: twice the longest line of a boot. A model checker's state
/// grows with each atomic, so its tests use short slots.
pub(crate) const PAYLOAD_WORDS: usize = if IS_MODELLED { 1 } else { 32 - 1 - HEAD_WORDS };

/// The most bytes of target and text together. A message longer than that is cut, and marked.
pub const PAYLOAD_BYTES: usize = PAYLOAD_WORDS * WORD_BYTES;

/// The most bytes of a target, so that most of the payload is left for the text in any case.
const TARGET_BYTES: usize = PAYLOAD_BYTES / 4;

/// A message, whole, as it was logged.
#[derive(Clone, Copy)]
pub struct Record {
    time_ns: u64,
    cpu: CpuId,
    level: Level,
    is_cut: bool,
    target_bytes: u8,
    text_bytes: u8,
    payload: [u8; PAYLOAD_BYTES],
}

impl Record {
    /// Returns the record of a message. Cost: formatting it, once; no lock, no allocation.
    pub fn new(time_ns: u64, cpu: CpuId, level: Level, target: &str, message: fmt::Arguments<'_>) -> Self {
        let payload = [0; PAYLOAD_BYTES];
        let mut record = Self { time_ns, cpu, level, is_cut: false, target_bytes: 0, text_bytes: 0, payload };
        // The end of a path says more than its start.
        let mut start = target.len().saturating_sub(TARGET_BYTES);
        while !target.is_char_boundary(start) {
            start += 1;
        }
        let target = &target.as_bytes()[start..];
        record.payload[..target.len()].copy_from_slice(target);
        record.target_bytes = target.len() as u8;
        // A Display that fails has said what it could.
        let _ = record.write_fmt(message);
        record
    }

    /// Returns when it was logged, in nanoseconds since boot.
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Returns where it was logged.
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Returns how grave it is.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Tells whether its text did not fit and was cut.
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns the module that logged it: a path, or its end.
    pub fn target(&self) -> &str {
        characters(&self.payload[..usize::from(self.target_bytes)])
    }

    /// Returns the message.
    pub fn text(&self) -> &str {
        let start = usize::from(self.target_bytes);
        characters(&self.payload[start..start + usize::from(self.text_bytes)])
    }

    fn length(&self) -> usize {
        usize::from(self.target_bytes) + usize::from(self.text_bytes)
    }

    /// Returns its words but for the payload: time, and everything small.
    pub(crate) fn head_words(&self) -> [u64; HEAD_WORDS] {
        let [cpu_low, cpu_high] = (self.cpu.index() as u16).to_le_bytes();
        let small = [
            cpu_low,
            cpu_high,
            self.level as u8,
            u8::from(self.is_cut),
            self.target_bytes,
            self.text_bytes,
            0,
            0,
        ];
        [self.time_ns, u64::from_le_bytes(small)]
    }

    /// Returns the words of its payload that hold something.
    pub(crate) fn payload_words(&self) -> impl Iterator<Item = u64> {
        let (words, _) = self.payload.as_chunks::<WORD_BYTES>();
        words.iter().take(self.length().div_ceil(WORD_BYTES)).map(|&bytes| u64::from_le_bytes(bytes))
    }

    /// Returns the record of these words, or `None` where they are none. `payload` gives the word of each index.
    pub(crate) fn from_words(head: [u64; HEAD_WORDS], payload: impl Fn(usize) -> u64) -> Option<Self> {
        let [cpu_low, cpu_high, level, is_cut, target_bytes, text_bytes, ..] = head[1].to_le_bytes();
        let level = Level::iter().find(|&one| one as u8 == level)?;
        let cpu = CpuId::new(usize::from(u16::from_le_bytes([cpu_low, cpu_high])))?;
        let (time_ns, is_cut) = (head[0], is_cut != 0);
        let bytes = [0; PAYLOAD_BYTES];
        let mut record = Self { time_ns, cpu, level, is_cut, target_bytes, text_bytes, payload: bytes };
        if record.length() > PAYLOAD_BYTES {
            return None;
        }
        let used = record.length().div_ceil(WORD_BYTES);
        let (words, _) = record.payload.as_chunks_mut::<WORD_BYTES>();
        for (index, word) in words.iter_mut().enumerate().take(used) {
            *word = payload(index).to_le_bytes();
        }
        Some(record)
    }
}

/// Returns as text what was copied from texts, cut between characters.
fn characters(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes)
        .unwrap_or_else(|_| impossible!("whole characters alone were copied here" => ""))
}

// A CPU's index is kept in two bytes, and a length in one.
const _: () = assert!(rhumb_machine::MAX_CPUS <= 1 << u16::BITS && PAYLOAD_BYTES <= u8::MAX as usize);

impl Write for Record {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Ok(());
        }
        let start = self.length();
        let mut fits = text.len().min(PAYLOAD_BYTES - start);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.payload[start..start + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.text_bytes += fits as u8;
        self.is_cut = fits < text.len();
        Ok(())
    }
}

/// As `dmesg` prints it: `[    0.123456] text`, where grave messages are named (`error: `, `warning: `), each line of a
/// message of several has the stamp, and a cut one ends in ` [cut]`. The alternate form (`{:#}`) tells the CPU, the
/// level and the target, too: `[    0.123456] cpu 3 INFO kernel::boot: text`. No newline at the end.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = Stamp(self.time_ns);
        for (index, line) in self.text().trim_end().split('\n').enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{stamp} ")?;
            match self.level {
                _ if f.alternate() => {
                    write!(f, "cpu {} {:5} {}: ", self.cpu, self.level, self.target())?;
                }
                Level::Error if index == 0 => f.write_str("error: ")?,
                Level::Warn if index == 0 => f.write_str("warning: ")?,
                _ => {}
            }
            f.write_str(line)?;
        }
        if self.is_cut { f.write_str(" [cut]") } else { Ok(()) }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

/// A time since boot, as `dmesg` prints it: `[    0.123456]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(pub u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0 / 1000;
        write!(f, "[{:5}.{:06}]", microseconds / 1_000_000, microseconds % 1_000_000)
    }
}
