//! Drawings with two axes, by the `plotters` crate.
//!
//! Each is drawn twice, once for a wide screen and once for a phone, so that its text has the size of the page's text on
//! both. The style sheet shows one of the two. Axis names are outside of the drawing, where they can wrap.

#[cfg(test)]
mod tests;

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

use super::palette::{GRID, MUTED};
use crate::error::Error;
use crate::format::{bytes, number};

/// Drawn units for each unit of the page: the crate draws at whole numbers, and lines at a quarter of them look smooth.
pub(crate) const FINE: i32 = 4;

/// A drawing's size on the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size {
    /// The class by which the style sheet shows or hides it.
    pub(crate) class: &'static str,
    /// Width in units of the page.
    pub(crate) width: u32,
    /// Height in units of the page.
    pub(crate) height: u32,
    /// Ticks of the horizontal axis, about.
    pub(crate) ticks: usize,
}

/// For a wide screen and for paper.
pub(crate) const WIDE: Size = Size { class: "wide", width: 720, height: 340, ticks: 8 };
/// For a phone.
pub(crate) const NARROW: Size = Size { class: "narrow", width: 350, height: 280, ticks: 4 };

/// The area that a drawing is made on.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A chart with its two axes.
pub(crate) type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// Draws a picture. `alt` describes it to those that cannot see it.
pub(crate) fn draw(
    size: Size,
    alt: &str,
    fill: impl FnOnce(&Area<'_>) -> Result<(), String>,
) -> Result<Markup, Error> {
    let mut svg = String::new();
    let (width, height) = (size.width * FINE as u32, size.height * FINE as u32);
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        fill(&area).map_err(Error::Chart)?;
        area.present().map_err(|why| Error::Chart(why.to_string()))?;
    }
    // The crate's own element has a fixed size: its children go into one that fits the page.
    let inner = svg.split_once('>').map_or("", |(_, rest)| rest);
    let inner = inner.rsplit_once("</svg>").map_or(inner, |(inner, _)| inner);
    Ok(html! {
        svg class=(format!("plot {}", size.class)) viewBox=(format!("0 0 {width} {height}")) role="img"
            aria-label=(alt) { (PreEscaped(inner.replace('\n', ""))) }
    })
}

/// An axis: its range, and the places that have a tick.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// The lower end.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
    /// Places with a tick, within the range.
    pub(crate) ticks: Vec<f64>,
    /// Writes the number of a tick.
    pub(crate) write: fn(f64) -> String,
}

impl Axis {
    /// Returns an axis over `low` to `high` with about `count` ticks at round numbers. A range without a width gets one.
    pub(crate) fn over(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - low.abs() * 0.05 - 0.5, low + low.abs() * 0.05 + 0.5)
        };
        let rough = (high - low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|part| part * power)
            .find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let first = (low / step).ceil();
        let ticks = (0..=2 * count + 2)
            .map(|index| (first + index as f64) * step)
            .take_while(|tick| *tick <= high + step * 1e-6);
        Self { low, high, ticks: ticks.collect(), write: tick }
    }

    /// Returns an axis of whole things, such as CPUs, which has no tick between two of them.
    pub(crate) fn of_whole(low: f64, high: f64, count: usize) -> Self {
        let mut axis = Self::over(low, high, count);
        axis.ticks.retain(|tick| (tick - tick.round()).abs() < 1e-9);
        axis
    }

    /// Returns an axis whose values are powers of two, by their exponents.
    pub(crate) fn of_powers(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 1.0, low + 1.0) };
        let step = ((high - low) / count.max(1) as f64).ceil().max(1.0);
        let first = low.ceil();
        let ticks =
            (0..=count + 1).map(|index| first + index as f64 * step).take_while(|tick| *tick <= high + 1e-6);
        Self { low, high, ticks: ticks.collect(), write: power }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let part = (value - self.low) / (self.high - self.low);
        start + (f64::from(end - start) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        (self.write)(*value)
    }
}

/// Draws the axes and returns the plane for the data. A vertical axis without ticks takes no room.
pub(crate) fn axes<'a, 'b>(area: &'a Area<'b>, x: Axis, y: Axis) -> Result<Plane<'a, 'b>, String> {
    let text = ("sans-serif", 12.5 * 1.24 * f64::from(FINE), &MUTED.drawn());
    let longest = y.ticks.iter().map(|tick| (y.write)(*tick).chars().count()).max().unwrap_or(0) as i32;
    let left = if longest == 0 { 6 * FINE } else { (longest * 7 + 10) * FINE };
    let (ticks_x, ticks_y) = (x.ticks.len() + 1, y.ticks.len() + 1);
    let mut plane = ChartBuilder::on(area)
        .margin_top(8 * FINE)
        .margin_right(18 * FINE)
        .x_label_area_size(24 * FINE)
        .y_label_area_size(left)
        .build_cartesian_2d(x, y)
        .map_err(|why| why.to_string())?;
    let mut mesh = plane.configure_mesh();
    mesh.label_style(text)
        .axis_style(MUTED.drawn().stroke_width(FINE as u32))
        .bold_line_style(GRID.drawn().stroke_width(FINE as u32))
        .light_line_style(TRANSPARENT)
        .set_all_tick_mark_size(3 * FINE)
        .x_labels(ticks_x)
        .y_labels(ticks_y);
    if longest == 0 {
        mesh.disable_y_mesh().disable_y_axis();
    }
    mesh.draw().map_err(|why| why.to_string())?;
    Ok(plane)
}

/// Writes a tick's number, without digits that a round number does not need.
pub(crate) fn tick(value: f64) -> String {
    match value.abs() {
        // Sums of steps miss zero by a little.
        size if size < 1e-9 => "0".to_owned(),
        size if (1e6..1e15).contains(&size) => format!("{} M", number((value / 1e4).round() / 100.0)),
        _ => {
            let text = number((value * 1e6).round() / 1e6);
            if text.contains('.') && !text.contains('e') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
    }
}

/// Writes two to a power, as short as a tick needs.
fn power(exponent: f64) -> String {
    if (0.0..50.0).contains(&exponent) { number(exponent.exp2().round()) } else { tick(exponent.exp2()) }
}

/// Writes two to a power of bytes.
pub(crate) fn power_bytes(exponent: f64) -> String {
    bytes(exponent.exp2().round())
}
