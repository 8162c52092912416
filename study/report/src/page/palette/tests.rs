use std::collections::HashSet;

use super::*;

/// Returns the luminance of a colour, as WCAG 2.2 defines it.
fn luminance(colour: u32) -> f64 {
    let [_, red, green, blue] = colour.to_be_bytes().map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: u32, other: u32) -> f64 {
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    (one / other).max(other / one)
}

fn named(name: &str) -> Role {
    roles().find(|role| role.name == name).unwrap()
}

#[test]
fn text_and_shapes_can_be_told_from_their_ground() {
    for value in [|role: Role| role.light, |role: Role| role.dark] {
        for ground in ["paper", "card"] {
            let ground = value(named(ground));
            for text in ["ink", "muted", "more", "less"] {
                let found = contrast(value(named(text)), ground);
                assert!(found >= 4.5, "{text}: {found:.2}");
            }
            for shape in SERIES.into_iter().chain([BASELINE, ARM, named("unseen")]) {
                let found = contrast(value(shape), ground);
                assert!(found >= 3.0, "{}: {found:.2}", shape.name);
            }
        }
        assert!(contrast(value(named("on-alarm")), value(named("alarm"))) >= 4.5);
    }
}

#[test]
fn drawn_colours_differ_because_they_are_names() {
    let drawn: Vec<Role> = [INK, MUTED, GRID, BASELINE, ARM].into_iter().chain(SERIES).collect();
    let different: HashSet<u32> = drawn.iter().map(|role| role.light).collect();
    assert_eq!(different.len(), drawn.len());
    let css = rules();
    for role in drawn {
        assert!(css.contains(&format!(".plot [fill=\"#{:06X}\"]{{fill:var(--{})}}", role.light, role.name)));
    }
}
