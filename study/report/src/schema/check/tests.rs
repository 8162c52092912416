use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rhumb_method::Interval;
use serde_json::Value;

use super::*;
use crate::samples::{Dice, comparison, extreme, hosted, kernel, linux, who};
use crate::terminal::Screen;
use crate::{compare, page, read, summary, verdict, write};

#[test]
fn effects_of_samples_are_possible() {
    for study in [hosted(), linux()] {
        assert_eq!(study.fault(), None);
    }
    for rounds in 1..40 {
        for ratio in [1e-200, 0.5, 1.0, 1.0 + 1e-15, 7.0, 1e200] {
            let effect = comparison("some", ratio, 0.01, rounds).effect;
            assert_eq!(effect.as_ref().and_then(fault), None, "{effect:?}");
        }
    }
}

#[test]
fn impossible_effects_have_a_reason() {
    let whole = comparison("one", 1.1, 0.01, 20).effect.unwrap();
    type Damage = fn(&mut Effect);
    let cases: [(&str, Damage); 10] = [
        ("its confidence is 2, which is not between 0 and 1", |effect| effect.confidence = 2.0),
        ("its confidence is 0,", |effect| effect.confidence = 0.0),
        ("its confidence is NaN,", |effect| effect.confidence = f64::NAN),
        ("its `p` is -1", |effect| effect.p = -1.0),
        ("its `p_adjusted` is 1.5", |effect| effect.p_adjusted = 1.5),
        ("its ratio is -5 in an interval from -7 to -1", |effect| {
            (effect.ratio, effect.low, effect.high) = (-5.0, -7.0, -1.0);
        }),
        ("to inf", |effect| effect.high = f64::INFINITY),
        ("in an adjusted interval from 3 to 2", |effect| {
            effect.adjusted = Some(Interval { low: 3.0, high: 2.0, confidence: 0.99 });
        }),
        ("has a confidence of 7", |effect| effect.adjusted.as_mut().unwrap().confidence = 7.0),
        ("could have seen is -3", |effect| effect.smallest_detectable = Some(-3.0)),
    ];
    for (says, damage) in cases {
        let mut effect = whole;
        damage(&mut effect);
        let why = fault(&effect).unwrap();
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn an_effect_needs_samples() {
    let mut study = linux();
    study.comparisons[1].arm_samples.clear();
    let says = study.fault().unwrap();
    assert!(says.ends_with("has an effect without samples"), "{says}");
}

/// Values that a damaged or hostile file may have at any place.
fn odd(dice: &mut Dice) -> Value {
    let texts = [
        "null",
        "true",
        "0",
        "-0.0",
        "-1",
        "2.0",
        "1e308",
        "-1e308",
        "1e-308",
        "5e-324",
        "0.5",
        "1",
        "4096",
        "4294967295",
        "4294967296",
        "9223372036854775808",
        "18446744073709551615",
        "\"\"",
        "\"\\u202e\\u001b[2J\"",
        "[]",
        "{}",
        "[null]",
        "[-1, 1e308, null]",
    ];
    serde_json::from_str(texts[(dice.flat() * texts.len() as f64) as usize]).unwrap()
}

/// Changes some of the values in a tree: leaves mostly, and now and then a whole branch.
fn damage(value: &mut Value, chance: f64, dice: &mut Dice) {
    let is_leaf = !matches!(value, Value::Array(_) | Value::Object(_));
    if dice.flat() < if is_leaf { chance } else { chance / 20.0 } {
        // A number for a number is damage that the types do not see.
        let replacement = odd(dice);
        if !value.is_number() || replacement.is_number() || dice.flat() < 0.1 {
            *value = replacement;
        }
        return;
    }
    match value {
        Value::Array(values) => {
            values.iter_mut().for_each(|value| damage(value, chance, dice));
            if !values.is_empty() && dice.flat() < chance / 4.0 {
                let at = (dice.flat() * values.len() as f64) as usize;
                values.remove(at);
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|value| damage(value, chance, dice)),
        _ => {}
    }
}

#[test]
fn a_damaged_file_stops_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.json");
    let out = folder.path().join("out");
    let mut dice = Dice::new(2026);
    let (mut read_again, mut refused) = (0, 0);
    for mut whole in [hosted(), linux(), who(), kernel(), extreme()] {
        whole.comparisons.truncate(3);
        whole.tables.iter_mut().for_each(|table| table.rows.truncate(4));
        whole.maps.iter_mut().for_each(|map| map.extents.truncate(5));
        whole.notes.clear();
        let tree = serde_json::to_value(&whole).unwrap();
        for round in 0..80 {
            let mut tree = tree.clone();
            let chance = [0.002, 0.01, 0.05, 0.2][round % 4];
            // The name of the schema stays, or the rest would not be read.
            let fields = tree.as_object_mut().unwrap();
            fields.values_mut().for_each(|value| damage(value, chance, &mut dice));
            tree["schema"] = "rhumb-study".into();
            tree["version"] = 1.into();
            let text = serde_json::to_string(&tree).unwrap();
            fs::write(&path, &text).unwrap();
            let shown = catch_unwind(AssertUnwindSafe(|| {
                let Ok(study) = read(&path) else { return false };
                _ = verdict(&study);
                _ = summary(&study, Screen { width: 60, has_colours: true });
                _ = page::page(&study).unwrap();
                let mut others = vec![study.clone(), whole.clone(), study.clone(), whole.clone()];
                others.extend([study.clone(), whole.clone()]);
                if let Ok(compared) = compare(&others, &[]) {
                    _ = compared.summary(Screen::plain());
                    compared.write(&out).unwrap();
                }
                // Whatever was read is written so that it is read again.
                read(&write(&study, &out).unwrap().json).unwrap();
                true
            }));
            match shown {
                Ok(true) => read_again += 1,
                Ok(false) => refused += 1,
                Err(_) => panic!("stopped by {text}"),
            }
        }
    }
    assert!(read_again > 60 && refused > 60, "{read_again} were read, {refused} refused");
}
