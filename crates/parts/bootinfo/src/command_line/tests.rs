//! Words, values and warnings.

extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use arrayvec::ArrayString;
use log::LevelFilter;
use proptest::prelude::*;
use rhumb_machine::{PageSize, PhysAddr};

use super::words::{number, size};
use super::*;
use crate::serial::{SerialInterrupt, SerialPort, SerialRegisters};

fn parse(line: &str) -> (Options, Vec<String>) {
    let (options, warnings) = Options::parse(line.as_bytes());
    (options, warnings.iter().map(|warning| warning.to_string()).collect())
}

#[test]
fn every_word_does_what_it_says() {
    let (options, warnings) = parse(
        "nogbpages mem=3G maxcpus=4 directmap=4k directmap_limit=0x10000000 protect_tables=pks kmem=virtual kmap_flush=eager mitigations=off text=4k startcpu=9 x2apic clock=hpet la57 quiet loglevel=debug batch slab_debug=FZ,kmalloc-64 console=com2 exit_port=0xf4",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        options,
        Options {
            gigabyte_pages: false,
            direct_map_pages: Some(PageSize::Size4K),
            direct_map_limit_bytes: Some(0x1000_0000),
            memory_limit_bytes: Some(3 << 30),
            max_cpus: Some(4),
            unlisted_cpu: Some(9),
            x2apic: true,
            five_levels: true,
            log_level: LevelFilter::Debug,
            batch: true,
            protect_tables: Some("pks"),
            kmem: Some("virtual"),
            kmap_flush: Some("eager"),
            mitigations: Some("off"),
            text_pages: Some(PageSize::Size4K),
            clock: Some("hpet"),
            slab_debug: ArrayString::from("FZ,kmalloc-64").ok(),
            console: SerialPort::by_number(2),
            exit_port: Some(0xf4),
        }
    );
}

#[test]
fn a_console_by_name_port_or_address() {
    use SerialRegisters::{Bytes, Ports, Words};
    let at = PhysAddr::new(0xfe03_4000);
    for (value, registers, irq) in [
        ("com1", Ports(0x3f8), Some(4)),
        ("COM2", Ports(0x2f8), Some(3)),
        ("com3", Ports(0x3e8), Some(4)),
        ("ttyS3", Ports(0x2e8), Some(3)),
        ("0x3f8", Ports(0x3f8), Some(4)),
        ("uart,io,0x2f8", Ports(0x2f8), Some(3)),
        ("0xc000", Ports(0xc000), None),
        ("0xfff8", Ports(0xfff8), None),
        ("uart,mmio,0xfe034000", Bytes(at), None),
        ("uart,mmio32,0xfe034000", Words(at), None),
    ] {
        let interrupt = irq.map(SerialInterrupt::Isa);
        let (options, warnings) = parse(&format!("console={value}"));
        assert_eq!(options.console, Some(SerialPort { registers, interrupt, baud: None }), "{value}");
        assert_eq!(warnings, Vec::<String>::new());
    }
    for value in [
        "",
        "com0",
        "com5",
        "com",
        "com11",
        "ttyS4",
        "tty0",
        "0xfff9",
        "0x10000",
        "uart",
        "uart,io",
        "uart,io,",
        "uart,mmio,0xfffffffffffffff9",
        "uart,mmio16,0x1000",
        "com1,115200",
        "uart,mmio,0x1000,8",
    ] {
        let (options, warnings) = parse(&format!("console={value}"));
        assert_eq!((options.console, warnings.len()), (None, 1), "{value}");
    }
}

#[test]
fn an_apic_id_of_all_ones_is_none() {
    assert_eq!(parse("startcpu=0xfffffffe").0.unlisted_cpu, Some(0xffff_fffe));
    for line in ["startcpu=0xffffffff", "startcpu=4294967295", "startcpu=0x100000000"] {
        let (options, warnings) = parse(line);
        assert_eq!(options.unlisted_cpu, None, "{line}");
        assert!(warnings[0].ends_with("is ignored: accepted is an APIC id"), "{warnings:?}");
    }
}

#[test]
fn an_empty_line_is_the_default() {
    for line in ["", "   ", "\t\n", "\0mem=1G", "-- mem=1G unknown"] {
        assert_eq!(parse(line), (Options::default(), Vec::new()), "{line:?}");
    }
}

#[test]
fn quotes_and_dashes_are_as_on_linux() {
    for line in ["mem=\"2M\"", "\"mem=2M\"", "  mem=2M  ", "mem=1M mem=2M", "mem=\"2M", "MEM=1 mem=2m"] {
        assert_eq!(parse(line).0.memory_limit_bytes, Some(2 << 20), "{line}");
    }
    assert_eq!(parse("directmap-limit=1G exit-port=1").0.direct_map_limit_bytes, Some(1 << 30));
    let (_, warnings) = parse("note=\"a b\" batch");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("'note=\\\"a b\\\"'"), "{}", warnings[0]);
}

#[test]
fn levels_by_name_and_by_number() {
    for (line, level) in [
        ("loglevel=error", LevelFilter::Error),
        ("loglevel=WARN", LevelFilter::Warn),
        ("loglevel=trace", LevelFilter::Trace),
        ("loglevel=0", LevelFilter::Error),
        ("loglevel=4", LevelFilter::Error),
        ("loglevel=5", LevelFilter::Warn),
        ("loglevel=7", LevelFilter::Info),
        ("quiet", LevelFilter::Error),
        ("loglevel=debug quiet", LevelFilter::Error),
        ("quiet loglevel=debug", LevelFilter::Debug),
        ("loglevel=off", LevelFilter::Info),
        ("loglevel=8", LevelFilter::Info),
    ] {
        assert_eq!(parse(line).0.log_level, level, "{line}");
    }
}

#[test]
fn a_warning_names_the_word_and_what_is_accepted() {
    for (line, warning) in [
        (
            "mem=lots",
            "command line: 'mem=lots' is ignored: accepted is a size above 0 such as 512M, 0x40000000 or 4G",
        ),
        (
            "mem",
            "command line: 'mem' is ignored: the word needs a size above 0 such as 512M, 0x40000000 or 4G",
        ),
        (
            "directmap_limit=0",
            "command line: 'directmap_limit=0' is ignored: accepted is a size above 0 such as 512M, 0x40000000 or 4G",
        ),
        ("directmap=3m", "command line: 'directmap=3m' is ignored: accepted is 4k, 2m or 1g"),
        (
            "protect_tables=PKS",
            "command line: 'protect_tables=PKS' is ignored: accepted is off, on, window or pks",
        ),
        ("maxcpus=0", "command line: 'maxcpus=0' is ignored: accepted is a number of CPUs, at least 1"),
        (
            "exit_port=65536",
            "command line: 'exit_port=65536' is ignored: accepted is an I/O port such as 0xf4",
        ),
        ("text=1g", "command line: 'text=1g' is ignored: accepted is 4k or 2m"),
        ("la57=yes", "command line: 'la57=yes' is ignored: the word takes no value"),
        (
            "colour",
            "command line: 'colour' is ignored: no such word; known are directmap, nogbpages, directmap_limit, \
             protect_tables, kmem, kmap_flush, mitigations, text, mem, maxcpus, startcpu, x2apic, clock, la57, quiet, loglevel, batch, slab_debug, console, exit_port",
        ),
    ] {
        assert_eq!(parse(line), (Options::default(), std::vec![warning.to_string()]), "{line}");
    }
}

#[test]
fn a_long_or_binary_word_is_shown_in_part() {
    let line: Vec<u8> = (0..1000).map(|_| 0x1b).collect();
    let (_, warnings) = Options::parse(&line);
    let text = warnings.iter().next().unwrap().to_string();
    assert!(text.starts_with("command line: '\\x1b\\x1b") && text.contains("...' is ignored"), "{text}");
    assert!(text.len() < 500);
}

#[test]
fn numbers_and_sizes() {
    for (text, value) in [
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("0xffffffffffffffff", Some(u64::MAX)),
        ("0x", None),
        ("", None),
        ("-1", None),
        ("1 ", None),
        ("12a", None),
        ("0XaB", Some(0xab)),
    ] {
        assert_eq!(number(text.as_bytes()), value, "{text:?}");
    }
    for (text, value) in [
        ("4k", Some(4096)),
        ("1T", Some(1 << 40)),
        ("0x10M", Some(16 << 20)),
        ("16777216T", None),
        ("16777215T", Some(16_777_215 << 40)),
        ("0", None),
        ("G", None),
        ("1KK", None),
    ] {
        assert_eq!(size(text.as_bytes()), value, "{text:?}");
    }
}

proptest! {
    #[test]
    fn numbers_read_back(value in any::<u64>()) {
        prop_assert_eq!(number(format!("{value}").as_bytes()), Some(value));
        prop_assert_eq!(number(format!("{value:#x}").as_bytes()), Some(value));
    }

    #[test]
    fn any_bytes_at_all(line in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'"'), Just(b'=')], 0..300)) {
        let (_, warnings) = Options::parse(&line);
        warnings.iter().for_each(|warning| assert!(!format!("{warning}").is_empty()));
        prop_assert!(warnings.total() <= line.len().div_ceil(2));
    }

    #[test]
    fn known_words_among_any_others(before in "[a-z =\"]{0,20}", after in "[a-z= ]{0,20}") {
        // An open quote before would take the word in.
        prop_assume!(before.matches('"').count() % 2 == 0);
        prop_assert_eq!(parse(&format!("{before} mem=5M {after}")).0.memory_limit_bytes.is_some(), true);
    }
}
