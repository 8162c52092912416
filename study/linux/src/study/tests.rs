//! The study from its options to its end, without a change of the machine.

use std::fs;

use clap::Parser;
use rhumb_study_report::Ending;

use super::*;
use crate::proc::counters::{DirectMap, Splits};

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    options: Options,
}

fn options(words: &[&str]) -> Result<Options, clap::Error> {
    Words::try_parse_from(["study"].iter().chain(words)).map(|words| words.options)
}

#[test]
fn options_have_defaults_and_nonsense_is_refused() {
    let plain = options(&[]).expect("defaults");
    assert_eq!((plain.amount, plain.steps, plain.yes_until_reboot), (Amount::Share(0.1), 2, false));
    assert_eq!(options(&["--break", "max", "--yes-until-reboot"]).expect("words").amount, Amount::Most);
    for words in [["--break", "0%"], ["--break", "200%"], ["--break", "much"], ["--steps", "0"]] {
        assert!(options(&words).is_err(), "{words:?}");
    }
}

#[test]
fn a_study_that_ends_at_once_says_so_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let session = Session::quiet(folder.path().into());
    session.end();
    let options = options(&["--yes-until-reboot", "--break", "2M", "--no-programs"]).expect("words");
    let before = Moment::now(&Root::system()).expect("counters");
    let study = run(&options, &session).expect("a study");
    assert!(matches!(study.ending, Ending::Interrupted(_)));
    assert!(study.comparisons.is_empty());
    assert!(study.tables.iter().any(|table| table.id == "direct-map"));
    assert_eq!(study.maps.len(), usize::from(!study.maps.is_empty()), "no map but the one before");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
    // Other tests break a block or two meanwhile.
    let after = Moment::now(&Root::system()).expect("counters");
    assert!(after.small().saturating_sub(before.small()) < 64 * MIB_2);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_in_one_sentence() {
    let session = Session::quiet("/proc/no/such/folder".into());
    session.end();
    let error = run(&options(&["--no-programs"]).expect("words"), &session).expect_err("no folder");
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[test]
fn steps_break_as_much_as_was_asked_for_and_no_more_than_there_is() {
    let moment = |small, large| Moment {
        map: DirectMap { small: Some(small), mib_2: Some(large), mib_4: None, gib_1: None },
        splits: Splits::default(),
    };
    let of = |before: &Moment, amount: &str, steps| -> Vec<u64> {
        targets(before, amount.parse().expect("an amount"), steps).collect()
    };
    let mib = |mib: u64| mib << 20;
    let before = moment(mib(100), mib(900));
    assert_eq!(of(&before, "50%", 2), [mib(350), mib(600)]);
    assert_eq!(of(&before, "64M", 1), [mib(164)]);
    // A tenth is broken already: what is whole can be broken, and no more.
    assert_eq!(of(&before, "max", 3), [mib(400), mib(700), mib(1000)]);
    assert_eq!(of(&before, "100%", 1), [mib(1000)]);
    // A share that is no page still breaks one in each step, so that no two steps are the same.
    assert_eq!(of(&before, "0.0000001%", 2), [mib(100) + KIB_4, mib(100) + 2 * KIB_4]);
}
