use super::*;

#[test]
fn units_of_sizes_go_from_names_to_ticks() {
    for (label, name, power) in [
        ("working set, KiB", "working set", Some(10.0)),
        (
            "memory accessed, one line in each 4 KiB (KiB)",
            "memory accessed, one line in each 4 KiB",
            Some(10.0),
        ),
        ("MiB", "", Some(20.0)),
        ("bytes", "", Some(0.0)),
        ("busy CPUs", "busy CPUs", None),
        ("kilobytes", "kilobytes", None),
    ] {
        assert_eq!(split_unit(label), (name, power), "{label}");
    }
}
