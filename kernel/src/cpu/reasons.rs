//! Numbers for the texts of reasons: a program's map has numbers, and a person wants the text.

use spin::Once;

/// Texts that have a number, at most; there are a few dozen in the kernel.
const MOST: usize = 96;

static TEXTS: [Once<&'static str>; MOST] = [const { Once::new() }; MOST];

/// Returns the number of a text, from 1 on, the same each time; 0 where there are too many.
pub fn number_of(text: &'static str) -> u64 {
    let place = TEXTS.iter().position(|place| *place.call_once(|| text) == text);
    place.map_or(0, |place| place as u64 + 1)
}

/// Returns the text of a number.
pub fn text_of(number: u64) -> Option<&'static str> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    TEXTS.get(place)?.get().copied()
}
