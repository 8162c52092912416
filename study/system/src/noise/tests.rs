use super::*;

#[test]
fn a_calm_machine_has_hope_and_a_noisy_one_has_none() {
    let calm = judge(0.01, Some(0.001), 40);
    assert!(!calm.hopeless, "{}", calm.verdict);
    let noisy = judge(0.3, None, 40);
    assert!(noisy.hopeless && noisy.verdict.contains("--quick"), "{}", noisy.verdict);
}

#[test]
fn more_rounds_give_hope() {
    assert!(judge(0.1, None, 40).hopeless);
    assert!(!judge(0.1, None, 200).hopeless);
}

#[test]
fn a_machine_whose_time_is_stolen_is_hopeless_however_calm_it_seems() {
    let robbed = judge(0.001, Some(0.2), 200);
    assert!(robbed.hopeless && robbed.verdict.contains("20.0 %"), "{}", robbed.verdict);
}

#[test]
fn stolen_time_is_a_share_of_all_time_and_unknown_where_none_was_ever_stolen() {
    assert_eq!(stolen(((1000, 10), (1200, 30))), Some(0.1));
    assert_eq!(stolen(((1000, 10), (1200, 10))), Some(0.0));
    assert_eq!(stolen(((1000, 0), (1200, 0))), None);
    assert_eq!(stolen(((1000, 10), (1000, 10))), None);
}

#[test]
fn this_machine_has_a_noise() {
    let session = Session::quiet(std::env::temp_dir());
    let noise = noise_of(20, &session).expect("a noise");
    assert!(noise.spread.is_finite() && noise.spread >= 0.0, "{noise:?}");
    session.end();
    assert_eq!(super::noise(&session), None);
}
