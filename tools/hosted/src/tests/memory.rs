//! Bad configurations by name, memory and its holes.

use proptest::prelude::*;

use rhumb_machine::{MAX_CPUS, Machine, PageSize, Pfn, PfnRange, PhysAddr, PhysRange};

use super::{GIB, MIB, node, range};
use crate::config::PHYS_LIMIT;
use crate::{Builder, ConfigError, HostedMachine, LargePages, Ram};

fn refused(builder: Builder) -> ConfigError {
    builder.build().err().unwrap()
}

#[test]
fn bad_configurations_are_named() {
    let builder = || HostedMachine::builder().cpus(1).ram_bytes(MIB);
    assert_eq!(refused(HostedMachine::builder().ram_bytes(MIB)), ConfigError::NoCpu);
    assert_eq!(refused(HostedMachine::builder().cpus(1)), ConfigError::NoRam);
    assert_eq!(refused(builder().cpus(MAX_CPUS)), ConfigError::TooManyCpus { asked: MAX_CPUS + 1 });
    let most = ConfigError::TooManyCpus { asked: usize::MAX };
    assert_eq!(refused(builder().cpus(usize::MAX)), most);
    assert_eq!(refused(builder().nodes(0)), ConfigError::BadNodeCount { asked: 0 });
    assert_eq!(refused(builder().nodes(65)), ConfigError::BadNodeCount { asked: 65 });
    let missing = ConfigError::NoSuchNode { node: node(2), nodes: 2 };
    assert_eq!(refused(builder().nodes(2).cpus_on(node(2), 1)), missing);
    assert_eq!(refused(builder().nodes(2).ram_on(node(2), range(GIB, 2 * GIB))), missing);
    let empty = range(GIB, GIB);
    assert_eq!(refused(builder().ram(empty)), ConfigError::EmptyRange { range: empty });
    for uneven in [range(GIB + 1, GIB + 4096), range(GIB, GIB + 4097)] {
        assert_eq!(refused(builder().ram(uneven)), ConfigError::UnalignedRange { range: uneven });
    }
    let high = range(PHYS_LIMIT.get() - 4096, PHYS_LIMIT.get() + 4096);
    assert_eq!(refused(builder().ram(high)), ConfigError::BeyondLimit { range: high });
    let whole = range(0, !4095);
    assert_eq!(
        refused(HostedMachine::builder().cpus(1).ram_bytes(!4095)),
        ConfigError::BeyondLimit { range: whole }
    );
    let (low, over) = (range(0, MIB), range(MIB - 4096, 2 * MIB));
    let error = refused(builder().nodes(2).ram_on(node(1), over));
    assert_eq!(
        error,
        ConfigError::Overlap {
            first: Ram { range: low, node: node(0) },
            second: Ram { range: over, node: node(1) }
        }
    );
    assert_eq!(
        error.to_string(),
        "RAM range [0xff000, 0x200000) of node 1 overlaps [0x0, 0x100000) of node 0"
    );
}

/// Returns how the host lets this process use `address`: `rw-p`, `---p`, or `None` where nothing is mapped.
fn permissions(address: u64) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        (hex(start)..hex(end)).contains(&address).then(|| fields.next().unwrap_or_default().to_owned())
    })
}

#[test]
fn ram_can_be_touched_and_holes_cannot() {
    let machine = HostedMachine::builder()
        .cpus(1)
        .nodes(2)
        .ram_on(node(1), range(4 * GIB, 6 * GIB))
        .ram(range(0, GIB))
        .build()
        .unwrap();
    assert!(machine.direct_map_base().is_aligned(PageSize::Size1G));
    assert_eq!(machine.ram().iter().map(|ram| ram.node).collect::<Vec<_>>(), [node(0), node(1)]);
    for (phys, expected) in [
        (0, "rw-p"),
        (GIB - 4096, "rw-p"),
        (GIB, "---p"),
        (4 * GIB - 1, "---p"),
        (4 * GIB, "rw-p"),
        (6 * GIB, "---p"),
    ] {
        let virt = machine.direct(PhysAddr::new(phys));
        assert_eq!(virt.since(machine.direct_map_base()), phys, "I1");
        assert_eq!(permissions(virt.get()).as_deref(), Some(expected), "{phys:#x}");
    }
    let last = machine.direct(PhysAddr::new(6 * GIB - 8)).as_mut_ptr::<u64>();
    // SAFETY: the last word of RAM, which no other code uses.
    let read = unsafe {
        last.write(7);
        last.read()
    };
    assert_eq!(read, 7);
}

#[test]
#[cfg_attr(rhumb_tsan, ignore = "ThreadSanitizer has a place for no more than a few TiB")]
fn dropping_a_machine_unmaps_it() {
    // Each of them takes nearly half of the process's 128 TiB: without unmapping, the third does not fit.
    for _ in 0..4 {
        let machine = HostedMachine::builder().cpus(1).ram(range(50 << 40, 60 << 40)).build();
        assert_eq!(machine.err(), None);
    }
}

#[test]
fn untouched_memory_is_free() {
    let machine = HostedMachine::builder()
        .cpus(1)
        .ram(range(0, 1 << 40))
        .large_pages(LargePages::Never)
        .build()
        .unwrap();
    let window = PfnRange::of_length(Pfn::new(1 << 27), 10_000).unwrap();
    assert_eq!(machine.resident_frames(window).unwrap(), 0);
    for frame in [0, 4_095, 4_096, 9_999] {
        let word = machine.direct(Pfn::new((1 << 27) + frame).addr()).as_mut_ptr::<u64>();
        // SAFETY: RAM that no other code uses.
        unsafe { word.write(1) };
    }
    assert_eq!(machine.resident_frames(window).unwrap(), 4);
    let half = PhysRange::of_length(Pfn::new(1 << 27).addr(), 4096 * 4096).unwrap();
    // SAFETY: no code relies on the two words written above.
    unsafe { machine.discard(half) }.unwrap();
    assert_eq!(machine.resident_frames(window).unwrap(), 2);
    machine.populate(half).unwrap();
    assert_eq!(machine.resident_frames(window).unwrap(), 4_096 + 2);
    let past_the_end = machine.populate(range(0, (1 << 40) + 4096)).unwrap_err();
    assert_eq!(past_the_end.kind(), std::io::ErrorKind::InvalidInput);
    for end in [(1 << 28) + 1, 1 << 60, u64::MAX] {
        let past_the_end = PfnRange::new(Pfn::new(0), Pfn::new(end)).unwrap();
        let refused = machine.resident_frames(past_the_end).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput, "{end:#x}");
    }
    // SAFETY: it is refused.
    let past_the_end = unsafe { machine.discard(range(0, (1 << 40) + 4096)) };
    assert_eq!(past_the_end.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A memory map is taken if, and only if, no frame is in two ranges; then `ram` tells it back, sorted.
    #[test]
    fn memory_maps_are_taken_whole_or_not_at_all(
        ranges in proptest::collection::vec((0u64..64, 1u64..12, 0usize..3), 1..8)
    ) {
        let mut builder = HostedMachine::builder().cpus(1).nodes(3);
        let mut owner = [0u32; 80];
        for &(start, length, which) in &ranges {
            builder = builder.ram_on(node(which), range(start << 12, (start + length) << 12));
            (start..start + length).for_each(|frame| owner[frame as usize] += 1);
        }
        match builder.build() {
            Ok(machine) => {
                prop_assert!(owner.iter().all(|&owners| owners <= 1));
                prop_assert!(machine.ram().is_sorted_by_key(|ram| ram.range.start()));
                prop_assert_eq!(machine.ram().len(), ranges.len());
            }
            Err(ConfigError::Overlap { first, second }) => {
                prop_assert!(first.range.overlaps(second.range));
                prop_assert!(owner.iter().any(|&owners| owners > 1));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
