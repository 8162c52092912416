use super::*;
use crate::samples::{comparison, control, controls, empty, extreme, hosted, kernel, linux, who};
use crate::schema::{ControlKind, Noise, Omission};

#[test]
fn nothing_compared_says_what_was_left_out() {
    let mut study = empty(Kind::Hosted);
    let plain = verdict(&study);
    assert_eq!((plain.tone, &*plain.headline), (Tone::Plain, "This study compared nothing."));
    study.omissions.push(Omission {
        part: "pages".into(),
        why: "There are none".into(),
        remedy: "Get some".into(),
    });
    assert_eq!(verdict(&study).detail, "Left out was pages: There are none. Get some.");
    // An ending before its time is told once, by the warning.
    study.ending = Ending::Interrupted("The user ended the study.".into());
    let early = verdict(&study);
    assert_eq!((&*early.detail, &*early.warnings[0]), ("", "The user ended the study: parts are missing."));
    study.comparisons.push(comparison("one", 1.0, 0.01, 1));
    assert_eq!(verdict(&study).headline, "1 comparison had too few rounds for an answer.");
}

#[test]
fn no_effect_comes_with_the_smallest_that_could_have_been_seen() {
    let mut study = empty(Kind::Hosted);
    study.controls = controls();
    for id in ["a", "b", "c"] {
        study.comparisons.push(comparison(id, 1.0, 0.01, 20));
    }
    for one in &mut study.comparisons {
        one.effect.as_mut().unwrap().p_adjusted = 0.5;
    }
    for (one, smallest) in study.comparisons.iter_mut().zip([0.01, 0.02, 0.07]) {
        one.effect.as_mut().unwrap().smallest_detectable = Some(smallest);
    }
    let unseen = verdict(&study);
    assert_eq!(
        (unseen.tone, &*unseen.headline),
        (Tone::Unseen, "No effect was seen in any of 3 comparisons.")
    );
    assert!(unseen.detail.contains("2.0 %") && unseen.detail.contains("7.0 %"), "{}", unseen.detail);
    assert!(unseen.warnings.is_empty());
    study.noise =
        Some(Noise { spread: 0.4, steal: None, hopeless: true, verdict: "Work varies by 40 %".into() });
    assert_eq!(
        verdict(&study).headline,
        "No effect was seen, on a machine that is too noisy to show a small one."
    );
    for one in &mut study.comparisons {
        one.effect.as_mut().unwrap().smallest_detectable = None;
    }
    let blind = verdict(&study);
    assert_eq!(blind.headline, "No effect could be seen: 3 comparisons had too few rounds.");
    assert_eq!(blind.detail, "There were too few rounds to see any effect.");
}

#[test]
fn effects_are_counted_and_the_largest_is_named() {
    let mut study = empty(Kind::Hosted);
    study.controls = controls();
    study.comparisons = vec![
        comparison("large", 1.3, 0.01, 20),
        comparison("small", 1.1, 0.01, 20),
        comparison("none", 1.0, 0.01, 20),
    ];
    study.adjust();
    study.comparisons[2].effect.as_mut().unwrap().p_adjusted = 1.0;
    let more = verdict(&study);
    assert_eq!((more.tone, &*more.headline), (Tone::More, "2 of 3 comparisons came out slower."));
    assert!(
        more.detail.starts_with("The largest effect: +")
            && more.detail.contains("large, from 1-GiB pages to 4-KiB pages (+")
            && more.detail.contains(" %, 95 % for all comparisons together). Smallest visible effect: "),
        "{}",
        more.detail
    );
    study.comparisons[1] = comparison("small", 0.8, 0.01, 20);
    let mixed = verdict(&study);
    assert_eq!(
        (mixed.tone, &*mixed.headline),
        (Tone::Mixed, "Of 3 comparisons, 1 came out slower and 1 faster.")
    );
    study.comparisons = vec![comparison("small", 0.8, 0.01, 20)];
    study.comparisons[0].unit = "instructions".into();
    let less = verdict(&study);
    assert_eq!((less.tone, &*less.headline), (Tone::Less, "The one comparison came out cheaper."));
}

#[test]
fn a_failed_control_comes_before_all_else() {
    let mut study = hosted();
    study.controls = vec![control(ControlKind::Positive, false), control(ControlKind::Negative, true)];
    let void = verdict(&study);
    assert_eq!(
        (void.tone, &*void.headline),
        (Tone::Void, "This study proves nothing: 1 of 2 controls failed.")
    );
    assert!(void.detail.contains("this study can see no effect of the TLB."), "{}", void.detail);
    assert!(!void.detail.contains("largest effect"));
}

#[test]
fn reasons_to_distrust_are_warnings() {
    let mut study = linux();
    study.ending = Ending::Interrupted("Ctrl-C.".into());
    study.noise =
        Some(Noise { spread: 0.4, steal: None, hopeless: true, verdict: "Work varies by 40 %".into() });
    study.controls.clear();
    assert_eq!(
        verdict(&study).warnings,
        [
            "Ctrl-C: parts are missing.",
            "The machine is too noisy for small effects. Work varies by 40 %.",
            "No control was measured: nothing shows that this study could have seen an effect.",
        ]
    );
}

#[test]
fn counts_are_set_side_by_side() {
    let plain = verdict(&kernel());
    assert_eq!(plain.tone, Tone::Plain);
    assert_eq!(
        plain.headline,
        "TLB misses for 1,000 system calls: 2,840 misses with directmap=1g, 5,395 misses with directmap=4k (1.9 times)."
    );
    assert!(
        plain.detail.ends_with("Below are 2 charts and 1 table; counts need no interval."),
        "{}",
        plain.detail
    );
    let mut study = kernel();
    study.bars[0].bars[0].values = vec![0.0];
    let headline = verdict(&study).headline;
    assert!(headline.ends_with(": none with directmap=1g, 5,395 misses with directmap=4k."), "{headline}");
    // The zero may be at the far end, too.
    study.bars[0].bars.reverse();
    study.bars[0].bars.remove(0);
    let headline = verdict(&study).headline;
    assert!(headline.ends_with(": 5,395 misses with directmap=4k, none with directmap=1g."), "{headline}");
    study.bars[0].bars.iter_mut().for_each(|bar| bar.values = vec![0.0]);
    let headline = verdict(&study).headline;
    assert!(headline.ends_with(": none with directmap=4k and with directmap=2m."), "{headline}");
    study.bars.clear();
    assert_eq!(verdict(&study).headline, "Splits of the map: 2 rows.");
    study.tables.clear();
    assert_eq!(verdict(&study).headline, "This study compared nothing.");
}

#[test]
fn holders_are_counted() {
    let mut study = who();
    let held = verdict(&study);
    assert_eq!(held.headline, "3 holders have secret memory.");
    assert!(
        held.detail
            .starts_with("Of the direct map, 2.5 % in pages of 4 KiB, 21 % in pages of 2 MiB and 76 %"),
        "{}",
        held.detail
    );
    study.tables[0].rows.clear();
    assert_eq!(verdict(&study).headline, "No process that can be seen holds secret memory.");
    study.tables.clear();
    study.maps.clear();
    assert_eq!(verdict(&study).detail, "The map's page sizes are not known on this machine.");
}

#[test]
fn odd_numbers_are_no_reason_to_stop() {
    let odd = verdict(&extreme());
    assert!(odd.detail.contains("2 further comparisons had too few rounds"), "{}", odd.detail);
}
