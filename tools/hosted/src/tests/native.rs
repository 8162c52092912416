//! RAM whose mappings the host takes apart.

use std::io::ErrorKind;

use rhumb_machine::{PhysAddr, PhysRange};

use crate::native::{NativeAccess, NativeMap};

fn range(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

/// Protection of the mapping at `address`, as the host tells it.
fn protection(address: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let (end, rest) = rest.split_once(' ')?;
        let [start, end] = [start, end].map(|word| u64::from_str_radix(word, 16).unwrap());
        (start..end).contains(&address).then(|| rest[..4].to_owned())
    };
    maps.lines().find_map(of).unwrap()
}

#[test]
fn what_is_removed_is_gone_and_comes_back_as_it_was() {
    let map = NativeMap::new(8 << 20).unwrap();
    let word = |phys: u64| map.base().plus(phys).as_mut_ptr::<u64>();
    // SAFETY: the map is ours, and what is touched is mapped.
    unsafe {
        word(0x5000).write(5);
        word(0x6000).write(6);
        map.remove(range(0x5000, 0x1000)).unwrap();
        assert_eq!(protection(map.base().get() + 0x5000), "---p");
        assert_eq!(word(0x6000).read(), 6);
        map.restore(range(0x5000, 0x1000)).unwrap();
        assert_eq!(word(0x5000).read(), 5);
        map.protect(range(0x6000, 0x1000), NativeAccess::ReadOnly).unwrap();
        assert_eq!(protection(map.base().get() + 0x6000), "r--s");
        assert_eq!(protection(map.base().get() + 0x7000), "rw-s");
        map.protect(range(0x6000, 0x1000), NativeAccess::ReadWrite).unwrap();
        word(0x6000).write(7);
    }
}

#[test]
fn bad_ranges_are_refused() {
    let refused = |result: std::io::Result<()>| result.unwrap_err().kind() == ErrorKind::InvalidInput;
    assert!(NativeMap::new(0).is_err() && NativeMap::new(4097).is_err());
    let map = NativeMap::new(1 << 20).unwrap();
    for bad in [range(0, 0), range(1, 4096), range(0, 4097), range(1 << 20, 4096), range(0xff000, 0x2000)] {
        assert!(refused(map.restore(bad)), "{bad:?}");
        // SAFETY: refused, so nothing goes.
        assert!(refused(unsafe { map.remove(bad) }), "{bad:?}");
    }
}
