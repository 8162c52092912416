//! CPUs that make areas and give them back at the same time, also those of others, with interrupts whose handlers do the
//! same.

use std::sync::Mutex;

use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::{Area, AreaRequest, FlushPolicy};
use rhumb_machine::{CpuId, Machine, Pinned};

use crate::world::{MIB, Random, World, as_cpu_0};

fn run(policy: FlushPolicy) {
    const CPUS: usize = 4;
    let world = World::new(CPUS, 128 * MIB, MmuConfig::new(7));
    as_cpu_0(world, |pinned| {
        world.map.set_policy(pinned, policy);
        world.map.set_most_waiting(600);
    });
    let shared: Mutex<Vec<Area>> = Mutex::default();
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let shared = &shared;
            scope.spawn(move || {
                let id = CpuId::new(cpu).unwrap();
                world.ground.machine.enter(id, |_| work(world, id, shared)).unwrap();
            });
        }
    });
    as_cpu_0(world, |pinned| {
        for area in shared.into_inner().unwrap() {
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

fn work(world: &'static World, cpu: CpuId, shared: &Mutex<Vec<Area>>) {
    let mut random = Random(cpu.index() as u64 + 99);
    for _ in 0..400 {
        let pages = if random.below(20) == 0 { 512 + random.below(600) } else { 1 + random.below(30) };
        let guard = world.ground.machine.pin();
        if let Ok(area) = world.map.alloc(guard.pinned(), AreaRequest::new(pages)) {
            let page = random.below(pages);
            world.touch(cpu.index(), area.start().plus(page * 4096), Use::Write);
            let others = {
                let mut shared = shared.lock().unwrap();
                shared.push(area);
                let at = random.below(shared.len() as u64) as usize;
                (shared.len() > 12).then(|| shared.swap_remove(at))
            };
            if let Some(area) = others {
                world.touch(cpu.index(), area.start(), Use::Read);
                world.map.free(guard.pinned(), area).unwrap();
            }
        }
    }
}

#[test]
fn eager() {
    run(FlushPolicy::Eager);
}

#[test]
fn batched() {
    run(FlushPolicy::Batched);
}

#[test]
fn lazy() {
    run(FlushPolicy::Lazy);
}

fn as_cpu(world: &'static World, cpu: usize, body: impl FnOnce(Pinned<'_>) + Send) {
    let run = || {
        world.ground.machine.enter(CpuId::new(cpu).unwrap(), |_| body(world.ground.machine.pin().pinned()))
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap().unwrap());
}

/// A CPU that makes no area any more, and only ticks, keeps no address that another CPU could have.
#[test]
fn addresses_of_an_idle_cpu_come_back() {
    let world = World::new(2, 32 * MIB, MmuConfig::plain(2));
    let kept = || world.map.report().kept_bytes;
    let trim = |pinned: Pinned<'_>| {
        world.map.trim(pinned);
        world.map.trim(pinned);
    };
    as_cpu(world, 1, |pinned| {
        let areas: Vec<_> = (0..40).map(|_| world.map.alloc(pinned, AreaRequest::new(3)).unwrap()).collect();
        areas.into_iter().for_each(|area| world.map.free(pinned, area).unwrap());
        world.map.reclaim(pinned);
        world.map.tick(pinned);
        assert!(kept() > 0, "no CPU asked for them");
    });
    as_cpu(world, 0, trim);
    as_cpu(world, 1, |pinned| {
        assert!(kept() > 0, "only the CPU itself touches what it keeps");
        world.map.tick(pinned);
        assert_eq!(kept(), 0);
    });
    as_cpu(world, 0, |pinned| world.assert_empty(pinned));
}
