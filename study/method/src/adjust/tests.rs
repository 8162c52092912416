use super::*;
use crate::effect::Finding;

/// The numbers are those of R 4: `p.adjust(p, "holm")`.
#[test]
fn p_values_are_those_of_another_implementation() {
    let close = |ours: Vec<f64>, theirs: &[f64]| {
        assert!(
            ours.iter().zip(theirs).all(|(one, other)| (one - other).abs() < 1e-12),
            "{ours:?} {theirs:?}"
        );
    };
    close(holm(&[0.01, 0.02, 0.03, 0.04]), &[0.04, 0.06, 0.06, 0.06]);
    close(holm(&[0.04, 0.001, 0.6, 0.02]), &[0.08, 0.004, 0.6, 0.06]);
    close(holm(&[0.5, 0.9]), &[1.0, 1.0]);
    assert_eq!(holm(&[]), Vec::<f64>::new());
}

/// Returns 14 rounds around `ratio`, of which one in `spoilt` points the other way.
fn arm(ratio: f64, spoilt: usize) -> Vec<f64> {
    (0..14)
        .map(|round| {
            let error = 0.002 * ((round * 11 % 14) as f64 - 6.5);
            if round % spoilt == spoilt - 1 { 1.0 / (ratio + error) } else { ratio + error }
        })
        .collect()
}

#[test]
fn an_adjusted_interval_excludes_one_exactly_where_an_effect_is_found() {
    let baseline = vec![1.0; 14];
    let arms: Vec<Vec<f64>> =
        [(1.05, 99), (1.02, 99), (1.02, 13), (1.02, 7), (1.02, 5), (1.015, 3), (1.001, 2)]
            .map(|(r, s)| arm(r, s))
            .into();
    let mut effects: Vec<Effect> =
        arms.iter().map(|arm| Effect::of(&baseline, arm, 0.95).expect("an effect")).collect();
    let before = effects.clone();
    let mut compared: Vec<Compared<'_>> = arms
        .iter()
        .zip(&mut effects)
        .map(|(arm, effect)| Compared { baseline: &baseline, arm, effect })
        .collect();
    adjust(&mut compared);
    let found = effects.iter().filter(|effect| effect.finding() != Finding::Unseen).count();
    assert!((2..effects.len() - 1).contains(&found), "the samples are to have both: {effects:?}");
    let alone = before.iter().filter(|effect| effect.finding() != Finding::Unseen).count();
    assert!(alone > found, "the samples are to have an effect that is lost among others: {before:?}");
    for (effect, before) in effects.iter().zip(&before) {
        let interval = effect.adjusted.expect("rounds enough");
        assert_eq!(
            effect.finding() == Finding::Unseen,
            interval.low <= 1.0 && 1.0 <= interval.high,
            "{effect:?}"
        );
        assert!(interval.low <= effect.low && effect.high <= interval.high, "{effect:?}");
        assert!(effect.smallest_detectable >= before.smallest_detectable, "{effect:?}");
        assert_eq!((effect.ratio, effect.low, effect.p), (before.ratio, before.low, before.p));
    }
}

#[test]
fn one_comparison_alone_stays_as_it_is() {
    let baseline = vec![1.0; 14];
    let arm = arm(1.02, 99);
    let before = Effect::of(&baseline, &arm, 0.95).expect("an effect");
    let mut effect = before;
    adjust(&mut [Compared { baseline: &baseline, arm: &arm, effect: &mut effect }]);
    assert_eq!(effect, before);
}

#[test]
fn rounds_that_are_too_few_for_so_many_comparisons_say_so() {
    let baseline = vec![1.0; 8];
    let arm = &arm(1.02, 99)[..8];
    let mut effects = vec![Effect::of(&baseline, arm, 0.95).expect("an effect"); 20];
    let mut compared: Vec<Compared<'_>> =
        effects.iter_mut().map(|effect| Compared { baseline: &baseline, arm, effect }).collect();
    adjust(&mut compared);
    for effect in effects {
        assert_eq!(
            (effect.finding(), effect.adjusted, effect.smallest_detectable),
            (Finding::Unseen, None, None)
        );
    }
}

#[test]
fn levels_grow_with_each_effect_that_is_found_and_stay_where_one_is_not() {
    let close = |ours: Vec<f64>, theirs: &[f64]| {
        assert!(
            ours.iter().zip(theirs).all(|(one, other)| (one - other).abs() < 1e-12),
            "{ours:?} {theirs:?}"
        );
    };
    close(tested_levels(&[0.04, 0.001, 0.6, 0.012], 0.06), &[0.03, 0.015, 0.03, 0.02]);
    close(tested_levels(&[0.01, 0.01, 0.01], 0.06), &[0.02, 0.03, 0.06]);
    close(tested_levels(&[0.5, 0.9], 0.06), &[0.03, 0.03]);
    assert_eq!(tested_levels(&[], 0.05), Vec::<f64>::new());
}

#[test]
fn a_p_value_is_below_its_level_exactly_where_the_adjusted_one_is_below_the_level_of_all() {
    for seed in 0..500u32 {
        let p: Vec<f64> =
            (0..seed % 9).map(|i| f64::from((seed * 7919 + i * 104_729) % 997) / 9970.0).collect();
        for (index, (adjusted, level)) in holm(&p).into_iter().zip(tested_levels(&p, 0.05)).enumerate() {
            assert_eq!(adjusted <= 0.05, p[index] <= level, "{p:?}: {index}");
        }
    }
}
