//! Curves: lines with their intervals as bands.

#[cfg(test)]
mod tests;

use maud::{Markup, html};
use plotters::prelude::*;

use super::chart::{Area, Axis, FINE, NARROW, Size, WIDE, axes, draw, power_bytes};
use super::palette::SERIES;
use super::tables::{caption, rows};
use crate::error::Error;
use crate::format::{number, quantity};
use crate::schema::{Curve, Point, Series};

/// Tells whether an axis is by powers of two: it is not where a place has no logarithm.
fn is_by_powers(curve: &Curve) -> bool {
    curve.x_by_powers && !curve.series.iter().flat_map(|line| &line.points).any(|point| point.x <= 0.0)
}

/// Tells whether a curve has a point that can be drawn.
pub(super) fn has_points(curve: &Curve) -> bool {
    let by_powers = is_by_powers(curve);
    curve.series.iter().any(|series| !Line::of(series, by_powers, 0.0).points.is_empty())
}

/// Returns the figure of a curve with points, which is the `index`th.
pub(super) fn figure(curve: &Curve, index: usize) -> Result<Markup, Error> {
    let by_powers = is_by_powers(curve);
    let (x_label, unit) = split_unit(&curve.x_label);
    let unit = unit.filter(|_| by_powers);
    let x_label = if unit.is_some() { x_label } else { &curve.x_label };
    let shift = unit.unwrap_or(0.0);
    let lines: Vec<Line<'_>> = curve.series.iter().map(|series| Line::of(series, by_powers, shift)).collect();
    let scale = match (by_powers, unit) {
        (false, _) => Places::Numbers,
        (true, None) => Places::Powers,
        (true, Some(_)) => Places::Sizes,
    };
    Ok(html! {
        figure id=(format!("curve-{index}")) {
            h3 { (curve.title) }
            (legend(&curve.series))
            p.axis { (curve.y_label) }
            @for size in [WIDE, NARROW] {
                (draw(size, &format!("{}: {} over {}", curve.title, curve.y_label, curve.x_label), |area| {
                    lines_on(area, size, &lines, scale)
                })?)
            }
            p.axis.right { (x_label) }
            (caption(&curve.caption))
            (table(curve))
        }
    })
}

/// How the horizontal axis is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Places {
    /// As numbers.
    Numbers,
    /// As powers of two.
    Powers,
    /// As powers of two that are sizes in bytes.
    Sizes,
}

/// Splits the unit of a size from the name of an axis, and returns it as a power of two. Ticks of sizes have their units.
fn split_unit(label: &str) -> (&str, Option<f64>) {
    let bare = label.trim_end_matches([')', ' ']);
    for (unit, power) in [("bytes", 0.0), ("KiB", 10.0), ("MiB", 20.0), ("GiB", 30.0)] {
        if let Some(name) =
            bare.strip_suffix(unit).filter(|name| name.ends_with([' ', '(', ',']) || name.is_empty())
        {
            return (name.trim_end_matches([' ', '(', ',']), Some(power));
        }
    }
    (label, None)
}

/// The points of a series that can be drawn.
struct Line<'a> {
    name: &'a str,
    points: Vec<Point>,
}

impl<'a> Line<'a> {
    fn of(series: &'a Series, by_powers: bool, shift: f64) -> Self {
        let place = |x: f64| if by_powers { x.log2() + shift } else { x };
        let finite = |point: &Point| [place(point.x), point.y].iter().all(|value| value.is_finite());
        let mut points: Vec<Point> = series
            .points
            .iter()
            .filter(|point| finite(point))
            .map(|point| {
                let end = |value: f64| if value.is_finite() { value } else { point.y };
                Point { x: place(point.x), y: point.y, low: end(point.low), high: end(point.high) }
            })
            .collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        Self { name: &series.name, points }
    }
}

fn lines_on(area: &Area<'_>, size: Size, lines: &[Line<'_>], places: Places) -> Result<(), String> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let (left, right) = (least(&mut all().map(|point| point.x)), most(&mut all().map(|point| point.x)));
    let x = match places {
        Places::Numbers if all().all(|point| point.x == point.x.trunc()) => {
            Axis::of_whole(left, right, size.ticks)
        }
        Places::Numbers => Axis::over(left, right, size.ticks),
        Places::Powers => Axis::of_powers(left, right, size.ticks),
        Places::Sizes => Axis { write: power_bytes, ..Axis::of_powers(left, right, size.ticks) },
    };
    // A time has its zero in the picture, so that a curve does not look steeper than it is.
    // Intervals that go far beyond all points are cut, because the points would be a flat line below them.
    let (lowest, highest) = (least(&mut all().map(|point| point.y)), most(&mut all().map(|point| point.y)));
    let reach = highest.abs().max(lowest.abs());
    let bottom = least(&mut all().map(|point| point.low)).max(lowest - reach).min(lowest).min(0.0);
    let top = most(&mut all().map(|point| point.high)).min(highest + reach).max(highest);
    let y = Axis::over(bottom, top + (top - bottom) * 0.06, 5);
    let mut plane = axes(area, x, y)?;
    for (index, line) in lines.iter().enumerate() {
        let colour = SERIES[index % SERIES.len()].drawn();
        let there = line.points.iter().map(|point| (point.x, point.high.clamp(bottom, top)));
        let back = line.points.iter().rev().map(|point| (point.x, point.low.clamp(bottom, top)));
        if line.points.len() > 1 {
            plane
                .draw_series([Polygon::new(there.chain(back).collect::<Vec<_>>(), colour.mix(0.16))])
                .map_err(|why| why.to_string())?;
        }
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = SERIES[index % SERIES.len()].drawn();
        let places = line.points.iter().map(|point| (point.x, point.y));
        // Lines beyond the last colour have hollow points.
        let dot = if index < SERIES.len() { colour.filled() } else { colour.stroke_width(FINE as u32) };
        plane
            .draw_series(LineSeries::new(places.clone(), colour.stroke_width(2 * FINE as u32)))
            .map_err(|why| why.to_string())?;
        plane
            .draw_series(places.map(|at| Circle::new(at, 3 * FINE, dot)))
            .map_err(|why| format!("{}: {why}", line.name))?;
    }
    Ok(())
}

/// Returns the names of the lines in their colours; nothing for a single line without a name.
fn legend(series: &[Series]) -> Markup {
    html! {
        ul.legend {
            @for (index, line) in series.iter().enumerate().filter(|(_, line)| !line.name.is_empty()) {
                li { i class=(format!("f{}", index % SERIES.len())) {} (line.name) }
            }
        }
    }
}

fn table(curve: &Curve) -> Markup {
    // Sizes have a unit each.
    let (x_label, power) = split_unit(&curve.x_label);
    let head = ["line", x_label, &curve.y_label, "from", "to"];
    let body = curve.series.iter().flat_map(|line| {
        line.points.iter().map(|point| {
            let x = match power {
                Some(power) => quantity(point.x * power.exp2(), "bytes"),
                None => number(point.x),
            };
            vec![line.name.clone(), x, number(point.y), number(point.low), number(point.high)]
        })
    });
    rows(&head, 1, body.collect())
}
