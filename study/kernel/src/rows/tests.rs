use super::*;

const OUTPUT: &str = "\
510 of 4094 blocks of 2 MiB kept in 4-KiB pages, 0 since before; 2 without a free frame
region                  id   runs     least       ticks  writes  flushes  remote  interrupts
empty                    0     64        96        6144       0        0       0           0
study/pages/64m        257     64    901328    57684992       1        2       3           4
calls/8                 65  not measured: 8 CPUs are needed
MemTotal:        8388092 kB
DirectMap4k:     1048060 kB
DirectMap2M:     7340032 kB
DirectMap1G:           0 kB
";

#[test]
fn rows_are_read_and_other_lines_are_not() {
    let rows = rows(OUTPUT);
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["empty", "study/pages/64m"]);
    let row = &rows[1];
    assert_eq!((row.id.get(), row.runs), (257, 64));
    assert_eq!([row.table_writes, row.flushes, row.remote, row.interrupts], [1, 2, 3, 4]);
}

#[test]
fn regions_that_could_not_be_measured_say_why() {
    assert_eq!(refused(OUTPUT), [("calls/8".to_owned(), "8 CPUs are needed".to_owned())]);
}

#[test]
fn the_map_is_read_by_page_size() {
    let extents = extents(OUTPUT);
    let sizes: Vec<(u64, Option<u64>)> =
        extents.iter().map(|extent| (extent.bytes >> 10, extent.page_bytes)).collect();
    assert_eq!(sizes, [(7_340_032, Some(1 << 21)), (1_048_060, Some(1 << 12))]);
    assert!(super::extents("nothing").is_empty());
}
