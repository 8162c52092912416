//! Both protocols from hand-made structures, whole, cut at every byte, and random.

extern crate std;

use std::format;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{PhysAddr, PhysRange};

use super::*;
use crate::fake::{Bytes, FakeMemory};
use crate::{Findings, PhysMemory};

type Parsed = Result<(BootInfo, Findings<LoaderFinding>), LoaderError>;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

fn phys(at: u64) -> PhysAddr {
    PhysAddr::new(at)
}

fn said(findings: &Findings<LoaderFinding>) -> Vec<std::string::String> {
    findings.iter().map(|finding| finding.to_string()).collect()
}

const START: u64 = 0x1000;
const MODULES: u64 = 0x2000;
const LINE: u64 = 0x3000;
const MAP: u64 = 0x4000;

fn map_entries() -> Bytes {
    Bytes::default().u64(0).u64(0x9fc00).u32(1).u32(0).u64(0x10_0000).u64(0x3ff0_0000).u32(1).u32(0)
}

fn start_info(version: u32, modules: u32) -> Vec<u8> {
    let head = Bytes::default().u32(pvh::MAGIC).u32(version).u32(0).u32(modules);
    head.u64(MODULES).u64(LINE).u64(0xf_5a20).u64(MAP).u32(2).u32(0).0
}

fn pvh_memory() -> FakeMemory {
    let mut memory = FakeMemory::default();
    memory.put(START, &start_info(1, 1));
    memory.put(MODULES, &Bytes::default().u64(0x80_0000).u64(0x1234).u64(0).u64(0).0);
    let mut line = b"quiet mem=1G".to_vec();
    line.resize(0x1000, 0);
    memory.put(LINE, &line);
    memory.put(MAP, &map_entries().0);
    memory
}

#[test]
fn pvh_whole() {
    let (info, findings) = pvh::parse(&pvh_memory(), phys(START)).unwrap();
    assert!(findings.is_empty());
    assert_eq!(info.protocol, Protocol::Pvh);
    assert_eq!(info.command_line.as_slice(), b"quiet mem=1G");
    assert_eq!(
        info.memory.as_slice(),
        [
            FirmwareEntry { base: 0, length: 0x9fc00, type_code: 1 },
            FirmwareEntry { base: 0x10_0000, length: 0x3ff0_0000, type_code: 1 },
        ]
    );
    assert_eq!(info.initial_ram_disk, Some(range(0x80_0000, 0x80_1234)));
    assert_eq!(info.rsdp, Some(RsdpSource::At(phys(0xf_5a20))));
    let occupied: Vec<_> = info.occupied.iter().map(|taken| (taken.range, taken.why)).collect();
    assert_eq!(
        occupied,
        [
            (range(START, START + 56), Reservation::BootLoaderData),
            (range(MAP, MAP + 48), Reservation::BootLoaderData),
            (range(LINE, LINE + 13), Reservation::CommandLine),
            (range(MODULES, MODULES + 32), Reservation::BootLoaderData),
            (range(0x80_0000, 0x80_1234), Reservation::InitialRamDisk),
        ]
    );
    let (mut map, _) = MemoryMap::from_firmware(info.memory.iter().copied()).unwrap();
    info.reserve_occupied(&mut map).unwrap();
    assert!(info.occupied.iter().all(|taken| map.usable().all(|free| !free.overlaps(taken.range))));
}

#[test]
fn pvh_without_what_it_needs() {
    let parse = |bytes: &[u8]| {
        let mut memory = pvh_memory();
        *memory.piece(START) = bytes.to_vec();
        pvh::parse(&memory, phys(START)).map(|_| ())
    };
    assert_eq!(parse(&start_info(0, 0)), Err(LoaderError::NoMemoryMap(Protocol::Pvh)));
    let mut wrong = start_info(1, 0);
    wrong[0] ^= 1;
    assert_eq!(parse(&wrong), Err(LoaderError::BadMagic(pvh::MAGIC ^ 1)));
    let mut none = start_info(1, 0);
    none[48..52].fill(0);
    assert_eq!(parse(&none), Err(LoaderError::NoMemoryMap(Protocol::Pvh)));
    none[48..52].fill(0xff);
    assert_eq!(parse(&none), Err(LoaderError::TooManyEntries(0xffff_ffff)));
    none[48..52].copy_from_slice(&3u32.to_le_bytes());
    let error = parse(&none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the boot loader's memory map is not where it should be: 72 bytes at 0x4000 cannot be read"
    );
    for length in 0..56 {
        assert!(
            matches!(parse(&start_info(1, 1)[..length]), Err(LoaderError::Unreadable { .. })),
            "{length} bytes"
        );
    }
}

#[test]
fn pvh_lying_about_the_rest() {
    // A module list that is longer than memory: the modules are gone, the boot is not.
    let mut memory = pvh_memory();
    *memory.piece(START) = start_info(1, 0xffff_ffff);
    let (info, findings) = pvh::parse(&memory, phys(START)).unwrap();
    assert_eq!(info.initial_ram_disk, None);
    assert_eq!(said(&findings), ["boot loader: the modules are ignored: 256 bytes at 0x2000 cannot be read"]);

    // A module that wraps, and one beside the RAM disk.
    let mut memory = pvh_memory();
    *memory.piece(START) = start_info(1, 3);
    let modules = Bytes::default().u64(u64::MAX).u64(2).u64(0).u64(0).u64(0x50_0000).u64(1).u64(0).u64(0);
    *memory.piece(MODULES) = modules.u64(0x60_0000).u64(0x1000).u64(0).u64(0).0;
    let (info, findings) = pvh::parse(&memory, phys(START)).unwrap();
    assert_eq!(info.initial_ram_disk, Some(range(0x50_0000, 0x50_0001)));
    assert_eq!(
        said(&findings),
        [
            "boot loader: a module without a valid address range is ignored",
            "boot loader: the module at [0x600000, 0x601000) is ignored: only the first one is used, as initial RAM disk",
        ]
    );
    let last = info.occupied.last().unwrap();
    assert_eq!((last.range, last.why), (range(0x50_0000, 0x50_0001), Reservation::InitialRamDisk));

    // A command line that never ends, and one that is nowhere.
    let mut memory = pvh_memory();
    *memory.piece(LINE) = std::vec![b'x'; 0x1000];
    let (info, findings) = pvh::parse(&memory, phys(START)).unwrap();
    assert!(info.command_line.is_empty());
    assert_eq!(
        said(&findings),
        ["boot loader: the command line is ignored: 4096 bytes at 0x4000 cannot be read"]
    );
    *memory.piece(LINE) = std::vec![b'x'; 0x3000];
    let (info, findings) = pvh::parse(&memory, phys(START)).unwrap();
    assert_eq!(info.command_line.len(), COMMAND_LINE_BYTES);
    assert_eq!(
        said(&findings),
        ["boot loader: the command line is longer than 4096 bytes; the rest of it is ignored"]
    );
}

fn tag(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Bytes::default().u32(kind).u32(8 + content.len() as u32).bytes(content).0;
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn information(tags: &[Vec<u8>]) -> Vec<u8> {
    let tags = tags.concat();
    Bytes::default().u32(8 + tags.len() as u32).u32(0).bytes(&tags).0
}

fn ordinary_tags() -> Vec<Vec<u8>> {
    let map = Bytes::default().u32(24).u32(0).bytes(&map_entries().0).0;
    std::vec![
        tag(1, b"batch\0"),
        tag(2, b"GRUB 2.06\0"),
        tag(3, &Bytes::default().u32(0x80_0000).u32(0x80_1234).bytes(b"initrd\0").0),
        tag(4, &[0; 8]),
        tag(6, &map),
        tag(14, &[b'o'; 20]),
        tag(15, &[b'n'; 36]),
        tag(0, &[]),
    ]
}

fn multiboot2_of(information: &[u8]) -> Parsed {
    multiboot2::parse(FakeMemory::default().put(START, information), phys(START))
}

#[test]
fn multiboot2_whole() {
    let block = information(&ordinary_tags());
    let (info, findings) = multiboot2_of(&block).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(info.protocol, Protocol::Multiboot2);
    assert_eq!(info.command_line.as_slice(), b"batch");
    assert_eq!(info.loader_name.as_slice(), b"GRUB 2.06");
    assert_eq!(info.memory.len(), 2);
    assert_eq!(info.memory[1], FirmwareEntry { base: 0x10_0000, length: 0x3ff0_0000, type_code: 1 });
    assert_eq!(info.initial_ram_disk, Some(range(0x80_0000, 0x80_1234)));
    assert_eq!(info.rsdp, Some(RsdpSource::Copy([b'n'; 36])));
    assert_eq!(info.occupied[0].range, range(START, START + block.len() as u64));
}

#[test]
fn multiboot2_takes_the_newer_root_pointer_in_any_order() {
    let mut tags = ordinary_tags();
    tags.swap(5, 6);
    assert_eq!(multiboot2_of(&information(&tags)).unwrap().0.rsdp, Some(RsdpSource::Copy([b'n'; 36])));
    tags.remove(5);
    let Some(RsdpSource::Copy(copy)) = multiboot2_of(&information(&tags)).unwrap().0.rsdp else { panic!() };
    assert_eq!((&copy[..20], &copy[20..]), (&[b'o'; 20][..], &[0; 16][..]));
}

/// A framebuffer's tag with this type of pixels.
fn framebuffer_tag(kind: u8) -> Vec<u8> {
    let head = Bytes::default().u64(0xfd00_0000).u32(5120).u32(1280).u32(800);
    tag(8, &head.bytes(&[32, kind, 0, 0, 16, 8, 8, 7, 0, 6]).0)
}

#[test]
fn multiboot2_framebuffer() {
    let of = |first: Vec<u8>| {
        let mut tags = std::vec![first];
        tags.extend(ordinary_tags());
        multiboot2_of(&information(&tags)).unwrap()
    };
    let (info, findings) = of(framebuffer_tag(1));
    assert!(findings.is_empty());
    let expected = Framebuffer {
        address: phys(0xfd00_0000),
        pitch_bytes: 5120,
        width: 1280,
        height: 800,
        bits_per_pixel: 32,
        channels: [(16, 8), (8, 7), (0, 6)],
    };
    assert_eq!(info.framebuffer, Some(expected));
    for other in [0, 2, 3, 255] {
        let (info, findings) = of(framebuffer_tag(other));
        assert!(info.framebuffer.is_none() && findings.is_empty());
    }
    let content = &framebuffer_tag(1)[8..38];
    for length in 0..30 {
        let (info, findings) = of(tag(8, &content[..length]));
        assert!(info.framebuffer.is_none());
        assert_eq!(
            findings.iter().next(),
            Some(&LoaderFinding::ShortTag { tag: 8, size: length as u32 + 8 })
        );
    }
}

#[test]
fn claimed_ram_is_all_that_some_entry_calls_so() {
    let (mut info, _) = multiboot2_of(&information(&ordinary_tags())).unwrap();
    info.memory.push(FirmwareEntry { base: 0xfd00_0000, length: 0x1000, type_code: 2 });
    info.memory.push(FirmwareEntry { base: 1 << 40, length: u64::MAX, type_code: 1 });
    for (base, type_code) in [(0x5000_0000, 3), (0x5000_1000, 4), (0x5000_2000, 5), (0x5000_3000, 99)] {
        info.memory.push(FirmwareEntry { base, length: 0x1000, type_code });
    }
    let claimed: Vec<_> = info.claimed_ram().collect();
    let usable = [range(0, 0x9fc00), range(0x10_0000, 0x4000_0000), range(1 << 40, u64::MAX)];
    let firmware = [0x5000_0000, 0x5000_1000, 0x5000_2000].map(|base| range(base, base + 0x1000));
    assert_eq!(claimed, [usable, firmware].concat());
}

#[test]
fn multiboot2_cut_at_every_byte() {
    let block = information(&ordinary_tags());
    let map_ends = 8 + ordinary_tags()[..5].concat().len();
    for length in 0..block.len() {
        // Memory ends early: nothing of the block is read.
        assert!(
            matches!(multiboot2_of(&block[..length]), Err(LoaderError::Unreadable { .. })),
            "{length} bytes"
        );
        // The block itself says that it ends early: the tags that are whole are used.
        let mut short = block.clone();
        short[..4].copy_from_slice(&(length as u32).to_le_bytes());
        match multiboot2_of(&short) {
            Ok((info, findings)) => {
                assert!(length >= map_ends && info.memory.len() == 2, "{length} bytes");
                assert_eq!(findings.total(), 1, "{length} bytes: {findings:?}");
            }
            Err(LoaderError::BadSize(size)) => assert!(size < 16),
            Err(error) => {
                assert!(length < map_ends && error == LoaderError::NoMemoryMap(Protocol::Multiboot2))
            }
        }
    }
}

#[test]
fn multiboot2_lying_tags() {
    let whole = ordinary_tags();
    let with = |first: Vec<u8>| {
        let mut tags = std::vec![first];
        tags.extend(whole.clone());
        multiboot2_of(&information(&tags))
    };
    // A size that would not get us on, and one past the end.
    for size in [0u32, 7, 0xffff_fff0, u32::MAX] {
        let bad = Bytes::default().u32(9).u32(size).0;
        assert_eq!(with(bad.clone()).unwrap_err(), LoaderError::NoMemoryMap(Protocol::Multiboot2));
        let mut tags = whole[..5].to_vec();
        tags.push(bad);
        let (info, findings) = multiboot2_of(&information(&tags)).unwrap();
        assert_eq!(info.memory.len(), 2);
        assert!(matches!(findings.iter().next(), Some(LoaderFinding::BadTagSize { .. })));
    }
    for short in
        [tag(3, &[0; 7]), tag(6, &[0; 3]), tag(6, &[24, 0, 0, 0]), tag(14, &[0; 19]), tag(15, &[0; 19])]
    {
        let (info, findings) = with(short).unwrap();
        assert_eq!(info.memory.len(), 2);
        assert!(matches!(findings.iter().next(), Some(LoaderFinding::ShortTag { .. })));
    }
    let backwards = Bytes::default().u32(2).u32(1).0;
    assert_eq!(with(tag(3, &backwards)).unwrap().1.iter().next(), Some(&LoaderFinding::BadModule));
    for size in [0u32, 20, 23] {
        let map = Bytes::default().u32(size).u32(0).bytes(&map_entries().0).0;
        assert_eq!(with(tag(6, &map)).unwrap_err(), LoaderError::BadEntrySize(size));
    }
    let many = Bytes::default().u32(24).u32(0).bytes(&map_entries().0.repeat(10_000)).0;
    assert_eq!(with(tag(6, &many)).unwrap_err(), LoaderError::TooManyEntries(20_000));
    // Modules that are not used need no place.
    let mut tags = whole.clone();
    let modules = (1..40u32).map(|i| tag(3, &Bytes::default().u32(i << 12).u32((i << 12) + 1).0));
    tags.splice(0..0, modules);
    let (info, findings) = multiboot2_of(&information(&tags)).unwrap();
    assert_eq!((info.occupied.len(), findings.total()), (2, 39));
    assert_eq!(info.initial_ram_disk, Some(range(0x1000, 0x1001)));
    let long = with(tag(1, &[b'x'; 5000]));
    assert_eq!(long.unwrap().1.iter().next(), Some(&LoaderFinding::CommandLineCut));
}

#[test]
fn of_too_many_entries_the_smallest_of_ram_are_left_out() {
    // Pieces of RAM of 1, 2, 3 ... pages, each beside a page that is not RAM.
    let entries = |pairs: u64| {
        (1..=pairs).fold(Bytes::default(), |bytes, index| {
            let at = index << 24;
            bytes.u64(at).u64(index << 12).u32(1).u32(0).u64(at - 4096).u64(4096).u32(2).u32(0)
        })
    };
    let map_tag = |pairs| tag(6, &Bytes::default().u32(24).u32(0).bytes(&entries(pairs).0).0);
    let (info, findings) = multiboot2_of(&information(&[map_tag(300), tag(0, &[])])).unwrap();
    let kept = |kind: u32| info.memory.iter().filter(|entry| entry.type_code == kind).count();
    assert_eq!((kept(1), kept(2), findings.total()), (MAX_REGIONS - 300, 300, 88));
    assert!(info.memory.iter().all(|entry| entry.type_code == 2 || entry.length > 88 << 12));
    assert_eq!(
        said(&findings)[0],
        "boot loader: no room for more than 512 entries of the memory map; the RAM at 0x1000000 of 0x1000 bytes is not used"
    );
    // The same through PVH.
    let mut memory = pvh_memory();
    memory.piece(START)[48..52].copy_from_slice(&600u32.to_le_bytes());
    *memory.piece(MAP) = entries(300).0;
    assert_eq!(pvh::parse(&memory, phys(START)).unwrap().0.memory, info.memory);
    // Nothing that is not RAM is ever left out.
    assert_eq!(
        multiboot2_of(&information(&[map_tag(600)])).unwrap_err(),
        LoaderError::TooManyEntries(MAX_REGIONS as u64 + 1)
    );
}

#[test]
fn it_fits_on_a_boot_stack() {
    assert!(size_of::<BootInfo>() <= 20 << 10, "{} bytes", size_of::<BootInfo>());
}

/// Whatever came out can be shown.
fn show(parsed: &Parsed) {
    match parsed {
        Ok((_, findings)) => findings.iter().for_each(|finding| assert!(!format!("{finding}").is_empty())),
        Err(error) => assert!(!format!("{error}").is_empty()),
    }
}

proptest! {
    #[test]
    fn pvh_from_any_bytes(noise in proptest::collection::vec((0usize..0x200, any::<u8>()), 0..12)) {
        let mut memory = pvh_memory();
        for (at, byte) in noise {
            // Each of the four structures gets a share; the magic number stays.
            let (piece, at) = ([START, MODULES, LINE, MAP][at % 4], at / 4);
            let bytes = memory.piece(piece);
            if at < bytes.len() && !(piece == START && at < 8) {
                bytes[at] = byte;
            }
        }
        show(&pvh::parse(&memory, phys(START)));
    }

    #[test]
    fn multiboot2_from_any_bytes(noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), random in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut block = information(&ordinary_tags());
        for (at, byte) in noise {
            let at = at.index(block.len());
            block[at] = byte;
        }
        show(&multiboot2_of(&block));
        show(&multiboot2_of(&information(&[random])));
    }

    #[test]
    fn strings_end_where_they_end(length in 0usize..200, before in 0u64..300) {
        // The string ends right at the end of memory, wherever it begins in its page.
        let mut bytes = std::vec![b's'; length];
        bytes.push(0);
        let at = 0x8000 - bytes.len() as u64;
        let mut memory = FakeMemory::default();
        memory.put(at - before, &[std::vec![b'-'; before as usize], bytes].concat());
        let mut into = arrayvec::ArrayVec::<u8, 100>::new();
        let copied = crate::phys::copy_string(&memory, phys(at), &mut into);
        prop_assert_eq!(copied, Ok(if length > 100 { crate::phys::Copied::Cut } else { crate::phys::Copied::Whole }));
        prop_assert_eq!(into.len(), length.min(100));
        prop_assert!(memory.read(phys(at), length as u64 + 2).is_err());
    }
}
