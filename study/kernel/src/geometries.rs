//! The geometries that a study models: published ones, and that of this machine's CPU.

use rhumb_study_report::{Curve, Point, Series, Tlb, TlbKind};
use rhumb_tlb_model::geometry::Described;
use rhumb_tlb_model::{Geometry, PageSize, Serves, WrongGeometry, ladder, published};

use crate::error::{Error, Unknown};

/// The name of this machine's geometry.
pub(crate) const HERE: &str = "this-machine";

/// The published geometries of a quick study.
const QUICK: [&str; 3] = ["skylake-sp", "sapphire-rapids", "zen3"];

/// Returns the geometries that are wanted: the ones named, or all, or some of them.
///
/// # Errors
/// A name is none, or it is this machine's and its caches are not known.
pub(crate) fn chosen(named: &[String], quick: bool, tlbs: &[Tlb]) -> Result<Vec<Geometry>, Error> {
    let mut all = published::all();
    let here = of_machine(tlbs);
    all.extend(here.clone().ok());
    if named.is_empty() {
        all.retain(|geometry| !quick || geometry.id == HERE || QUICK.contains(&geometry.id.as_str()));
        return Ok(all);
    }
    if let (true, Err(why)) = (named.iter().any(|name| name == HERE), here) {
        return Err(Error::NotHere(why));
    }
    let known = all.iter().map(|geometry| geometry.id.as_str()).collect::<Vec<_>>().join(", ");
    named
        .iter()
        .map(|name| {
            let found = all.iter().find(|geometry| geometry.id == *name).cloned();
            found.ok_or_else(|| Error::NoGeometry { name: name.clone(), known: known.clone() })
        })
        .collect()
}

/// Returns the geometry of the machine whose CPU describes these caches.
///
/// # Errors
/// Why they are not known.
pub fn of_machine(tlbs: &[Tlb]) -> Result<Geometry, Unknown> {
    if tlbs.is_empty() {
        return Err(Unknown::Silent);
    }
    // AMD's functions; Intel's description is a leaf.
    if tlbs.iter().any(|tlb| tlb.source.starts_with("CPUID function 8000_")) {
        return Err(Unknown::BySize);
    }
    let caches: Vec<Described<'_>> = tlbs
        .iter()
        .map(|tlb| Described {
            level: tlb.level,
            serves: match tlb.kind {
                TlbKind::Data => Serves::Data,
                TlbKind::Loads => Serves::Loads,
                TlbKind::Stores => Serves::Stores,
                TlbKind::Code => Serves::Code,
                TlbKind::Shared => Serves::All,
            },
            page_bytes: &tlb.page_bytes,
            entries: tlb.entries,
            ways: tlb.ways,
        })
        .collect();
    Ok(Geometry::described(HERE, "this machine", &caches)?)
}

/// Returns the predicted ladder of a geometry, with the axis of the measured one (`tlb-ladder`): misses for each access
/// along a chain, over the memory that the chain leads through.
///
/// # Errors
/// The geometry is none.
pub fn predicted_ladder(geometry: &Geometry) -> Result<Curve, WrongGeometry> {
    // Finer steps where the reach of small pages ends.
    let fine = (15..26).flat_map(|power| [1 << power, 3 << (power - 1)]);
    let sizes: Vec<u64> = fine.chain((26..33).map(|power| 1 << power)).collect();
    let mut series = Vec::new();
    for page in PageSize::ALL {
        let steps = ladder(geometry, page, &sizes)?;
        let mut line = |name: &str, of: fn(&rhumb_tlb_model::Step) -> f64| {
            let points = steps.iter().map(|step| {
                let (x, y) = (step.bytes as f64 / 1024.0, of(step));
                Point { x, y, low: y, high: y }
            });
            series.push(Series { name: format!("{page} pages: {name}"), points: points.collect() });
        };
        line("first-level misses", |step| step.first_level_misses);
        line("walks", |step| step.walks);
    }
    Ok(Curve {
        id: format!("tlb-ladder/{}", geometry.id),
        title: format!("The reach of translation caches, as modelled: {}", geometry.name),
        x_label: "memory accessed, one line in each 4 KiB (KiB)".to_owned(),
        y_label: "misses for each access".to_owned(),
        x_by_powers: true,
        series,
        caption: "The ladder that a machine measures of itself must rise at the same places".to_owned(),
    })
}

#[cfg(test)]
mod tests;
