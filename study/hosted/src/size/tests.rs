use super::*;

#[test]
fn sizes_have_the_largest_unit_that_fits() {
    let sizes = [0, 64 << 10, GIB, 3 * GIB / 2, 512 * MIB, 2 << 40].map(sized);
    assert_eq!(sizes, ["0 B", "64 KiB", "1 GiB", "1536 MiB", "512 MiB", "2 TiB"]);
}
