//! The start word's transitions.

use crate::start::{Progress, StartWord, TooLate};

#[test]
fn each_start_is_decided_once() {
    let word = StartWord::new();
    for (decide, decided) in [
        (StartWord::come_online as fn(&StartWord, u32) -> Result<(), TooLate>, Progress::Online),
        (StartWord::refuse, Progress::Refused),
        (StartWord::cancel, Progress::Cancelled),
    ] {
        word.begin(5);
        assert_eq!(word.progress(5), Progress::Starting);
        assert_eq!(decide(&word, 5), Ok(()));
        assert_eq!(word.progress(5), decided);
        for late in [StartWord::come_online, StartWord::refuse, StartWord::cancel] {
            assert_eq!(late(&word, 5), Err(TooLate));
        }
        assert_eq!(word.progress(5), decided);
    }
}

#[test]
fn a_cpu_that_is_not_named_decides_nothing() {
    let word = StartWord::new();
    assert_eq!(word.come_online(0), Err(TooLate));
    word.begin(u32::MAX - 1);
    assert_eq!(word.come_online(0), Err(TooLate));
    assert_eq!(word.progress(0), Progress::Cancelled);
    assert_eq!(word.progress(u32::MAX - 1), Progress::Starting);
}
