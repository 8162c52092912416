use super::*;
use crate::samples::comparison;

#[test]
fn conditions_are_divided() {
    let with = |pairs: &[(&str, &str)]| {
        let mut one = comparison("one", 1.0, 0.01, 3);
        one.conditions = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        one
    };
    let all = [
        with(&[("data", "hot"), ("user", "idle")]),
        with(&[("data", "hot"), ("user", "busy")]),
        with(&[("data", "hot")]),
    ];
    let all: Vec<&Comparison> = all.iter().collect();
    assert_eq!(shared(&all), ["data: hot"]);
    assert_eq!(own(all[1], &all), ["user: busy"]);
    assert_eq!(own(all[2], &all), Vec::<String>::new());
    assert_eq!(shared(&all[..1]), Vec::<String>::new());
    assert_eq!(own(all[0], &all[..1]), ["data: hot", "user: idle"]);
    assert_eq!(shared(&[]), Vec::<String>::new());
}
