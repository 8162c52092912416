//! The options that a command line can set, and the table of its words.
//!
//! A new word is a field of [`Options`] and one line of [`WORDS`].

use arrayvec::ArrayString;
use log::LevelFilter;
use rhumb_machine::PageSize;

use super::words::{number, size};
use crate::serial::SerialPort;

/// The options that a command line sets. `Default` is an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether the direct map may use 1-GiB pages; `nogbpages` says no.
    pub gigabyte_pages: bool,
    /// `directmap=`: the largest page that the direct map may use.
    pub direct_map_pages: Option<PageSize>,
    /// `directmap_limit=`: RAM at and above this address is not in the direct map.
    pub direct_map_limit_bytes: Option<u64>,
    /// `mem=`: RAM at and above this address is not used at all.
    pub memory_limit_bytes: Option<u64>,
    /// `maxcpus=`: start no more CPUs than this, the boot CPU included. At least 1.
    pub max_cpus: Option<usize>,
    /// `startcpu=`: also try to start the CPU with this APIC id, which the firmware does not list.
    pub unlisted_cpu: Option<u32>,
    /// Whether to use x2APIC mode even where the firmware left the other one: `x2apic`.
    pub x2apic: bool,
    /// Whether to use 5-level paging even where 4 levels would do: `la57`.
    pub five_levels: bool,
    /// The least important messages that reach the console; `quiet` and `loglevel=` set it, the later one wins.
    pub log_level: LevelFilter,
    /// Whether to read commands from standard input and power off at its end: `batch`.
    pub batch: bool,
    /// `console=`: the serial port that the console is on.
    pub console: Option<SerialPort>,
    /// `exit_port=`: the I/O port of QEMU's `isa-debug-exit` device.
    pub exit_port: Option<u16>,
    /// `protect_tables=`: how page tables are protected; one of [`PROTECT_TABLES`], as the direct map reads it.
    pub protect_tables: Option<&'static str>,
    /// `kmem=`: where objects have their addresses; one of [`KMEM`].
    pub kmem: Option<&'static str>,
    /// `kmap_flush=`: when CPUs flush areas of the kernel map that were given back; one of [`KMAP_FLUSH`].
    pub kmap_flush: Option<&'static str>,
    /// `mitigations=`: whether the kernel takes measures against speculation; one of [`MITIGATIONS`].
    pub mitigations: Option<&'static str>,
    /// `text=`: the largest page that the kernel's own code may use; 2 MiB unless told otherwise.
    pub text_pages: Option<PageSize>,
    /// `clock=`: the counter to measure the TSC with; one of [`CLOCKS`].
    pub clock: Option<&'static str>,
    /// `slab_debug=`: which object caches are checked, and for what, as the object allocator reads it.
    pub slab_debug: Option<ArrayString<SLAB_DEBUG_BYTES>>,
}

/// The values that `protect_tables=` accepts.
pub const PROTECT_TABLES: [&str; 4] = ["off", "on", "window", "pks"];

/// The values that `kmem=` accepts.
pub const KMEM: [&str; 2] = ["direct", "virtual"];

/// The values that `kmap_flush=` accepts.
pub const KMAP_FLUSH: [&str; 3] = ["eager", "batched", "lazy"];

/// The values that `mitigations=` accepts.
pub const MITIGATIONS: [&str; 2] = ["auto", "off"];

/// The values that `clock=` accepts.
pub const CLOCKS: [&str; 3] = ["acpi", "pit", "hpet"];

/// The longest value of `slab_debug=`.
pub const SLAB_DEBUG_BYTES: usize = 192;

impl Default for Options {
    fn default() -> Self {
        Self {
            gigabyte_pages: true,
            direct_map_pages: None,
            direct_map_limit_bytes: None,
            memory_limit_bytes: None,
            max_cpus: None,
            unlisted_cpu: None,
            x2apic: false,
            five_levels: false,
            log_level: LevelFilter::Info,
            batch: false,
            console: None,
            exit_port: None,
            protect_tables: None,
            kmem: None,
            kmap_flush: None,
            mitigations: None,
            text_pages: None,
            clock: None,
            slab_debug: None,
        }
    }
}

/// A word that the command line understands.
#[derive(Clone, Copy, Debug)]
pub struct KnownWord {
    /// Its name, before the `=` if it takes a value.
    pub name: &'static str,
    /// The form of its value.
    pub value: ValueForm,
    /// Its effect, in half a line.
    pub help: &'static str,
    /// Puts the value into the options; `None` where it is none of those accepted. A word without value gets an empty
    /// one.
    pub(super) set: fn(&mut Options, &[u8]) -> Option<()>,
}

/// The form of the value that follows a word's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueForm {
    /// Nothing.
    None,
    /// A size in bytes.
    Size,
    /// Something else; the text says what is accepted.
    Text(&'static str),
}

impl core::fmt::Display for ValueForm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::None => "no value",
            Self::Size => "a size above 0 such as 512M, 0x40000000 or 4G",
            Self::Text(accepted) => accepted,
        })
    }
}

const fn word(
    name: &'static str,
    value: ValueForm,
    help: &'static str,
    set: fn(&mut Options, &[u8]) -> Option<()>,
) -> KnownWord {
    KnownWord { name, value, help, set }
}

use ValueForm::{None as NoValue, Size, Text};

/// All words that the command line understands, in the order in which to list them.
#[rustfmt::skip]
pub const WORDS: &[KnownWord] = &[
    word("directmap", Text("4k, 2m or 1g"), "largest page of the direct map", |o, v| assign(&mut o.direct_map_pages, page_size(v))),
    word("nogbpages", NoValue, "no 1-GiB pages in the direct map", |o, _| { o.gigabyte_pages = false; Some(()) }),
    word("directmap_limit", Size, "direct map ends at this address", |o, v| assign(&mut o.direct_map_limit_bytes, size(v))),
    word("protect_tables", Text("off, on, window or pks"), "page tables that only the kernel's writer of tables can write", |o, v| assign(&mut o.protect_tables, one_of(&PROTECT_TABLES, v))),
    word("kmem", Text("direct or virtual"), "objects in the direct map, or at addresses of the kernel map", |o, v| assign(&mut o.kmem, one_of(&KMEM, v))),
    word("kmap_flush", Text("eager, batched or lazy"), "when CPUs flush what left the kernel map", |o, v| assign(&mut o.kmap_flush, one_of(&KMAP_FLUSH, v))),
    word("mitigations", Text("auto or off"), "measures against speculation, and no programs where they do not do", |o, v| assign(&mut o.mitigations, one_of(&MITIGATIONS, v))),
    word("text", Text("4k or 2m"), "largest page of the kernel's own code", |o, v| assign(&mut o.text_pages, page_size(v).filter(|size| *size != PageSize::Size1G))),
    word("mem", Size, "use RAM below this address only", |o, v| assign(&mut o.memory_limit_bytes, size(v))),
    word("maxcpus", Text("a number of CPUs, at least 1"), "start no more CPUs than this", |o, v| assign(&mut o.max_cpus, count(v))),
    word("startcpu", Text("an APIC id"), "also try to start this CPU, which the firmware does not list", |o, v| assign(&mut o.unlisted_cpu, apic_id(v))),
    word("x2apic", NoValue, "use x2APIC mode even where the firmware left the other one", |o, _| { o.x2apic = true; Some(()) }),
    word("clock", Text("acpi, pit or hpet"), "measure the TSC with this counter first", |o, v| assign(&mut o.clock, one_of(&CLOCKS, v))),
    word("la57", NoValue, "use 5-level paging even where 4 levels do", |o, _| { o.five_levels = true; Some(()) }),
    word("quiet", NoValue, "print errors only", |o, _| { o.log_level = LevelFilter::Error; Some(()) }),
    word("loglevel", Text("error, warn, info, debug, trace or 0 to 7"), "print messages down to this level", |o, v| { o.log_level = level(v)?; Some(()) }),
    word("batch", NoValue, "read commands from the console and power off at its end", |o, _| { o.batch = true; Some(()) }),
    word("slab_debug", Text("letters of FZPUQ, then names of caches: FZPU,kmalloc-64,task*;P"), "check objects of caches", |o, v| assign(&mut o.slab_debug, text(v))),
    word("console", Text("com1 to com4, an I/O port such as 0x3f8, or uart,mmio,ADDRESS or uart,mmio32,ADDRESS"), "serial port of the console", |o, v| assign(&mut o.console, serial_port(v))),
    word("exit_port", Text("an I/O port such as 0xf4"), "port of QEMU's debug-exit device", |o, v| assign(&mut o.exit_port, port(v))),
];

fn assign<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    *field = Some(value?);
    Some(())
}

fn page_size(text: &[u8]) -> Option<PageSize> {
    PageSize::DESCENDING.into_iter().find(|size| match size {
        PageSize::Size4K => text.eq_ignore_ascii_case(b"4k"),
        PageSize::Size2M => text.eq_ignore_ascii_case(b"2m"),
        PageSize::Size1G => text.eq_ignore_ascii_case(b"1g"),
    })
}

fn one_of(words: &[&'static str], text: &[u8]) -> Option<&'static str> {
    words.iter().copied().find(|word| word.as_bytes() == text)
}

fn text<const BYTES: usize>(text: &[u8]) -> Option<ArrayString<BYTES>> {
    ArrayString::from(core::str::from_utf8(text).ok()?).ok()
}

fn count(text: &[u8]) -> Option<usize> {
    number(text).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0)
}

/// Returns an APIC id. All ones is none: it addresses every CPU.
fn apic_id(text: &[u8]) -> Option<u32> {
    number(text).and_then(|id| u32::try_from(id).ok()).filter(|&id| id != u32::MAX)
}

/// Returns a serial port by its name (`com1`, Linux's `ttyS0`), by its I/O port, or in the form of Linux's
/// `console=uart,`.
fn serial_port(text: &[u8]) -> Option<SerialPort> {
    let parts: [&[u8]; 3] = {
        let mut parts = text.splitn(3, |&byte| byte == b',');
        [parts.next()?, parts.next().unwrap_or_default(), parts.next().unwrap_or_default()]
    };
    match parts {
        [b"uart", b"io", port] => SerialPort::at_port(number(port)?),
        [b"uart", b"mmio", at] => SerialPort::in_memory(number(at)?, 1),
        [b"uart", b"mmio32", at] => SerialPort::in_memory(number(at)?, 4),
        [[b'c' | b'C', b'o' | b'O', b'm' | b'M', digit], b"", b""] => {
            SerialPort::by_number(digit.checked_sub(b'0')?)
        }
        [[b't', b't', b'y', b'S', digit], b"", b""] => {
            SerialPort::by_number(digit.checked_sub(b'0')?.checked_add(1)?)
        }
        [port, b"", b""] => SerialPort::at_port(number(port)?),
        _ => None,
    }
}

fn port(text: &[u8]) -> Option<u16> {
    number(text).and_then(|port| u16::try_from(port).ok())
}

/// Returns a level by name, or by Linux's number: that prints what is *less* than the number, where 3 is an error, 4 a
/// warning and 6 information. Errors are never hidden, and Linux has no number for what `trace` prints.
fn level(text: &[u8]) -> Option<LevelFilter> {
    match number(text) {
        Some(0..=4) => Some(LevelFilter::Error),
        Some(5..=6) => Some(LevelFilter::Warn),
        Some(7) => Some(LevelFilter::Info),
        Some(_) => None,
        None => LevelFilter::iter()
            .filter(|&level| level != LevelFilter::Off)
            .find(|level| text.eq_ignore_ascii_case(level.as_str().as_bytes())),
    }
}
