use super::sample::{AT, BSS_BYTES, DATA_BYTES, LOG, NOW, RODATA_BYTES, TEXT_BYTES, linked, usual};
use crate::{Image, Part};

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[test]
fn a_module_is_laid_out_by_permission() {
    let file = usual();
    let image = Image::parse(&file).expect("a module");
    let layout = image.layout();
    assert_eq!(layout.bytes(Part::Code), TEXT_BYTES);
    // Read-only: the data, the header at its alignment, two addresses.
    let header_bytes = size_of::<rhumb_module_abi::types::Header>() as u64;
    assert_eq!(layout.bytes(Part::ReadOnly), RODATA_BYTES.next_multiple_of(8) + header_bytes + 16);
    assert_eq!(layout.bytes(Part::Data), DATA_BYTES.next_multiple_of(64) + BSS_BYTES);
    assert_eq!(Part::ALL.map(|part| layout.align(part)), [16, 8, 64]);
}

#[test]
fn relocations_are_as_the_abi_says() {
    let file = usual();
    let ([code, read_only, data], header) = linked(&file).expect("it links");
    let [code_at, read_only_at, data_at] = AT;
    let counter = data_at + DATA_BYTES.next_multiple_of(64) + 8;
    let relative = |value: u64, at: u64| value.wrapping_sub(code_at + at) as u32;
    assert_eq!(u32_at(&code, 1), relative(LOG - 4, 1), "PLT32");
    assert_eq!(u32_at(&code, 8), (read_only_at + 8 + 3) as u32, "32S");
    assert_eq!(u32_at(&code, 20), relative(counter - 4, 20), "PC32");
    let slots = read_only.len() - 16;
    let slot = |index: usize| read_only_at + (slots + 8 * index) as u64;
    assert_eq!(u32_at(&code, 32), relative(slot(0) - 4, 32), "GOTPCREL");
    assert_eq!(u32_at(&code, 40), relative(slot(1) - 4, 40), "REX_GOTPCRELX");
    assert_eq!((u64_at(&read_only, slots), u64_at(&read_only, slots + 8)), (NOW, code_at + 16), "the table");
    assert_eq!(u64_at(&read_only, 0), code_at + 16 + 5, "64");
    assert_eq!(u64_at(&data, 8), counter, "64, in data");
    // The header's first relocation leads to the function.
    assert_eq!(u64_at(&read_only, (header - read_only_at) as usize), code_at + 16);
    // All else is as the file has it, and the rest is zero.
    assert_eq!((code[0], code[5], code[63]), (0, 5, 63));
    assert!(data[DATA_BYTES as usize..].iter().all(|&byte| byte == 0), "zeroed data is not zero");
    assert!(data[..8].iter().all(|&byte| byte == 0xdd));
}
