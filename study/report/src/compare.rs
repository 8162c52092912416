//! Several studies beside each other: two machines, two kernels, or a fleet of hundreds.
//!
//! Comparisons are joined by their id, baseline and arm, so that a row has one effect for each machine. A study whose
//! controls failed is shown and takes part in no summary. Whether the machines disagree is asked of each row by Cochran's
//! test, and adjusted for all rows.

mod differences;
mod page;
mod pool;
mod terminal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rhumb_method::{Effect, holm, quantile};

use crate::conditions;
use crate::error::Error;
use crate::files::replace;
use crate::format::{change, counted};
use crate::names::COMPARE_PAGE;
use crate::schema::{Comparison, Kind, Study};

pub use differences::Difference;
pub use pool::Pooled;

/// The level at which machines are said to disagree.
const LEVEL: f64 = 0.05;

/// The most machines that are shown one by one.
const FEW: usize = 8;

/// One of the studies that are compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Side {
    /// The machine's name, with its kernel or a number where two have the same.
    pub label: String,
    /// Why the study proves nothing; `None` where its controls passed.
    pub void: Option<String>,
    /// How many comparisons it has.
    pub comparisons: usize,
}

/// A comparison on all machines.
#[derive(Clone, PartialEq, Debug)]
pub struct Joined {
    /// Its id in each study.
    pub id: String,
    /// The workload.
    pub workload: String,
    /// The arm, its baseline and the conditions, in words.
    pub versus: String,
    /// The effects, by machine; `None` where a study has none.
    pub effects: Vec<Option<Effect>>,
    /// The summary of all studies whose controls passed, where there are enough.
    pub pooled: Option<Pooled>,
    /// The least, the quartiles and the largest of the ratios of those studies.
    pub quantiles: Option<[f64; 5]>,
    /// The chance of ratios that differ as much where all machines have the same, adjusted for all rows.
    pub p_same: Option<f64>,
}

impl Joined {
    /// Tells whether the machines disagree by more than chance.
    pub fn differs(&self) -> bool {
        self.p_same.is_some_and(|p| p <= LEVEL)
    }
}

/// A number that each study has once: a sum of bars, or a share of the map.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// The heading under which it is shown.
    pub title: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The values, by machine.
    pub values: Vec<Option<f64>>,
}

/// Studies beside each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Compared {
    /// The subject of all of them.
    pub kind: Kind,
    /// The studies, in the order in which they were given.
    pub sides: Vec<Side>,
    /// The comparisons, in the order of the first study that has them.
    pub rows: Vec<Joined>,
    /// The conditions that are the same in all comparisons of all studies.
    pub conditions: Vec<String>,
    /// Other numbers.
    pub figures: Vec<Figure>,
    /// Facts in which the machines differ.
    pub differences: Vec<Difference>,
}

/// Sets studies beside each other.
///
/// # Errors
/// Fewer than two studies, or studies of different kinds.
pub fn compare(studies: &[Study]) -> Result<Compared, Error> {
    let [first, rest @ ..] = studies else { return Err(Error::TooFew(0)) };
    if rest.is_empty() {
        return Err(Error::TooFew(1));
    }
    let labels = labels(studies);
    if let Some(at) = studies.iter().position(|study| study.kind != first.kind) {
        return Err(Error::Kinds {
            first: first.kind,
            first_label: labels[0].clone(),
            other: studies[at].kind,
            other_label: labels[at].clone(),
        });
    }
    let sides: Vec<Side> = studies.iter().zip(labels).map(|(study, label)| side(study, label)).collect();
    let rows = join(studies, &sides);
    let differences = differences::of(studies);
    let all: Vec<&Comparison> = studies.iter().flat_map(|study| &study.comparisons).collect();
    let conditions = conditions::shared(&all);
    Ok(Compared { kind: first.kind, sides, rows, conditions, figures: figures(studies), differences })
}

impl Compared {
    /// Writes the page of this comparison into `folder`, and returns its path.
    ///
    /// # Errors
    /// The system's refusal, or a full disk.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        std::fs::create_dir_all(folder).map_err(|why| Error::write(folder, why))?;
        let text = page::page(self);
        replace(&folder.join(COMPARE_PAGE), |out| out.write_all(text.as_bytes()))
    }

    /// Returns the studies whose controls passed.
    fn sound(&self) -> usize {
        self.sides.iter().filter(|side| side.void.is_none()).count()
    }

    /// Returns the rows in which the machines disagree, the widest apart first.
    fn disagreements(&self) -> Vec<&Joined> {
        let mut rows: Vec<&Joined> = self.rows.iter().filter(|row| row.differs()).collect();
        let width = |row: &Joined| row.quantiles.map_or(0.0, |all| (all[4] / all[0]).ln());
        rows.sort_by(|one, other| width(other).total_cmp(&width(one)));
        rows
    }

    /// Returns the answer in a headline and a sentence or two.
    pub fn verdict(&self) -> (String, String) {
        let void = self.sides.len() - self.sound();
        let left_out = match void {
            0 => String::new(),
            1 => " One study is left out of every summary, because a control of it failed.".to_owned(),
            void => format!(" {void} studies are left out of every summary, because their controls failed."),
        };
        let machines = counted(self.sides.len(), "study").replace("studys", "studies");
        if self.sound() < 2 {
            let headline =
                format!("Nothing can be concluded from {machines}: fewer than two have sound controls.");
            return (headline, left_out.trim_start().to_owned());
        }
        let common = self.rows.iter().filter(|row| row.p_same.is_some()).count();
        if common == 0 {
            let what = if self.rows.is_empty() { "no comparisons" } else { "no comparison in common" };
            let headline = format!("The {machines} have {what}.");
            let detail = if self.figures.is_empty() { "" } else { "Their other figures are below." };
            return (headline, format!("{detail}{left_out}").trim_start().to_owned());
        }
        let apart = self.disagreements();
        let comparisons = counted(common, "common comparison");
        match apart.first() {
            None => {
                let headline = format!("{machines} agree: no difference was seen in {comparisons}.");
                (
                    headline,
                    format!("Each difference was tested, with an allowance for their number.{left_out}"),
                )
            }
            Some(widest) => {
                let headline = format!("{machines} disagree in {} of {comparisons}.", apart.len());
                let range = widest
                    .quantiles
                    .map_or(String::new(), |all| format!(": from {} to {}", change(all[0]), change(all[4])));
                (
                    headline,
                    format!("Widest apart is {} ({}){range}.{left_out}", widest.workload, widest.versus),
                )
            }
        }
    }
}

/// Returns a name for each study: the user's or the CPU's, with the kernel and then a number where names are the same.
fn labels(studies: &[Study]) -> Vec<String> {
    let plain = |study: &Study| {
        let machine = &study.machine;
        [&machine.name, &machine.cpu]
            .into_iter()
            .find(|name| !name.is_empty())
            .cloned()
            .unwrap_or("a machine".into())
    };
    let mut labels: Vec<String> = studies.iter().map(plain).collect();
    let kernels = studies.iter().map(|study| study.machine.kernel.clone()).collect();
    let numbers = (1..=studies.len()).map(|number| format!("#{number}")).collect();
    for more in [kernels, numbers] {
        let more: Vec<String> = more;
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (label, more) in labels.iter().zip(&more) {
            groups.entry(label).or_default().insert(more);
        }
        let tells: Vec<bool> = labels.iter().map(|label| groups[&**label].len() > 1).collect();
        for ((label, more), tells) in labels.iter_mut().zip(&more).zip(tells) {
            if tells && !more.is_empty() {
                *label = format!("{label}, {more}");
            }
        }
    }
    labels
}

fn side(study: &Study, label: String) -> Side {
    let failed = study.controls.iter().find(|control| !control.passed);
    Side { label, void: failed.map(|control| control.verdict.clone()), comparisons: study.comparisons.len() }
}

/// Joins the comparisons of all studies.
fn join(studies: &[Study], sides: &[Side]) -> Vec<Joined> {
    let mut places: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut rows: Vec<Joined> = Vec::new();
    let all: Vec<&Comparison> = studies.iter().flat_map(|study| &study.comparisons).collect();
    for (at, study) in studies.iter().enumerate() {
        for one in &study.comparisons {
            let place = *places.entry((&one.id, &one.baseline, &one.arm)).or_insert_with(|| {
                let mut versus = vec![format!("{} against {}", one.arm, one.baseline)];
                versus.extend(conditions::own(one, &all));
                rows.push(Joined {
                    id: one.id.clone(),
                    workload: one.workload.clone(),
                    versus: versus.join(" · "),
                    effects: vec![None; studies.len()],
                    pooled: None,
                    quantiles: None,
                    p_same: None,
                });
                rows.len() - 1
            });
            rows[place].effects[at] = one.effect;
        }
    }
    for row in &mut rows {
        let sound = row.effects.iter().zip(sides).filter(|(_, side)| side.void.is_none());
        let effects: Vec<Effect> = sound.filter_map(|(effect, _)| *effect).collect();
        let mut ratios: Vec<f64> = effects.iter().map(|effect| effect.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        row.quantiles = (ratios.len() > 1)
            .then(|| [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| quantile(&ratios, q).unwrap_or(f64::NAN)));
        row.pooled = pool::pooled(&effects);
        row.p_same = pool::same(&effects);
    }
    let p: Vec<f64> = rows.iter().filter_map(|row| row.p_same).collect();
    rows.iter_mut()
        .filter_map(|row| row.p_same.as_mut())
        .zip(holm(&p))
        .for_each(|(p, adjusted)| *p = adjusted);
    rows
}

/// Returns the sums of all bars, and the shares of the last map, of all studies.
fn figures(studies: &[Study]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut put = |at: usize, title: &str, name: String, unit: &str, key: String, value: f64| {
        let place = *places.entry((key, name.clone())).or_insert_with(|| {
            figures.push(Figure {
                title: title.to_owned(),
                name,
                unit: unit.to_owned(),
                values: vec![None; studies.len()],
            });
            figures.len() - 1
        });
        figures[place].values[at] = Some(value);
    };
    for (at, study) in studies.iter().enumerate() {
        if let Some(map) = study.maps.last() {
            let sums = map.by_page();
            let total: f64 = sums.iter().map(|(_, bytes)| *bytes as f64).sum();
            for (page, bytes) in sums {
                let title = "Share of the map by the size of its pages";
                put(at, title, crate::format::page(page), "%", "map".into(), bytes as f64 / total * 100.0);
            }
        }
        for bars in &study.bars {
            for bar in &bars.bars {
                let sum: f64 = bar.values.iter().filter(|value| value.is_finite()).sum();
                put(at, &bars.title, bar.name.clone(), &bars.unit, bars.id.clone(), sum);
            }
        }
    }
    figures
}
