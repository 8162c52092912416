//! A memory map and all that boot does with it, frame by frame against a plain model.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rhumb_bootinfo::firmware::{MAX_PIECES, MemoryAffinity};
use rhumb_bootinfo::memory_map::MAX_REGIONS;
use rhumb_bootinfo::{BootFrames, FirmwareEntry, MemoryMap, MemoryMapError, Reservation, Topology};
use rhumb_directmap::{Plan, PlanRequest, address_range};
use rhumb_frames::{Layout, LayoutError, MemoryRange};
use rhumb_machine::{NodeId, PageSize, Pfn, PhysAddr, PhysRange};
use rhumb_pagetable::Levels;

const PAGE: u64 = 4096;
/// Firmware gives addresses to the byte; an eighth of a page is as good.
const PART: u64 = PAGE / 8;
/// Frames of the modelled address space: 8 MiB, so that the hole below 1 MiB and large pages lie within.
const FRAMES: u64 = 2048;
const HOLE: core::ops::Range<u64> = 0xa0..0x100;

#[derive(Arbitrary, Debug)]
struct Entry {
    start: u16,
    length: u16,
    kind: u8,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Reserve { start: u16, length: u16, why: bool },
    Take { frames: u8, align: u8, ceiling: u16, why: bool },
    TakeNear { frames: u8, node: u8, ceiling: u16 },
    Exclude { start: u16, length: u16 },
    Include { start: u16, length: u16 },
    Cap { limit: u16, least: u8 },
}

#[derive(Arbitrary, Debug)]
struct Input {
    entries: Vec<Entry>,
    nodes: Vec<(u16, u16, u8)>,
    steps: Vec<Step>,
    read_only: (u16, u8),
    limit: Option<u16>,
}

/// The state of each frame.
#[derive(Clone, PartialEq)]
struct Model {
    ram: Vec<bool>,
    taken: Vec<bool>,
}

impl Model {
    fn free(&self, frame: u64) -> bool {
        self.ram[frame as usize] && !self.taken[frame as usize]
    }

    fn reserve(&mut self, frames: core::ops::Range<u64>) {
        for frame in frames.start as usize..(frames.end.min(FRAMES)) as usize {
            self.taken[frame] |= self.ram[frame];
        }
    }

    fn agrees(&self, map: &MemoryMap) {
        let mut ram = vec![false; FRAMES as usize];
        let mut free = ram.clone();
        for (ranges, marks) in
            [(map.ram().collect::<Vec<_>>(), &mut ram), (map.usable().collect::<Vec<_>>(), &mut free)]
        {
            assert!(ranges.windows(2).all(|pair| pair[0].end() <= pair[1].start()));
            ranges.iter().flat_map(|range| range.whole_frames().iter()).for_each(|pfn| marks[pfn.get() as usize] = true);
        }
        assert!(ram == self.ram, "RAM differs");
        assert!((0..FRAMES).all(|frame| free[frame as usize] == self.free(frame)), "free RAM differs");
        let count = |marks: &[bool]| marks.iter().filter(|&&mark| mark).count() as u64 * PAGE;
        assert_eq!((map.ram_bytes(), map.usable_bytes()), (count(&ram), count(&free)));
    }
}

/// `start` and `length` in parts of frames, within the modelled addresses.
fn range(start: u16, length: u16) -> PhysRange {
    let start = u64::from(start) % (FRAMES * 8);
    let end = (start + u64::from(length)).min(FRAMES * 8);
    PhysRange::new(PhysAddr::new(start * PART), PhysAddr::new(end * PART)).unwrap_or_default()
}

/// Returns the frames that a range touches.
fn touched(range: PhysRange) -> core::ops::Range<u64> {
    range.start().get() / PAGE..range.end().get().div_ceil(PAGE)
}

fn model_of(entries: &[FirmwareEntry]) -> Model {
    let mut ram = vec![false; FRAMES as usize];
    let (mut usable, mut other) = (vec![false; (FRAMES * 8) as usize], vec![false; (FRAMES * 8) as usize]);
    for entry in entries {
        let parts = (entry.base / PART) as usize..((entry.base + entry.length) / PART) as usize;
        let marks = if entry.type_code == 1 { &mut usable } else { &mut other };
        marks[parts].fill(true);
    }
    for frame in 0..FRAMES as usize {
        let parts = frame * 8..frame * 8 + 8;
        ram[frame] = !HOLE.contains(&(frame as u64)) && parts.into_iter().all(|part| usable[part] && !other[part]);
    }
    Model { ram, taken: vec![false; FRAMES as usize] }
}

fn topology_of(nodes: &[(u16, u16, u8)]) -> Topology {
    let mut topology = Topology::single(0);
    topology.domains.extend([1, 2]);
    let mut end = 0;
    for &(gap, length, node) in nodes.iter().take(100) {
        let start = end + u64::from(gap % 64);
        end = start + 1 + u64::from(length % 64);
        let domain = u32::from(node % 3);
        let node_id = NodeId::new(domain as usize).unwrap_or_default();
        let frames = PhysRange::new(PhysAddr::new(start * PAGE), PhysAddr::new(end * PAGE)).unwrap_or_default();
        topology.memory.push(MemoryAffinity { range: frames, domain, node: node_id, hot_pluggable: node & 0x80 != 0 });
    }
    topology
}

fn why(which: bool) -> Reservation {
    if which { Reservation::PageTables } else { Reservation::PerCpu }
}

fuzz_target!(|input: Input| {
    let entries: Vec<FirmwareEntry> = input
        .entries
        .iter()
        .take(600)
        .map(|entry| {
            let range = range(entry.start, entry.length);
            let type_code = if entry.kind < 128 { 1 } else { u32::from(entry.kind % 9) };
            FirmwareEntry { base: range.start().get(), length: range.bytes(), type_code }
        })
        .collect();
    let mut model = model_of(&entries);
    let mut map = match MemoryMap::from_firmware(entries.iter().copied()) {
        Ok((map, findings)) => {
            findings.iter().for_each(|finding| assert!(!finding.to_string().is_empty()));
            map
        }
        Err(MemoryMapError::NoUsableRam { .. }) => {
            assert!(!model.ram.contains(&true) || entries.len() > MAX_REGIONS / 2);
            return;
        }
        Err(error) => {
            assert!(error == MemoryMapError::TooManyRegions && entries.len() > MAX_REGIONS / 2);
            return;
        }
    };
    if map.regions().len() == MAX_REGIONS {
        // Some RAM may have been left out; none may have been made up.
        for pfn in map.ram().flat_map(|ram| ram.whole_frames().iter().collect::<Vec<_>>()) {
            assert!(model.ram[pfn.get() as usize], "{pfn} is no RAM");
        }
        return;
    }
    model.agrees(&map);
    let topology = topology_of(&input.nodes);
    for step in input.steps.iter().take(64) {
        apply(step, &mut map, &mut model, &topology);
        model.agrees(&map);
    }
    check_plan(&input, &map, &model);
    check_pieces(&map, &model, &topology);
});

fn apply(step: &Step, map: &mut MemoryMap, model: &mut Model, topology: &Topology) {
    let before = model.clone();
    let full = |error: MemoryMapError| matches!(error, MemoryMapError::TooManyRegions | MemoryMapError::TooManyReservations { .. });
    match *step {
        Step::Reserve { start, length, why: which } => {
            let range = range(start, length);
            match map.reserve(range, why(which)) {
                Ok(()) if range.is_empty() => {}
                Ok(()) => model.reserve(touched(range)),
                Err(error) => assert!(full(error)),
            }
        }
        Step::Take { frames, align, ceiling, why: which } => {
            let (frames, align, ceiling) = (u64::from(frames % 40), 1 << (align % 10), u64::from(ceiling) % (FRAMES + 1));
            let got = BootFrames::below(map, PhysAddr::new(ceiling * PAGE)).take_run(frames, align, why(which));
            let fits = |start: &u64| (*start..start + frames).all(|frame| before.free(frame));
            let best = (0..(ceiling + 1).saturating_sub(frames)).rev().filter(|start| start % align == 0).find(fits);
            match got {
                Ok(run) => {
                    assert_eq!((Some(run.start().get()), run.frames()), (best, frames));
                    model.reserve(run.start().get()..run.end().get());
                }
                Err(error) => assert!(frames == 0 || best.is_none() || error.to_string().contains("no room")),
            }
        }
        Step::TakeNear { frames, node, ceiling } => {
            let (frames, ceiling) = (1 + u64::from(frames % 8), u64::from(ceiling) % (FRAMES + 1));
            let node = NodeId::new(usize::from(node) % 3).unwrap_or_default();
            let got = BootFrames::below(map, PhysAddr::new(ceiling * PAGE)).take_run_near(topology, node, frames, 1, Reservation::PerCpu);
            let memory = |frame: u64| topology.memory.iter().find(|memory| memory.range.contains(Pfn::new(frame).addr()));
            let is_own = |frame: u64| memory(frame).is_some_and(|memory| memory.node == node && !memory.hot_pluggable);
            let stays = |frame: u64| memory(frame).is_none_or(|memory| !memory.hot_pluggable);
            let Ok(run) = got else { return };
            let run = run.start().get()..run.end().get();
            assert!(run.clone().all(|frame| before.free(frame)) && run.end <= ceiling);
            // Where one free frame of the node's own memory would have done, it must be one.
            if frames == 1 && (0..ceiling).any(|frame| before.free(frame) && is_own(frame)) {
                assert!(is_own(run.start));
            } else if frames == 1 && (0..ceiling).any(|frame| before.free(frame) && stays(frame)) {
                assert!(stays(run.start));
            }
            model.reserve(run);
        }
        Step::Exclude { start, length } => {
            let range = range(start, length);
            match map.exclude(range) {
                Ok(is_news) if !range.is_empty() => {
                    let frames = touched(range);
                    let is_ram = frames.clone().any(|frame| model.ram[frame as usize]);
                    if frames.clone().any(|frame| model.taken[frame as usize]) {
                        assert!(!is_news);
                    } else {
                        assert!(is_news || !is_ram);
                        frames.for_each(|frame| model.ram[frame as usize] = false);
                    }
                }
                Ok(is_news) => assert!(!is_news),
                Err(error) => assert!(full(error)),
            }
        }
        Step::Include { start, length } => {
            let range = range(start, length);
            match map.include(range) {
                Ok(_) if !range.is_empty() => touched(range).for_each(|frame| model.ram[frame as usize] = true),
                Ok(is_news) => assert!(!is_news),
                Err(error) => assert!(full(error)),
            }
        }
        Step::Cap { limit, least } => {
            let (limit, least) = (u64::from(limit) % (FRAMES * 8) * PART, u64::from(least) * PAGE);
            let first = limit / PAGE;
            let left = (0..first).filter(|&frame| model.free(frame)).count() as u64 * PAGE;
            match map.cap(limit, least) {
                Ok(capped) => {
                    let above = |frame: &u64| *frame >= first && before.ram[*frame as usize];
                    let (kept, gone): (Vec<_>, Vec<_>) = (0..FRAMES).filter(above).partition(|&frame| before.taken[frame as usize]);
                    assert!(left >= least);
                    assert_eq!((capped.kept_bytes, capped.gone_bytes), (kept.len() as u64 * PAGE, gone.len() as u64 * PAGE));
                    gone.into_iter().for_each(|frame| model.ram[frame as usize] = false);
                }
                Err(MemoryMapError::CapTooLow { .. }) => assert!(left < least),
                Err(error) => assert!(full(error)),
            }
        }
    }
}

/// The direct map: each frame of RAM below the limit once, in the largest page that lies wholly in RAM of one kind.
fn check_plan(input: &Input, map: &MemoryMap, model: &Model) {
    let limit = input.limit.map_or(FRAMES, |limit| u64::from(limit) % FRAMES);
    let first = u64::from(input.read_only.0) % FRAMES;
    let read_only = first..(first + u64::from(input.read_only.1)).min(FRAMES);
    let list = [PhysRange::new(PhysAddr::new(read_only.start * PAGE), PhysAddr::new(read_only.end * PAGE)).unwrap_or_default()];
    let plan = Plan::new(&PlanRequest {
        base: address_range(Levels::Four).start(),
        levels: Levels::Four,
        ram: map.ram(),
        read_only: &list,
        largest: PageSize::Size1G,
        limit: input.limit.map(|_| PhysAddr::new(limit * PAGE)),
    });
    let is_mapped = |frame: &u64| *frame < limit && model.ram[*frame as usize];
    let mapped = (0..FRAMES).filter(is_mapped).count() as u64;
    let Ok(plan) = plan else {
        assert_eq!(mapped, 0);
        return;
    };
    assert_eq!(plan.mapped_bytes(), mapped * PAGE);
    let large = PageSize::Size2M.frames();
    let blocks = (0..FRAMES / large).filter(|block| {
        let frames = block * large..(block + 1) * large;
        let read_only = frames.clone().filter(|frame| read_only.contains(frame)).count() as u64;
        frames.clone().all(|frame| is_mapped(&frame)) && (read_only == 0 || read_only == large)
    });
    let blocks = blocks.count() as u64;
    assert_eq!((plan.pages().size_1g, plan.pages().size_2m), (0, blocks));
    assert_eq!(plan.pages().size_4k, mapped - blocks * large);
    let mut seen = vec![false; FRAMES as usize];
    for mapping in plan.mappings() {
        for pfn in mapping.phys.whole_frames().iter() {
            assert!(is_mapped(&pfn.get()) && !std::mem::replace(&mut seen[pfn.get() as usize], true));
        }
    }
}

/// RAM by nodes: every frame in one piece, of the node that the table names, and a layout that can be had.
fn check_pieces(map: &MemoryMap, model: &Model, topology: &Topology) {
    let pieces: Vec<_> = map.ram().flat_map(|ram| topology.pieces(ram)).collect();
    assert!(pieces.len() <= MAX_PIECES);
    let mut seen = vec![false; FRAMES as usize];
    for &(piece, node) in &pieces {
        for pfn in piece.whole_frames().iter() {
            assert_eq!(topology.node_of(pfn.addr()), node);
            assert!(!std::mem::replace(&mut seen[pfn.get() as usize], true));
        }
    }
    assert!(seen == model.ram);
    let memory: Vec<_> =
        pieces.iter().map(|&(piece, node)| MemoryRange { frames: piece.whole_frames(), node }).collect();
    match Layout::new(&memory, 1, Pfn::new(1 << 40)) {
        Ok(layout) => assert!(layout.storage_bytes() > 0),
        Err(error) => assert!(matches!(error, LayoutError::NoMemory) && memory.is_empty()),
    }
}
