use super::*;

#[test]
fn a_study_knows_its_machine_and_its_end() {
    let mut session = Session::quiet(PathBuf::from("unused"));
    session.name = Some("a machine".to_owned());
    let mut study = session.begin_study(Kind::Hosted);
    session.end_study(&mut study);
    assert_eq!((study.schema.as_str(), study.version, study.kind), (SCHEMA, VERSION, Kind::Hosted));
    assert_eq!((study.machine.name.as_str(), study.machine.cpus > 0), ("a machine", true));
    assert!(study.command.first().is_some_and(|program| !program.contains('/')), "{:?}", study.command);
    assert_eq!(study.ending, Ending::Whole);
    assert!(study.took_s >= 0.0 && study.began_unix_s > 1_700_000_000);
    session.end();
    session.end_study(&mut study);
    assert!(matches!(study.ending, Ending::Interrupted(_)));
}

#[test]
fn without_the_users_wish_the_hosts_name_is_not_in_the_study() {
    let study = Session::quiet(PathBuf::from("unused")).begin_study(Kind::Who);
    assert!(study.machine.name.starts_with(&study.machine.cpu), "{}", study.machine.name);
}
