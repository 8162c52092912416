use super::*;

/// Returns 12 samples around `time`, of which each is off by a few parts in a thousand, times `noise`.
fn samples(time: f64, noise: f64, turn: usize) -> Vec<f64> {
    (0..12).map(|round| time * (1.0 + 0.001 * noise * (((round * 5 + turn) % 12) as f64 - 5.5))).collect()
}

fn judged(large: Result<Vec<f64>, Fault>, small: Vec<f64>, twin: Vec<f64>) -> Controls {
    let mut controls = Controls::default();
    let measured =
        Measured { large, small, twin, stopped: Stopped::Precise, bytes: 2 << 30, confidence: 0.95 };
    judge(measured, &mut controls);
    controls
}

#[test]
fn a_chase_that_takes_longer_in_small_pages_passes() {
    let controls = judged(Ok(samples(315.0, 1.0, 0)), samples(445.0, 1.0, 4), samples(445.0, 1.0, 9));
    let [positive, negative] = &controls.controls[..] else { panic!("{controls:?}") };
    assert_eq!((positive.kind, positive.passed), (ControlKind::Positive, true));
    assert_eq!(
        positive.verdict,
        "A chase over 2 GiB took 41 % longer in pages of 4 KiB than in pages of 2 MiB, as it must."
    );
    assert_eq!((negative.kind, negative.passed), (ControlKind::Negative, true), "{negative:?}");
    assert!(controls.omissions.is_empty());
    let effect = positive.comparison.effect.expect("an effect");
    assert_eq!(effect.p_adjusted, 2.0 * effect.p, "the controls are adjusted for their number");
}

#[test]
fn a_chase_that_takes_no_longer_in_small_pages_fails() {
    for time in [315.0, 300.0] {
        let controls = judged(Ok(samples(315.0, 1.0, 0)), samples(time, 1.0, 4), samples(time, 1.0, 9));
        assert!(!controls.controls[0].passed, "{controls:?}");
        assert!(controls.controls[0].verdict.contains("could not see"), "{controls:?}");
    }
}

#[test]
fn the_same_that_differs_from_the_same_fails_where_it_matters() {
    let control = |twin: f64| {
        let mut controls = judged(Ok(samples(315.0, 1.0, 0)), samples(445.0, 0.1, 4), samples(twin, 0.1, 9));
        controls.controls.remove(1)
    };
    assert!(!control(445.0 * 1.03).passed);
    assert!(!control(445.0 / 1.03).passed);
    // Seen, and harmless.
    let harmless = control(445.0 * 1.005);
    assert!(
        harmless.passed && harmless.comparison.effect.expect("an effect").p_adjusted < LEVEL,
        "{harmless:?}"
    );
}

#[test]
fn the_same_against_the_same_fails_where_it_could_have_seen_nothing() {
    let controls = judged(Ok(samples(315.0, 1.0, 0)), samples(445.0, 60.0, 4), samples(445.0, 60.0, 9));
    assert!(!controls.controls[1].passed, "{controls:?}");
    assert!(controls.controls[1].verdict.contains("too busy"), "{controls:?}");
}

#[test]
fn without_large_pages_the_positive_control_is_left_out_with_its_remedy() {
    let fault = Fault::Small { share: 3.0, megabytes: 2048 };
    let controls = judged(Err(fault), samples(445.0, 1.0, 4), samples(445.0, 1.0, 9));
    assert_eq!(controls.controls.len(), 1);
    assert_eq!(controls.controls[0].kind, ControlKind::Negative);
    assert!(controls.omissions[0].why.contains("3 % of 2048 MiB"), "{controls:?}");
    assert!(controls.omissions[0].remedy.contains("transparent_hugepage"), "{controls:?}");
}

#[test]
fn few_rounds_are_no_control() {
    let few = || vec![445.0; 4];
    assert_eq!(judged(Ok(few()), few(), few()), Controls::default());
}
