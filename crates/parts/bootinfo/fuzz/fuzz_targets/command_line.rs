//! Any command line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_bootinfo::Options;

fuzz_target!(|line: &[u8]| {
    let (options, warnings) = Options::parse(line);
    warnings.iter().for_each(|warning| assert!(!warning.to_string().is_empty()));
    // A word has a blank behind it, but the last.
    assert!(warnings.total() <= line.len().div_ceil(2));
    assert!(options.max_cpus != Some(0) && options.unlisted_cpu != Some(u32::MAX));
    assert!(options.memory_limit_bytes != Some(0) && options.direct_map_limit_bytes != Some(0));
    // An understood line, written out, is understood again.
    let mut again = String::new();
    let mut word = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            again += &format!("{name}={value} ");
        }
    };
    word("mem", options.memory_limit_bytes.map(|bytes| format!("{bytes:#x}")));
    word("directmap_limit", options.direct_map_limit_bytes.map(|bytes| bytes.to_string()));
    word("maxcpus", options.max_cpus.map(|cpus| cpus.to_string()));
    word("startcpu", options.unlisted_cpu.map(|id| format!("{id:#X}").replace("0X", "0x")));
    word("exit_port", options.exit_port.map(|port| port.to_string()));
    word("protect_tables", options.protect_tables.map(str::to_string));
    let (second, warnings) = Options::parse(again.as_bytes());
    assert!(warnings.is_empty());
    assert_eq!(second.memory_limit_bytes, options.memory_limit_bytes);
    assert_eq!(second.direct_map_limit_bytes, options.direct_map_limit_bytes);
    assert_eq!((second.max_cpus, second.unlisted_cpu), (options.max_cpus, options.unlisted_cpu));
    assert_eq!((second.exit_port, second.protect_tables), (options.exit_port, options.protect_tables));
});
