//! A module of any bytes: parsed, and linked at any addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_module_abi::version::RECORDS;
use rhumb_modules::part::MAX_PART_BYTES;
use rhumb_modules::{Export, Exports, Image, Part};

/// A kernel that exports all that there is.
struct Kernel;

impl Exports for Kernel {
    fn find(&self, name: &str) -> Option<Export> {
        let record = RECORDS.iter().find(|record| record.name() == Some(name))?;
        Some(Export { address: 0xffff_ffff_8100_0000, version: record.version() })
    }
}

fuzz_target!(|input: (u32, bool, &[u8])| {
    let (at, is_headed, bytes) = input;
    let mut file = bytes.to_vec();
    if is_headed && file.len() >= 64 {
        // Random heads are refused at once: a 64-bit little-endian relocatable object for x86-64.
        file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0");
    }
    let image = match Image::parse(&file) {
        Ok(image) => image,
        Err(error) => return assert!((1..=112).contains(&error.to_string().len()), "{error}"),
    };
    let at = [0, 1, 2].map(|part| 0xffff_ffff_8000_0000 + u64::from(at) / 2 + part * MAX_PART_BYTES);
    let link = |filler: u8| {
        let mut parts = Part::ALL.map(|part| vec![filler; image.layout().bytes(part) as usize]);
        let [code, read_only, data] = &mut parts;
        let linked = image.link(at, &Kernel, &mut [code, read_only, data]);
        linked.map(|linked| (linked.header, parts))
    };
    assert!(Part::ALL.iter().all(|&part| image.layout().bytes(part) <= MAX_PART_BYTES));
    match (link(0), link(0xff)) {
        (Ok((header, parts)), again) => {
            let start = at[Part::ReadOnly.index()];
            let end = start + parts[Part::ReadOnly.index()].len() as u64;
            assert!((start..end).contains(&header));
            assert_eq!(again, Ok((header, parts)));
        }
        (Err(error), again) => {
            assert!(!error.to_string().is_empty());
            assert!(again.is_err());
        }
    }
});
