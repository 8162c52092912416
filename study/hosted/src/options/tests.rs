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
    assert_eq!(parse_size("2t").unwrap(), 2 << 40);
    for wrong in ["", "M", "2", "2P", "+2G", "-2G", "2 G", "é"] {
        assert!(parse_size(wrong).unwrap_err().contains("is no size"), "{wrong}");
    }
    for odd in ["0M", "63M", "65M"] {
        assert_eq!(
            parse_size(odd).unwrap_err(),
            "a direct map has at least 64 MiB, and an even number of MiB"
        );
    }
    for large in ["500T", "8589934592G", "99999999999999G", "99999999999999999999999M"] {
        assert_eq!(
            parse_size(large).unwrap_err(),
            format!("'{large}' is too large: a direct map has at most 64 TiB")
        );
    }
    assert!(parse_minutes("0.2").is_err() && parse_minutes("NaN").is_err() && parse_minutes("3").is_ok());
}

#[test]
fn too_much_memory_is_said_to_be_too_much() {
    for bytes in [64 << 40, 1 << 63, u64::MAX] {
        let options = Options { memory: Some(bytes), ..Options::default() };
        let error = Program::new(&options, true, 8 * GIB).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("8 GiB of memory are available, and "), "{text}");
        assert!(text.contains("PiB are needed") || bytes == 64 << 40, "{text}");
        let Error::TooLittle { available_mib, needed_mib } = error else { panic!("{text}") };
        assert!(available_mib == 8 * 1024 && needed_mib > 2 * (bytes >> 20), "{needed_mib}");
    }
}

#[test]
fn a_study_has_time_for_more_than_its_controls() {
    for (quick, minutes, is_enough) in [
        (true, 0.5, true),
        (true, 0.4, false),
        (false, 1.9, false),
        (false, 2.0, true),
        (false, f64::NAN, false),
    ] {
        let options = Options { minutes: Some(minutes), ..Options::default() };
        let program = Program::new(&options, quick, 64 * GIB);
        assert_eq!(program.is_ok(), is_enough, "{program:?}");
        assert!(is_enough || matches!(program, Err(Error::Time { .. })));
    }
}

#[test]
fn wrong_patterns_are_wrong_arguments() {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }
    let parse = |pattern: &str| <Program as clap::Parser>::try_parse_from(["study", "--only", pattern]);
    assert_eq!(parse("page").unwrap().options.only, ["page"]);
    let error = parse("fork").err().unwrap();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("no workload is named like 'fork'; --list shows them"), "{error}");
}
