//! Model checking: loom on what two CPUs share without a lock, shuttle on the whole.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p rhumb-frames --lib --release`, and the same with `--cfg shuttle`.

#[cfg(loom)]
mod small {
    use loom::sync::Arc;
    use rhumb_sync::atomic::Relaxed;

    /// Two CPUs fill in a block's descriptors: they are cleared once, and before either writes.
    #[test]
    fn descriptors_are_cleared_once_and_first() {
        use crate::pool::described::Described;
        use rhumb_sync::atomic::AtomicU32;
        loom::model(|| {
            let shared = Arc::new((Described::default(), [AtomicU32::new(7), AtomicU32::new(7)]));
            let write = |shared: &(Described, [AtomicU32; 2]), mine: usize| {
                shared.0.fill(|| shared.1.iter().for_each(|word| word.store(0, Relaxed)));
                assert!(shared.0.is_filled());
                assert_eq!(shared.1[mine].load(Relaxed), 0, "stale");
                shared.1[mine].store(mine as u32 + 1, Relaxed);
            };
            let other = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || write(&shared, 1))
            };
            write(&shared, 0);
            other.join().unwrap();
            assert_eq!([0, 1].map(|at| shared.1[at].load(Relaxed)), [1, 2]);
        });
    }
}

#[cfg(shuttle)]
mod whole {
    use std::sync::Arc;
    use std::vec::Vec;

    use rhumb_machine::testing::TestMachine;
    use rhumb_machine::{CpuId, NodeId, Order, Pfn, PfnRange, Pinned};

    use crate::{Frame, Frames, Layout, MemoryRange, Mobility, Request, Zone};

    const CPUS: usize = 3;
    const BASE: u64 = 1 << 20;
    const FRAMES: u64 = 2 * 512 + 40;

    shuttle::thread_local! {
        static CPU: core::cell::Cell<usize> = core::cell::Cell::new(0);
    }

    fn pinned(cpu: usize) -> Pinned<'static> {
        // SAFETY: each thread of the test is one CPU.
        unsafe { Pinned::assume(CpuId::new(cpu).unwrap()) }
    }

    /// Shuttle's threads are the CPUs.
    fn build() -> Frames<TestMachine> {
        let this_cpu = || CpuId::new(CPU.with(|cpu| cpu.get())).unwrap();
        let machine = TestMachine { this_cpu, ..TestMachine::new(CPUS, 1) };
        let range = PfnRange::of_length(Pfn::new(BASE), FRAMES).unwrap();
        let memory = [MemoryRange { frames: range, node: NodeId::FIRST }];
        let layout = Layout::new(&memory, CPUS, Pfn::new(1 << 34)).unwrap();
        // SAFETY: there is no memory behind the frames.
        let frames = unsafe { Frames::new(machine, &layout, [range], &mut []) }.unwrap();
        frames.set_reserve(NodeId::FIRST, Zone::Normal, 0);
        frames
    }

    /// Does the work of a CPU: allocates, passes on, frees what others passed on, asks others to drain.
    fn work(
        frames: &Frames<TestMachine>,
        cpu: usize,
        passed: &shuttle::sync::Mutex<Vec<Frame>>,
    ) -> Vec<Frame> {
        let pinned = pinned(cpu);
        let mut held: Vec<Frame> = Vec::new();
        for step in 0..14usize {
            let order = Order::new([0, 0, 8, 0, 9, 2][(step + cpu) % 6]).unwrap();
            let request = Request::new(order).kind(Mobility::ALL[(step / 5) % 3]);
            match frames.alloc(pinned, request) {
                Ok(frame) if step % 3 == 0 => passed.lock().unwrap().push(frame),
                Ok(frame) => held.push(frame),
                Err(_) => held.drain(..).for_each(|frame| frames.free(pinned, frame)),
            }
            let other = passed.lock().unwrap().pop();
            if let Some(frame) = other {
                frames.free(pinned, frame);
            }
            if step % 7 == 6 {
                frames.request_drain(pinned);
            }
        }
        held
    }

    #[test]
    fn all_frames_are_somewhere_once() {
        let mut config = shuttle::Config::new();
        // The arrays of a pool pass over the stack, and shuttle's atomics are large.
        config.stack_size = 16 << 20;
        shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(60), config).run(|| {
            let frames = Arc::new(build());
            let passed = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
            let threads: Vec<_> = (0..CPUS)
                .map(|cpu| {
                    let (frames, passed) = (Arc::clone(&frames), Arc::clone(&passed));
                    shuttle::thread::spawn(move || {
                        CPU.with(|this| this.set(cpu));
                        work(&frames, cpu, &passed)
                    })
                })
                .collect();
            let mut all: Vec<Frame> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            all.append(&mut passed.lock().unwrap());
            let mut numbers: Vec<_> = all.iter().flat_map(|frame| frame.frames().iter()).collect();
            numbers.sort_unstable();
            assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "a frame is held twice");
            frames.validate().unwrap();
            assert_eq!(frames.free_frames() + numbers.len() as u64, FRAMES);
            all.into_iter().for_each(|frame| frames.free(pinned(0), frame));
            for cpu in 0..CPUS {
                CPU.with(|this| this.set(cpu));
                frames.drain(pinned(cpu));
            }
            frames.validate().unwrap();
            assert_eq!((frames.free_frames(), frames.free_large_blocks()), (FRAMES, 2));
            assert_eq!(frames.refused_frees(), 0);
        });
    }

    /// Ranges are taken while other CPUs take, free and drain blocks of all orders in them.
    #[test]
    fn a_range_is_whole_and_given_out_once() {
        let mut config = shuttle::Config::new();
        config.stack_size = 16 << 20;
        shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(300), config).run(|| {
            let frames = Arc::new(build());
            let held = Arc::new(shuttle::sync::Mutex::new(std::collections::BTreeSet::new()));
            let threads: Vec<_> = (0..2)
                .map(|cpu| {
                    let (frames, held) = (Arc::clone(&frames), Arc::clone(&held));
                    shuttle::thread::spawn(move || {
                        CPU.with(|this| this.set(cpu));
                        for step in 0..6usize {
                            let order = Order::new([9, 9, 8, 0][(step + cpu) % 4]).unwrap();
                            let Ok(frame) = frames.alloc(pinned(cpu), Request::new(order)) else { continue };
                            let numbers: Vec<_> = frame.frames().iter().step_by(64).collect();
                            {
                                let mut held = held.lock().unwrap();
                                numbers
                                    .iter()
                                    .for_each(|&pfn| assert!(held.insert(pfn), "{pfn} is held twice"));
                            }
                            shuttle::thread::yield_now();
                            {
                                let mut held = held.lock().unwrap();
                                numbers.iter().for_each(|pfn| assert!(held.remove(pfn)));
                            }
                            frames.free(pinned(cpu), frame);
                            frames.drain(pinned(cpu));
                        }
                    })
                })
                .collect();
            CPU.with(|this| this.set(2));
            for step in 0..4 {
                let start = Pfn::new(BASE + step % 2 * 512);
                let wanted = PfnRange::of_length(start, 512).unwrap();
                let Ok(taken) = frames.alloc_range(pinned(2), wanted, &crate::NothingMoves) else { continue };
                {
                    let mut held = held.lock().unwrap();
                    let mut numbers = wanted.iter().step_by(64);
                    assert!(numbers.all(|pfn| held.insert(pfn)), "held twice");
                    wanted.iter().step_by(64).for_each(|pfn| assert!(held.remove(&pfn)));
                }
                frames.free_range(pinned(2), taken).unwrap();
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            for cpu in 0..CPUS {
                CPU.with(|this| this.set(cpu));
                frames.drain(pinned(cpu));
            }
            frames.validate().unwrap();
            assert_eq!((frames.free_frames(), frames.free_large_blocks()), (FRAMES, 2));
            assert_eq!(frames.refused_frees(), 0);
        });
    }
}
