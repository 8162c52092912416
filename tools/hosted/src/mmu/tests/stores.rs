//! Stores to tables as another CPU may see them, and interrupts between them.

use super::*;

/// The observer lets another CPU walk in the middle of a change, and so tells one order of two stores from the other.
#[test]
fn an_observer_sees_the_order_of_stores() {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Order {
        FillThenHang,
        HangThenFill,
    }
    let seen = |order: Order| {
        let machine = HostedMachine::builder().cpus(2).ram_bytes(64 << 20).build().unwrap();
        machine
            .enter(CpuId::BOOT, |this| {
                let mut world = World::new(&machine, PLAIN);
                world.map(0, FRAMES_AT, LARGE, PageSize::Size2M, Access::ReadWrite);
                let table = world.source.take_zeroed_table().unwrap();
                let attributes = Attributes::kernel(Access::ReadWrite);
                let leaf = Entry::leaf(PhysAddr::new(FRAMES_AT), PageSize::Size4K, attributes);
                let mmu = world.mmu;
                let mut wrong = 0u32;
                let mut observer = |_: crate::Store| {
                    // The other CPU has nothing cached each time.
                    mmu.flush(cpu(1), FlushScope::All);
                    wrong += u32::from(mmu.access(cpu(1), virt(5 * PAGE), Use::Read).is_err());
                };
                let ((), stores) = this.with_observer(&mut observer, || {
                    if order == Order::FillThenHang {
                        world.tables.write_run(table, 0, leaf, PAGE, ENTRIES);
                    }
                    world.set_leaf(0, |_| Entry::table(table, rhumb_pagetable::Privilege::Supervisor));
                    if order == Order::HangThenFill {
                        world.tables.write_run(table, 0, leaf, PAGE, ENTRIES);
                    }
                });
                assert_eq!(stores, ENTRIES as u64 + 1);
                wrong
            })
            .unwrap()
    };
    assert_eq!(seen(Order::FillThenHang), 0);
    assert_eq!(seen(Order::HangThenFill), 1 + 5, "entries 0 to 4 are filled before the fifth");
}

#[test]
fn an_interrupt_strikes_after_a_store_that_is_made_with_interrupts_on() {
    let machine = HostedMachine::builder().cpus(1).ram_bytes(64 << 20).build().unwrap();
    let struck = |guarded: bool| {
        machine
            .enter(CpuId::BOOT, |this| {
                // SAFETY: frame 5 is for tables alone.
                let mut tables = unsafe { HostedTables::new(&machine) };
                let mut struck = 0;
                let mut observer = |_: crate::Store| struck += u32::from(this.interrupt(|_| {}));
                this.with_observer(&mut observer, || {
                    let _off = guarded.then(|| machine.irq_off());
                    tables.write(Pfn::new(5), 0, Entry::EMPTY);
                });
                struck
            })
            .unwrap()
    };
    assert_eq!((struck(false), struck(true)), (1, 0));
}

/// The handler of a storm uses the unit, whose locks the body holds most of the time.
#[test]
fn a_storm_may_use_the_unit() {
    let machine = HostedMachine::builder().cpus(1).ram_bytes(64 << 20).build().unwrap();
    machine
        .enter(CpuId::BOOT, |this| {
            let mut world = World::new(&machine, PLAIN);
            world.map(0, FRAMES_AT, LARGE, PageSize::Size4K, Access::ReadWrite);
            let mmu = world.mmu;
            let access = |page: u64| {
                assert!(mmu.access(CpuId::BOOT, virt(page % 512 * PAGE), Use::Read).is_ok());
                mmu.flush(CpuId::BOOT, FlushScope::All);
            };
            let mut page = 0;
            let mut handler = |_: rhumb_machine::IrqOff<'_>| {
                page += 7;
                access(page);
            };
            // SAFETY: body and handler use the heap in the unit alone, which keeps interrupts off meanwhile.
            let mut storm = || unsafe { this.with_storm(&mut handler, || (0..5_000).for_each(access)) };
            let mut struck = 0;
            while struck < 10 {
                struck += storm().unwrap().1;
            }
        })
        .unwrap();
}
