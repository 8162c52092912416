use super::*;

fn program(options: &Options, quick: bool, available: u64) -> Program {
    Program::new(options, quick, available).unwrap()
}

#[test]
fn memory_follows_from_what_is_available() {
    let options = Options::default();
    let quick = |available| program(&options, true, available);
    assert_eq!((quick(64 * GIB).bytes, quick(64 * GIB).at_once), (GIB, 5));
    assert_eq!((quick(7 * GIB).bytes, quick(7 * GIB).at_once), (GIB, 3), "in turns");
    assert_eq!((quick(5 * GIB).bytes, quick(5 * GIB).at_once), (512 * MIB, 5));
    assert_eq!((quick(GIB / 2).bytes, quick(GIB / 2).at_once), (64 * MIB, 4));
    let full = program(&options, false, 64 * GIB);
    assert_eq!((full.bytes, full.at_once), (4 * GIB, 7));
    let too_little = Program::new(&options, true, 200 * MIB);
    assert!(matches!(too_little, Err(Error::TooLittle { .. })), "{too_little:?}");
}

#[test]
fn the_user_may_want_more() {
    let options = Options { memory: Some(2 * GIB), ..Options::default() };
    let wanted = program(&options, true, 8 * GIB);
    assert_eq!((wanted.bytes, wanted.at_once), (2 * GIB, 3));
    assert!(Program::new(&options, true, 4 * GIB).is_err());
}

#[test]
fn patterns_choose_workloads() {
    let only = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
    let chosen = cases(&only(&["page-read", "zero"]), true).unwrap();
    assert_eq!(chosen.len(), 6);
    assert!(
        matches!(cases(&only(&["page", "fork"]), true), Err(Error::NoSuchWorkload(name)) if name == "fork")
    );
    assert_eq!(cases(&[], false).unwrap().len(), 2 * 8 * 3);
    assert_eq!(cases(&[], true).unwrap().len(), 6 * 2);
    assert_eq!(list().lines().count(), 8);
}

#[test]
fn reads_sizes() {
    assert_eq!(parse_size("512M").unwrap(), 512 * MIB);
    assert_eq!(parse_size("2GiB").unwrap(), 2 * GIB);
    for wrong in ["", "M", "2", "2T", "63M", "65M", "99999999999999G", "é"] {
        assert!(parse_size(wrong).is_err(), "{wrong}");
    }
    assert!(parse_minutes("0").is_err() && parse_minutes("NaN").is_err() && parse_minutes("3").is_ok());
}
