//! Several CPUs fault and page out at once.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_frames::Zone;
use rhumb_pageable::PageError;

use crate::world::{MIB, Random, Which, as_cpu, in_world};

const PAGE: u64 = 4096;
const CPUS: usize = 4;

/// All CPUs read one area, whose pages they need at the same time, and write one of their own; one pages out besides.
/// There is less memory than all of it needs.
#[test]
fn cpus_fault_and_page_out_at_once() {
    in_world((CPUS, 4 * MIB), Which::Compressed, |world, pinned| {
        let mut shared = world.area(500);
        for page in 0..500u64 {
            world.write(&mut shared, page * PAGE, &page.to_le_bytes().repeat(40));
        }
        let area = shared;
        let (shared, stop) = (&area, &AtomicBool::new(false));
        let work = |cpu: usize| {
            let mut random = Random(cpu as u64 + 77);
            let may_fault = world.all.may_fault().unwrap();
            let mut own = world.area(250);
            let mut written = vec![0u64; 250];
            for step in 0..3000u64 {
                let page = random.below(500);
                let mut bytes = [0; 320];
                match shared.read(may_fault, page * PAGE, &mut bytes) {
                    Ok(()) => assert_eq!(bytes[..], page.to_le_bytes().repeat(40)[..], "CPU {cpu}"),
                    Err(PageError::NoFrame(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                let page = random.below(250);
                let mut bytes = [0; 8];
                if own.read(may_fault, page * PAGE + 8, &mut bytes).is_ok() {
                    assert_eq!(u64::from_le_bytes(bytes), written[page as usize], "CPU {cpu}");
                }
                if own.write(may_fault, page * PAGE + 8, &step.to_le_bytes()).is_ok() {
                    written[page as usize] = step;
                }
            }
            world.free(own);
        };
        std::thread::scope(|scope| {
            let others: Vec<_> =
                (1..CPUS - 1).map(|cpu| scope.spawn(move || as_cpu(world, cpu, |_| work(cpu)))).collect();
            let paging_out = scope.spawn(move || {
                as_cpu(world, CPUS - 1, |pinned| {
                    while !stop.load(Relaxed) {
                        world.all.evict(pinned, 8, Zone::High);
                        std::thread::yield_now();
                    }
                });
            });
            work(0);
            others.into_iter().for_each(|other| other.join().unwrap());
            stop.store(true, Relaxed);
            paging_out.join().unwrap();
        });
        let seen = world.all.report();
        assert!(seen.pswpin > 100, "{seen:?}");
        world.free(area);
        world.assert_empty(pinned);
    });
}
