//! The page's colours, in the light and in the dark theme.
//!
//! The drawing crate writes colours as attributes of its shapes. The style sheet replaces each by the variable of the
//! same role, so that one drawing has both themes. In the light theme, attribute and variable have the same colour.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use plotters::style::RGBColor;

/// A colour by its role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Role {
    /// The name of its variable.
    pub(crate) name: &'static str,
    light: u32,
    dark: u32,
}

impl Role {
    /// Returns the colour that the drawing crate is to write.
    pub(crate) fn drawn(self) -> RGBColor {
        let [_, red, green, blue] = self.light.to_be_bytes();
        RGBColor(red, green, blue)
    }
}

const fn role(name: &'static str, light: u32, dark: u32) -> Role {
    Role { name, light, dark }
}

/// Text.
pub(crate) const INK: Role = role("ink", 0x1c1b19, 0xecebe6);
/// Text of axes and remarks.
pub(crate) const MUTED: Role = role("muted", 0x65625b, 0xa8a59c);
/// Lines behind the data.
pub(crate) const GRID: Role = role("grid", 0xe0ddd4, 0x393835);
/// The baseline's samples.
pub(crate) const BASELINE: Role = role("baseline", 0x7b8794, 0x93a1ae);
/// The arm's samples.
pub(crate) const ARM: Role = role("arm", 0x2a64a6, 0x7fb4f0);

/// The lines of a curve and the parts of a bar, in order.
pub(crate) const SERIES: [Role; 8] = [
    role("s1", 0x2563a8, 0x78b0ee),
    role("s2", 0xc8501e, 0xf2925f),
    role("s3", 0x2e8157, 0x68c497),
    role("s4", 0x7d52a8, 0xc19fe6),
    role("s5", 0x957009, 0xdcb650),
    role("s6", 0xb3306e, 0xee8ab9),
    role("s7", 0x147d88, 0x5cc4d0),
    role("s8", 0x4f5d69, 0xb3c0cb),
];

/// Colours that only the style sheet uses.
const OTHERS: [Role; 15] = [
    role("paper", 0xfcfbf8, 0x171716),
    role("card", 0xf3f1ea, 0x21211f),
    role("line", 0xd2cec3, 0x454440),
    role("band", 0xe9e6dd, 0x2d2c2a),
    role("more", 0xb8391c, 0xf58a6e),
    role("less", 0x1c7a5c, 0x5fcba6),
    role("unseen", 0x85827a, 0x96938a),
    role("alarm", 0xa3150c, 0xa81f14),
    role("on-alarm", 0xffffff, 0xffffff),
    role("p1g", 0x23527f, 0x3f78b3),
    role("p2m", 0x86b3d6, 0x9dc9ec),
    role("p4k", 0xe58a23, 0xf0a04a),
    role("pun", 0x4a4743, 0xdcd8cd),
    role("hole", 0xf0eee7, 0x22211f),
    // The shadow where a table goes on beyond its edge.
    role("cut", 0xaaa595, 0x6b6860),
];

fn roles() -> impl Iterator<Item = Role> {
    [INK, MUTED, GRID, BASELINE, ARM].into_iter().chain(SERIES).chain(OTHERS)
}

/// Returns the variables of both themes, and the rules that give drawings their colours. Paper is always light.
pub(crate) fn rules() -> String {
    let mut css = String::new();
    let variables = |css: &mut String, value: fn(Role) -> u32| {
        roles().for_each(|role| _ = write!(css, "--{}:#{:06x};", role.name, value(role)));
    };
    css.push_str(":root{color-scheme:light dark;");
    variables(&mut css, |role| role.light);
    css.push_str("}\n@media screen and (prefers-color-scheme:dark){:root{");
    variables(&mut css, |role| role.dark);
    css.push_str("}}\n");
    for role in [INK, MUTED, GRID, BASELINE, ARM].into_iter().chain(SERIES) {
        let (name, colour) = (role.name, role.light);
        _ = writeln!(
            css,
            ".plot [fill=\"#{colour:06X}\"]{{fill:var(--{name})}}.plot [stroke=\"#{colour:06X}\"]{{stroke:var(--{name})}}"
        );
    }
    for (index, role) in SERIES.iter().enumerate() {
        _ = writeln!(
            css,
            ".f{}{{fill:var(--{2});background:var(--{2})}}.t{1}{{color:var(--{2})}}",
            index, index, role.name
        );
    }
    css
}
