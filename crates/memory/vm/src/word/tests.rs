//! Words: what is put in comes out, and CPUs see what they should.

use std::vec::Vec;

use rhumb_machine::{PageSize, Pfn};
use rhumb_pagetable::{Attributes, CacheMode, Entry, bits};

use super::{DeviceCache, Inherit, Marks, Protection, Slot, State, Use, Word};

const PROTECTIONS: [Protection; 4] =
    [Protection::Nothing, Protection::Read, Protection::ReadWrite, Protection::ReadExecute];

const CACHES: [CacheMode; 6] = [
    CacheMode::WriteBack,
    CacheMode::WriteThrough,
    CacheMode::Uncached,
    CacheMode::UncachedStrong,
    CacheMode::WriteCombining,
    CacheMode::WriteProtected,
];

fn all_marks() -> Vec<Marks> {
    let mut all = Vec::new();
    for protection in PROTECTIONS {
        for inherit in [Inherit::Copy, Inherit::Nothing, Inherit::Share] {
            let marks = Marks::new(protection, inherit);
            all.extend([marks, marks.shared(), marks.object(), marks.wired()]);
            all.extend(CACHES.into_iter().filter_map(DeviceCache::of).map(|cache| marks.device(cache)));
        }
    }
    all
}

#[test]
fn states_come_back() {
    assert_eq!(Word(Entry::EMPTY).state(PageSize::Size4K), State::Empty);
    for marks in all_marks() {
        assert_eq!(Word::fresh(marks).state(PageSize::Size4K), State::Fresh(marks));
        for number in [0, 1, 0x1234, (1 << 40) - 1] {
            let pfn = Pfn::new(number);
            for index in [0, 1, 31, 32, 77, 511] {
                let slot = Slot { sheet: pfn, index };
                assert_eq!(Slot::of_bits(slot.bits()), slot);
                let word = Word::named(slot, marks.exclusive());
                assert!(!word.0.is_present());
                assert_eq!(word.state(PageSize::Size4K), State::Named(slot, marks.exclusive().object()));
            }
            assert_eq!(Word::busy(pfn, marks).state(PageSize::Size4K), State::Busy(marks));
            for attributes in [Attributes::user, Attributes::kernel] {
                let word = Word::mapped(pfn, PageSize::Size4K, marks, attributes);
                assert_eq!(word.state(PageSize::Size4K), State::Mapped(pfn, marks));
                assert_eq!(word.0.is_present(), marks.protection() != Protection::Nothing);
            }
        }
    }
}

#[test]
fn i4_a_cpu_may_do_what_the_marks_say_and_writes_no_shared_frame() {
    for marks in all_marks() {
        let word = Word::mapped(Pfn::new(77), PageSize::Size4K, marks, Attributes::user);
        if !word.0.is_present() {
            continue;
        }
        let permissions = word.0.permissions();
        assert!(permissions.user && permissions.access().is_some());
        assert_eq!(permissions.executable, marks.protection().allows(Use::Execute));
        assert_eq!(permissions.writable, marks.protection().allows(Use::Write) && !marks.is_shared());
        // The CPU never writes into a table by itself.
        assert_ne!(word.0.bits() & bits::ACCESSED, 0);
        assert_eq!(word.0.bits() & bits::DIRTY != 0, permissions.writable);
    }
}

/// The address in a word that is absent names no memory of a CPU that reads there on speculation.
#[test]
fn absent_words_name_no_memory() {
    for marks in all_marks() {
        let words = [
            Word::fresh(marks),
            Word::busy(Pfn::new(0x12_3456), marks),
            Word::named(Slot { sheet: Pfn::new(0x12_3456), index: 300 }, marks),
            Word::mapped(
                Pfn::new(5),
                PageSize::Size4K,
                marks.with_protection(Protection::Nothing),
                Attributes::user,
            ),
        ];
        for word in words {
            assert!(!word.0.is_present() && !word.is_empty());
            assert!((word.0.bits() & bits::ADDRESS) >> 46 == 0x3f, "{word:?}");
        }
    }
}

#[test]
fn protections_are_ordered_by_what_they_allow() {
    let uses = [Use::Read, Use::Write, Use::Execute];
    for one in PROTECTIONS {
        for other in PROTECTIONS {
            let is_within = uses.iter().all(|&wanted| !one.allows(wanted) || other.allows(wanted));
            assert_eq!(one.is_within(other), is_within, "{one} in {other}");
        }
    }
}

#[test]
fn marks_change_one_at_a_time() {
    for marks in all_marks() {
        for protection in PROTECTIONS {
            let changed = marks.with_protection(protection);
            assert_eq!(changed.protection(), protection);
            assert_eq!((changed.inherit(), changed.is_shared()), (marks.inherit(), marks.is_shared()));
        }
        let changed = marks.with_inherit(Inherit::Nothing);
        assert_eq!((changed.inherit(), changed.protection()), (Inherit::Nothing, marks.protection()));
        assert_eq!(marks.shared().exclusive(), marks.exclusive());
    }
}
