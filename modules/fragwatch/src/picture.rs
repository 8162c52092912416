//! The picture of a node's samples.

use core::fmt::Write;

use rhumb_module::frames::Size;
use rhumb_module::{ORDERS, Output};

use crate::ring::Ring;

/// From nothing to all of the free memory.
const SHADES: &[u8] = b" .:-=+*#%@";

/// Returns the shade of a part of 255: blank for nothing alone.
fn shade(part: u8) -> char {
    let steps = SHADES.len() - 1;
    char::from(SHADES[(usize::from(part) * steps).div_ceil(255)])
}

/// Draws the last samples of a node.
pub(crate) fn draw(ring: &Ring, node: u32, columns: usize, out: &mut Output<'_>) {
    let samples = ring.last(node, columns);
    for order in (0..ORDERS).rev() {
        // The console takes all that is written.
        let _ = write!(out, "{:>8} |", Size(4096 << order));
        for sample in samples.clone() {
            let _ = out.write_char(shade(sample.part[order]));
        }
        out.line(format_args!("|"));
    }
    let (Some(first), Some(last)) = (samples.clone().next(), samples.clone().next_back()) else { return };
    let (least, most) = samples.clone().fold((u64::MAX, 0), |(least, most), sample| {
        (least.min(sample.free_frames), most.max(sample.free_frames))
    });
    let count = samples.count();
    let seconds = (last.at_ms - first.at_ms) / 1000;
    out.line(format_args!(
        "node {node}: {count} samples over {seconds} s; free now {}, least {}, most {}",
        Size(last.free_frames * 4096),
        Size(least * 4096),
        Size(most * 4096)
    ));
}
