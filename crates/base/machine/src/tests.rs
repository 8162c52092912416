//! The arithmetic that everything above relies on, against plain integers.

extern crate std;

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

use super::testing::{TestMachine, irqs, set_irqs};
use super::*;

#[test]
fn page_sizes_agree_with_orders_and_levels() {
    for size in PageSize::DESCENDING {
        assert_eq!(size.bytes(), size.order().bytes());
        assert_eq!(size.frames(), size.order().frames());
        assert_eq!(PageSize::from_level(size.level()), Some(size));
    }
    assert_eq!(PageSize::from_level(4), None);
    assert_eq!(Order::new(18), Some(Order::HUGE));
    assert_eq!(Order::new(19), None);
    assert_eq!(Order::all().len(), Order::COUNT);
}

#[test]
fn canonical_addresses() {
    for (value, bits, canonical) in [
        (0x0000_7fff_ffff_ffff, 48, true),
        (0x0000_8000_0000_0000, 48, false),
        (0xffff_8000_0000_0000, 48, true),
        (0xffff_7fff_ffff_ffff, 48, false),
        (0xff00_0000_0000_0000, 57, true),
        (0x00ff_ffff_ffff_ffff, 57, true),
        (0x0100_0000_0000_0000, 57, false),
    ] {
        assert_eq!(VirtAddr::new(value).is_canonical(bits), canonical, "{value:#x} in {bits} bits");
    }
}

#[test]
fn ids_stop_at_their_limits() {
    assert_eq!(CpuId::new(MAX_CPUS), None);
    assert_eq!(CpuId::new(MAX_CPUS - 1).map(CpuId::index), Some(MAX_CPUS - 1));
    assert_eq!(NodeId::new(MAX_NODES), None);
    assert_eq!(CpuMask::first(MAX_CPUS + 5).len(), MAX_CPUS);
    assert_eq!(CpuMask::from_words([!0; MAX_CPUS / 64]), CpuMask::first(MAX_CPUS));
    assert_eq!(CpuMask::from_words([!0; MAX_CPUS / 64 + 1]), CpuMask::first(MAX_CPUS), "past the last CPU");
    assert_eq!(CpuMask::from_words([0, 0b10]), CpuMask::only(CpuId::new(65).unwrap()));
}

#[test]
fn the_first_cpus_are_those() {
    for count in [0, 1, 2, 63, 64, 65, 127, 128, 200, MAX_CPUS - 1, MAX_CPUS, MAX_CPUS + 1, usize::MAX] {
        let first = CpuMask::first(count);
        assert_eq!(first, (0..count.min(MAX_CPUS)).map_while(CpuId::new).collect(), "{count}");
        assert_eq!(first.len(), count.min(MAX_CPUS));
    }
}

proptest! {
    #[test]
    fn alignment_is_the_nearest_multiple(value in 0u64..=u64::MAX, which in 0usize..3) {
        let size = PageSize::DESCENDING[which];
        let addr = PhysAddr::new(value);
        let down = addr.align_down(size);
        prop_assert!(down.is_aligned(size) && down <= addr && addr.since(down) < size.bytes());
        prop_assert_eq!(addr.since(down), addr.offset_in(size));
        match addr.checked_align_up(size) {
            Some(up) => prop_assert!(up.is_aligned(size) && up >= addr && up.since(addr) < size.bytes()),
            None => prop_assert!(value > u64::MAX - (size.bytes() - 1)),
        }
    }

    #[test]
    fn ranges_are_sets(a in 0u64..64, b in 0u64..64, c in 0u64..64, d in 0u64..64) {
        let range = |x: u64, y: u64| PfnRange::new(Pfn::new(x.min(y)), Pfn::new(x.max(y))).unwrap();
        let (one, two) = (range(a, b), range(c, d));
        let set = |r: PfnRange| r.iter().map(Pfn::get).collect::<Vec<_>>();
        let shared: Vec<u64> = set(one).into_iter().filter(|&x| two.contains(Pfn::new(x))).collect();
        prop_assert_eq!(set(one.intersection(two)), shared.clone());
        prop_assert_eq!(one.overlaps(two), !shared.is_empty());
        prop_assert_eq!(one.covers(two), set(two).iter().all(|&x| one.contains(Pfn::new(x))));
        prop_assert_eq!(PfnRange::new(Pfn::new(a), Pfn::new(b)).is_none(), b < a);
    }

    #[test]
    fn rounding_a_range(start in 0u64..1 << 40, length in 0u64..1 << 33, which in 0usize..3) {
        let size = PageSize::DESCENDING[which];
        let range = PhysRange::of_length(PhysAddr::new(start), length).unwrap();
        let (inner, outer) = (range.align_inward(size), range.align_outward(size).unwrap());
        prop_assert!(inner.is_aligned(size) && outer.is_aligned(size));
        prop_assert!(outer.covers(range) && range.covers(inner));
        prop_assert!(range.bytes() - inner.bytes() < 2 * size.bytes() || inner.is_empty());
    }

    #[test]
    fn holding_is_the_least_order(frames in 0u64..=1 << 19) {
        match Order::holding(frames) {
            Some(order) => {
                prop_assert!(order.frames() >= frames);
                prop_assert!(order == Order::BASE || order.frames() / 2 < frames);
            }
            None => prop_assert!(frames == 0 || frames > Order::HUGE.frames()),
        }
    }

    #[test]
    fn masks_are_sets(one in set_of_cpus(), other in set_of_cpus(), taken in 0usize..MAX_CPUS) {
        let mask_of = |cpus: &BTreeSet<usize>| -> CpuMask { cpus.iter().map(|&cpu| CpuId::new(cpu).unwrap()).collect() };
        let (mine, others) = (mask_of(&one), mask_of(&other));
        prop_assert_eq!(mine.iter().map(CpuId::index).collect::<BTreeSet<_>>(), one.clone());
        prop_assert!(mine.iter().is_sorted());
        prop_assert_eq!((mine.len(), mine.is_empty()), (one.len(), one.is_empty()));
        prop_assert_eq!(mine == others, one == other);
        prop_assert_eq!(mine.and(&others), mask_of(&(&one & &other)));
        prop_assert_eq!(mine.minus(&others), mask_of(&(&one - &other)));
        prop_assert_eq!(CpuMask::from_words(mine.words().iter().copied()), mine);
        for cpu in one.iter().copied().chain([taken]) {
            let (id, mut fewer) = (CpuId::new(cpu).unwrap(), one.clone());
            prop_assert_eq!(mine.contains(id), fewer.remove(&cpu));
            prop_assert_eq!(mine.without(id), mask_of(&fewer));
        }
    }
}

/// Sets whose highest CPUs lie in different words.
fn set_of_cpus() -> impl Strategy<Value = BTreeSet<usize>> {
    (1..=MAX_CPUS).prop_flat_map(|end| proptest::collection::btree_set(0..end, 0..40))
}

/// The words that a set takes, and so the cost of all that is done with it, follow from its highest CPU alone.
#[test]
fn a_mask_has_the_words_of_its_cpus() {
    let words = |mask: CpuMask| mask.words().len();
    for (cpus, expected) in [(0, 0), (1, 1), (8, 1), (64, 1), (65, 2), (256, 4), (MAX_CPUS, MAX_CPUS / 64)] {
        let first = CpuMask::first(cpus);
        assert_eq!(words(first), expected, "{cpus}");
        assert_eq!(words(first.and(&CpuMask::first(MAX_CPUS))), expected, "{cpus}");
        assert_eq!(words(CpuMask::first(MAX_CPUS).and(&first)), expected, "{cpus}");
        assert_eq!(words(first.minus(&CpuMask::first(MAX_CPUS))), expected, "{cpus}");
        assert_eq!(words(first.without(CpuId::BOOT)), expected, "{cpus}");
    }
}

/// A set names CPUs alone, by numbers below [`MAX_CPUS`], even of words that are more than CPUs have.
#[test]
fn words_past_the_last_cpu_are_no_cpus() {
    // The first bit past the last CPU's, and the first of which the number wraps to the boot CPU's.
    for past in [MAX_CPUS, 1 << u16::BITS] {
        let mut words = std::vec![0; past / 64 + 1];
        words[past / 64] = 1;
        let set = CpuSet::of(&words);
        assert_eq!(set.iter().collect::<Vec<_>>(), [], "{past}");
        assert_eq!((set.len(), set.is_empty(), set), (0, true, &*CpuMask::EMPTY));
        assert_eq!((set.to_mask(), set.minus(&CpuMask::EMPTY)), (CpuMask::EMPTY, CpuMask::EMPTY));
        assert_eq!(CpuSet::of_mut(&mut words).take_out(|cpu| panic!("CPU {cpu}")), 0);
    }
}

#[test]
fn numbers_that_are_no_frames_make_no_range_that_wraps() {
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end)).unwrap().addrs();
    let last = u64::MAX >> 12;
    for (start, end) in [(last - 1, last + 1), (1 << 60, u64::MAX), (0, u64::MAX)] {
        assert!(range(start, end).start() <= range(start, end).end(), "{start:#x}..{end:#x}");
    }
    assert_eq!(range(last - 1, u64::MAX).bytes(), 4096);
}

#[test]
fn lengths_that_wrap_are_refused() {
    assert!(PhysRange::of_length(PhysAddr::new(u64::MAX), 2).is_none());
    let top = VirtRange::new(VirtAddr::new(u64::MAX - 10), VirtAddr::new(u64::MAX)).unwrap();
    assert!(top.align_outward(PageSize::Size4K).is_none());
    assert!(top.align_inward(PageSize::Size1G).is_empty());
}

/// Does not compile where the type implements the trait: both blanket implementations apply then.
macro_rules! assert_is_not {
    ($type:ty, $($auto:ident),+) => {$(
        const _: fn() = || {
            trait Either<Which> {
                fn holds() {}
            }
            struct Auto;
            impl<T: ?Sized> Either<()> for T {}
            impl<T: ?Sized + $auto> Either<Auto> for T {}
            let _ = <$type as Either<_>>::holds;
        };
    )+};
}

assert_is_not!(Pinned<'static>, Send, Sync);
assert_is_not!(IrqOff<'static>, Send, Sync);
assert_is_not!(PinGuard<'static, TestMachine>, Send, Sync);
assert_is_not!(IrqGuard<'static, TestMachine>, Send, Sync);

proptest! {
    /// Guards made and dropped in any order: interrupts are off exactly while one lives.
    #[test]
    fn interrupts_are_off_while_a_guard_lives(steps in proptest::collection::vec(0usize..8, 0..60), begins_off: bool) {
        let (machine, before) = (TestMachine::new(1, 1), if begins_off { IrqState::Off } else { IrqState::On });
        set_irqs(before);
        let mut guards = Vec::new();
        for step in steps {
            if step < 4 || guards.is_empty() {
                guards.push(machine.irq_off());
            } else {
                drop(guards.swap_remove(step % guards.len()));
            }
            let state = if guards.is_empty() { before } else { IrqState::Off };
            prop_assert_eq!(irqs(), (state, guards.len() as u64));
        }
        drop(guards);
        prop_assert_eq!(irqs(), (before, 0));
    }
}

#[test]
fn a_forgotten_guard_keeps_interrupts_off() {
    let machine = TestMachine::new(1, 1);
    set_irqs(IrqState::On);
    let outer = machine.irq_off();
    core::mem::forget(machine.irq_off());
    drop(outer);
    assert_eq!(irqs(), (IrqState::Off, 1));
    assert_eq!(IrqDepth::NONE.leave(), (IrqDepth::NONE, IrqState::Off));
}

#[test]
#[should_panic(expected = "token of another machine")]
fn a_token_of_another_machine_is_refused() {
    let [one, other] = [1, 2].map(|identity| TestMachine { identity, ..TestMachine::new(1, 1) });
    assert_eq!(<&TestMachine as Machine>::cpu_of(&&one, one.pin().pinned()), CpuId::BOOT);
    other.cpu_of(one.pin().pinned());
}
