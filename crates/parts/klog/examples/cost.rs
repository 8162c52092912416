//! The cost of a record: `cargo run --release -p rhumb-klog --example cost`.

use std::hint::black_box;
use std::time::Instant;

use rhumb_klog::{Record, Ring, Slot};
use rhumb_machine::CpuId;

const RECORDS: u64 = 1_000_000;

fn ns_per_record(what: &str, mut one: impl FnMut(u64)) {
    let start = Instant::now();
    (0..RECORDS).for_each(&mut one);
    println!("{what}: {:.0} ns", start.elapsed().as_nanos() as f64 / RECORDS as f64);
}

fn main() {
    let slots: Vec<Slot> = (0..256).map(|_| Slot::new()).collect();
    let ring = Ring::new(&slots);
    let make = |time_ns| {
        let message = format_args!("direct map: {time_ns} of 1 GiB, 511 of 2 MiB, 1024 of 4 KiB");
        Record::new(time_ns, CpuId::BOOT, log::Level::Info, "rhumb_kernel::boot", message)
    };
    ns_per_record("format", |time_ns| {
        black_box(make(time_ns));
    });
    ns_per_record("format and write", |time_ns| ring.write(&make(time_ns)));
    let record = make(1);
    ns_per_record("write", |_| ring.write(black_box(&record)));
    ns_per_record("read", |ticket| {
        black_box(ring.read(ring.tickets().start + ticket % 256)).ok();
    });
}
