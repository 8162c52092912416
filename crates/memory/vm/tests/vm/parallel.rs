//! Several CPUs at once in one map.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_machine::VirtAddr;
use rhumb_vm::{Allocation, FaultError, Limits, Map, Protection, Use};

use crate::world::{Ground, KINDS, Kind, MIB, PAGE, Random, TestMap, on_ground, range};

const CPUS: usize = 4;

/// Runs `work` as each CPU at once. The caller is CPU 0.
fn on_all<'scope>(ground: &'static Ground, work: &(dyn Fn(usize) + Sync + 'scope)) {
    std::thread::scope(|scope| {
        for cpu in 1..CPUS {
            scope.spawn(move || ground.as_cpu(cpu, |_| work(cpu)));
        }
        work(0);
    });
}

/// All CPUs use the same pages for the first time: each page gets one frame, and no write is lost.
#[test]
fn cpus_fault_on_the_same_pages() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let area = map.allocate(&Allocation::pages(1500)).unwrap();
            on_all(ground, &|cpu| {
                let tree = &map.space().0;
                for page in 0..1500 {
                    let at = area.start().plus(page * PAGE + 8 * cpu as u64);
                    let place = tree.touch(&map, cpu, at, Use::Write).unwrap();
                    assert_eq!(tree.word(place).fetch_add(page + 1, Relaxed), 0);
                }
            });
            for page in 0..1500 {
                for cpu in 0..CPUS {
                    let at = area.start().plus(page * PAGE + 8 * cpu as u64);
                    assert_eq!(map.space().0.read(&map, 0, at), Ok(page + 1));
                }
            }
            assert_eq!(map.usage().resident_pages, 1500);
            map.space().0.assert_no_stale();
        });
    }
}

/// Each CPU allocates, uses, protects and unmaps areas of its own, at addresses that the map chooses; they are its own.
#[test]
fn cpus_change_one_map_at_once() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            on_all(ground, &|cpu| churn(&map, cpu, 120));
            assert_eq!((map.usage().address_pages, map.usage().resident_pages), (0, 0));
            map.space().0.assert_no_stale();
        });
    }
}

fn churn(map: &TestMap, cpu: usize, rounds: u64) {
    let tree = &map.space().0;
    let mut random = Random(cpu as u64 * 77 + 1);
    for round in 0..rounds {
        let pages = 1 + random.below(if round % 16 == 0 { 1200 } else { 20 });
        let area = map.allocate(&Allocation::pages(pages)).unwrap();
        for _ in 0..8 {
            let at = area.start().plus(random.below(pages) * PAGE);
            let before = tree.read(map, cpu, at).unwrap();
            assert!(before == 0 || before == cpu as u64 + 1, "CPU {cpu} sees {before} at {at}");
            tree.write(map, cpu, at, cpu as u64 + 1).unwrap();
        }
        if round % 3 == 0 {
            map.protect(area, Protection::Read).unwrap();
            let at = area.start().plus(random.below(pages) * PAGE);
            assert!(matches!(tree.write(map, cpu, at, 9), Err(FaultError::Denied(..))));
        }
        map.unmap(area).unwrap();
    }
}

/// CPUs use memory that another one unmaps and allocates again and again: each use finds a page or an error, and no CPU
/// reaches a frame that is free.
#[test]
fn i6_faults_meet_unmaps() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let area = range(kind.seam(), 1100);
            let (is_over, used) = (AtomicBool::new(false), AtomicU64::new(0));
            on_all(ground, &|cpu| {
                let tree = &map.space().0;
                let mut random = Random(cpu as u64 + 5);
                if cpu == 0 {
                    for _ in 0..50 {
                        map.allocate(&Allocation::pages(1100).at(area.start())).unwrap();
                        std::thread::yield_now();
                        map.protect(area, Protection::Read).unwrap();
                        // In parts, one of which is a whole table.
                        map.unmap(range(area.start(), 3)).unwrap();
                        map.unmap(area).unwrap();
                    }
                    is_over.store(true, Relaxed);
                }
                while !is_over.load(Relaxed) {
                    let at = area.start().plus(random.below(1100) * PAGE);
                    match tree.touch(&map, cpu, at, if cpu == 1 { Use::Read } else { Use::Write }) {
                        Ok(_) => drop(used.fetch_add(1, Relaxed)),
                        Err(FaultError::NotAllocated(_) | FaultError::Denied(..)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            assert_eq!((map.usage().address_pages, map.usage().resident_pages), (0, 0));
            tree_is_clean(&map);
        });
    }
}

/// CPUs write ever larger numbers while another forks and copies: no write is lost, and a fork or a copy has each page
/// as it was at some time between its beginning and its end.
#[test]
fn writes_meet_forks_and_copies() {
    const OWN: u64 = 40;
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let pages = OWN * (CPUS as u64 - 1);
            let area = map.allocate(&Allocation::pages(pages).at(kind.seam().plus(500 * PAGE))).unwrap();
            let at = |page: u64| area.start().plus(page * PAGE);
            let written: Vec<AtomicU64> = (0..pages).map(|_| AtomicU64::new(0)).collect();
            let is_over = AtomicBool::new(false);
            on_all(ground, &|cpu| {
                let tree = &map.space().0;
                if cpu > 0 {
                    let mut random = Random(cpu as u64 + 9);
                    while !is_over.load(Relaxed) {
                        let page = (cpu as u64 - 1) * OWN + random.below(OWN);
                        let before = written[page as usize].load(Relaxed);
                        assert_eq!(tree.read(&map, cpu, at(page)), Ok(before), "CPU {cpu} has lost a write");
                        tree.write(&map, cpu, at(page), before + 1).unwrap();
                        written[page as usize].store(before + 1, Relaxed);
                    }
                    return;
                }
                let now = || written.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>();
                let check = |earliest: Vec<u64>, other: &TestMap, start: VirtAddr| {
                    let latest = now();
                    for page in 0..pages {
                        let seen = other.space().0.read(other, 0, start.plus(page * PAGE)).unwrap();
                        let (least, most) = (earliest[page as usize], latest[page as usize] + 1);
                        assert!((least..=most).contains(&seen), "{seen} is not in {least}..={most}");
                    }
                };
                for round in 0..40 {
                    let earliest = now();
                    if round % 2 == 0 {
                        let child = map.fork(ground.space(kind), Limits::default()).unwrap();
                        check(earliest, &child, area.start());
                        child.space().0.write(&child, 0, area.start(), u64::MAX).unwrap();
                        child.space().0.assert_no_stale();
                    } else {
                        let (copy, other) = (map.copy(area).unwrap(), ground.map(kind));
                        let there = other.put(&Allocation::pages(0), copy).unwrap();
                        check(earliest, &other, there.start());
                    }
                }
                is_over.store(true, Relaxed);
            });
            tree_is_clean(&map);
        });
    }
}

#[track_caller]
fn tree_is_clean(map: &TestMap) {
    map.space().0.assert_no_stale();
}

/// Two CPUs unmap overlapping ranges: each page is free once.
#[test]
fn unmaps_overlap() {
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        for round in 0..30 {
            let area =
                map.allocate(&Allocation::pages(1024).at(range(Kind::Task.seam(), 1).start())).unwrap();
            for page in (0..1024).step_by(7) {
                map.fault(area.start().plus(page * PAGE), Use::Write).unwrap();
            }
            let removed = AtomicU64::new(0);
            on_all(ground, &|cpu| {
                let first = (cpu as u64 * 97 + round * 31) % 600;
                removed.fetch_add(map.unmap(range(area.start().plus(first * PAGE), 424)).unwrap(), Relaxed);
            });
            removed.fetch_add(map.unmap(area).unwrap(), Relaxed);
            assert_eq!(removed.load(Relaxed), 1024);
        }
        tree_is_clean(&map);
    });
}

/// Memory runs out while all CPUs fault; and a limit is exact whichever CPU reaches it.
#[test]
fn cpus_reach_a_limit_together() {
    on_ground(|ground| {
        let limits = Limits { resident_pages: Some(700), ..Limits::default() };
        let map = Map::new(ground.space(Kind::Task), limits).unwrap();
        let area = map.allocate(&Allocation::pages(64 * MIB / PAGE)).unwrap();
        let granted = AtomicU64::new(0);
        on_all(ground, &|cpu| {
            for page in 0..400u64 {
                let at = area.start().plus((page * 37 * CPUS as u64 + cpu as u64) % 16384 * PAGE);
                match map.fault(at, Use::Write) {
                    Ok(_) => drop(granted.fetch_add(1, Relaxed)),
                    Err(FaultError::Limit(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert!(map.usage().resident_pages <= 700);
        // Credit that stripes keep for later is given to the one that needs it.
        let mut page = 0;
        while map.usage().resident_pages < 700 {
            assert!(map.fault(area.start().plus(page * PAGE), Use::Write).is_ok());
            page += 1;
        }
        while map.fault(area.start().plus(page * PAGE), Use::Write).is_ok() {
            page += 1;
        }
        assert_eq!(map.usage().resident_pages, 700);
    });
}

/// CPUs use as many pages as the limit allows, each its own, with what stripes keep from before: no fault is refused.
#[test]
fn a_limit_that_is_not_passed_refuses_no_fault() {
    on_ground(|ground| {
        let share = 7;
        for round in 0..300u64 {
            let map = ground.map(Kind::Task);
            let start = map.range().start();
            let at = |cpu: u64, page: u64| start.plus(((cpu * share + page) * 2 + round % 2) * MIB);
            for cpu in 0..CPUS as u64 {
                for page in 0..share {
                    map.allocate(&Allocation::pages(1).at(at(cpu, page))).unwrap();
                }
                map.fault(at(cpu, 0), Use::Write).unwrap();
            }
            let all = CPUS as u64 * share;
            map.set_limits(Limits { resident_pages: Some(all), ..Limits::default() });
            on_all(ground, &|cpu| {
                for page in 1..share {
                    assert!(map.fault(at(cpu as u64, page), Use::Write).is_ok(), "{all} pages are allowed");
                }
            });
            assert_eq!(map.usage().resident_pages, all);
        }
    });
}
