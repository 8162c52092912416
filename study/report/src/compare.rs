//! Several studies beside each other: two machines, two kernels, or a fleet of hundreds.
//!
//! Comparisons are joined by their id, baseline and arm, so that a row has one effect for each machine. A study whose
//! controls failed is shown and takes part in no summary. Whether the machines disagree is asked of each row by Cochran's
//! test, and adjusted for all rows.

mod differences;
mod labels;
mod page;
mod pool;
mod power;
mod terminal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rhumb_method::{Effect, holm, median, quantile};

use crate::conditions;
use crate::error::Error;
use crate::files::replace;
use crate::format::{change, counted, number, sentence, share};
use crate::names::COMPARE_PAGE;
use crate::schema::{Comparison, Ending, Kind, Study};

use power::Power;

pub use differences::Difference;
pub use labels::names as names_of;
pub use pool::Pooled;

/// The level at which machines are said to disagree.
const LEVEL: f64 = 0.05;

/// The most machines that are shown one by one.
const FEW: usize = 8;

/// One of the studies that are compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Side {
    /// The machine's name; with its kernel, or the name of its file, where two machines have the same.
    pub label: String,
    /// Why the study proves nothing, in a sentence; `None` where its controls passed.
    pub void: Option<String>,
    /// Reasons to trust the study less, in a few words each.
    pub doubts: Vec<&'static str>,
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
    /// The smallest difference between one machine and the others that this test would most likely have seen, as a share.
    pub smallest_difference: Option<f64>,
}

impl Joined {
    /// Tells whether the machines disagree by more than chance.
    pub fn differs(&self) -> bool {
        self.p_same.is_some_and(|p| p <= LEVEL)
    }

    /// Returns the effects of the studies that prove something.
    fn sound(&self, sides: &[Side]) -> Vec<Effect> {
        let sound = self.effects.iter().zip(sides).filter(|(_, side)| side.void.is_none());
        sound.filter_map(|(effect, _)| *effect).collect()
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
    /// Why the studies have no comparison in common, in a sentence, where a reason is known.
    pub strangers: Option<String>,
}

/// Sets studies beside each other. `files` names them where their machines have the same name, as [`names_of`] does; it may
/// be empty.
///
/// # Errors
/// Fewer than two studies, or studies of different kinds.
pub fn compare(studies: &[Study], files: &[String]) -> Result<Compared, Error> {
    let [first, rest @ ..] = studies else { return Err(Error::TooFew(0)) };
    if rest.is_empty() {
        return Err(Error::TooFew(1));
    }
    let labels = labels::of(studies, files);
    if let Some(at) = studies.iter().position(|study| study.kind != first.kind) {
        return Err(Error::Kinds {
            first: first.kind,
            first_label: labels[0].clone(),
            other: studies[at].kind,
            other_label: labels[at].clone(),
        });
    }
    let sides = sides(studies, labels);
    let rows = join(studies, &sides);
    let differences = differences::of(studies);
    let all: Vec<&Comparison> = studies.iter().flat_map(|study| &study.comparisons).collect();
    let conditions = conditions::shared(&all);
    let strangers = strangers(studies, &sides);
    let figures = figures(studies);
    Ok(Compared { kind: first.kind, sides, rows, conditions, figures, differences, strangers })
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

    /// Returns the number of studies that prove something.
    fn sound(&self) -> usize {
        self.sides.iter().filter(|side| side.void.is_none()).count()
    }

    /// Returns a sentence for each study that proves nothing, and then for each that is to be trusted less. Of a fleet, the
    /// first are named and the others are counted.
    fn remarks(&self) -> (Vec<String>, Vec<String>) {
        let few = |mut remarks: Vec<String>, says: &str| {
            if remarks.len() > FEW {
                let rest = remarks.split_off(FEW).len();
                remarks.push(format!("{} more {says}.", number(rest as f64)));
            }
            remarks
        };
        let void = |side: &Side| Some(format!("{} proves nothing. {}", side.label, side.void.as_deref()?));
        let void = self.sides.iter().filter_map(void).collect();
        let doubtful = self.sides.iter().filter(|side| side.void.is_none() && !side.doubts.is_empty());
        let doubtful = doubtful.map(|side| format!("{}: {}.", side.label, side.doubts.join(", ")));
        (
            few(void, "prove nothing"),
            few(doubtful.collect(), "ended early or are too noisy for small effects"),
        )
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
            1 => " One study is left out of every summary, because it proves nothing.".to_owned(),
            void => format!(" {void} studies are left out of every summary, because they prove nothing."),
        };
        let studies = format!("{} studies", number(self.sides.len() as f64));
        if self.sound() < 2 {
            let headline =
                format!("Nothing can be concluded from {studies}: fewer than two prove something.");
            return (headline, left_out.trim_start().to_owned());
        }
        let common: Vec<&Joined> = self.rows.iter().filter(|row| row.p_same.is_some()).collect();
        if common.is_empty() {
            let what = if self.rows.is_empty() { "no comparisons" } else { "no comparison in common" };
            let why = self.strangers.as_deref().filter(|_| !self.rows.is_empty()).unwrap_or_default();
            let figures = if self.figures.is_empty() { "" } else { "Their other figures are below." };
            let detail = format!("{why} {figures}{left_out}").trim().to_owned();
            return (format!("The {studies} have {what}."), detail);
        }
        let apart = self.disagreements();
        let comparisons = counted(common.len(), "common comparison");
        let visible = self.would_be_seen(if apart.is_empty() { "" } else { " in the others" });
        let Some(widest) = apart.first() else {
            let headline = format!("No difference between {studies} was seen in {comparisons}.");
            return (headline, format!("{visible}{left_out}"));
        };
        let headline = format!("{studies} disagree in {} of {comparisons}.", apart.len());
        let range = widest
            .quantiles
            .map_or(String::new(), |all| format!(": from {} to {}", change(all[0]), change(all[4])));
        let rest = if apart.len() < common.len() { format!(" {visible}") } else { String::new() };
        (headline, format!("Widest apart is {} ({}){range}.{rest}{left_out}", widest.workload, widest.versus))
    }

    /// Says which difference would have been seen, in the rows in which none was.
    fn would_be_seen(&self, place: &str) -> String {
        let tested = self.rows.iter().filter(|row| row.p_same.is_some() && !row.differs());
        let smallest: Vec<f64> = tested.filter_map(|row| row.smallest_difference).collect();
        let worst = smallest.iter().copied().max_by(f64::total_cmp);
        match (median(&smallest), worst) {
            (Some(one), Some(_)) if smallest.len() == 1 => {
                format!("Smallest visible difference{place}: {}.", share(one))
            }
            (Some(median), Some(worst)) => {
                format!(
                    "Smallest visible difference{place}: {} (median), {} (worst).",
                    share(median),
                    share(worst)
                )
            }
            _ => "Their intervals are too wide to see any difference.".to_owned(),
        }
    }
}

/// Returns a side for each study, with the reasons not to trust it.
fn sides(studies: &[Study], labels: Vec<String>) -> Vec<Side> {
    let mut sides: Vec<Side> = Vec::new();
    for (at, (study, label)) in studies.iter().zip(labels).enumerate() {
        let is_same = |other: &Study| {
            (other.began_unix_s, other.seed) == (study.began_unix_s, study.seed)
                && other.machine == study.machine
        };
        let failed = study.controls.iter().find(|control| !control.passed);
        let has_effects = study.comparisons.iter().any(|one| one.effect.is_some());
        let void = if let Some(first) = studies[..at].iter().position(is_same) {
            Some(format!("It is the same study as {}.", sides[first].label))
        } else if let Some(control) = failed {
            Some(sentence(&control.verdict))
        } else if study.controls.is_empty() && has_effects {
            Some("It has no control, so that nothing shows that it could have seen an effect.".to_owned())
        } else {
            None
        };
        let mut doubts = Vec::new();
        if matches!(study.ending, Ending::Interrupted(_)) {
            doubts.push("ended early");
        }
        if study.noise.as_ref().is_some_and(|noise| noise.hopeless) {
            doubts.push("too noisy for small effects");
        }
        sides.push(Side { label, void, doubts, comparisons: study.comparisons.len() });
    }
    sides
}

/// Returns why no comparison of one study is one of another: the baselines or the arms that differ.
fn strangers(studies: &[Study], sides: &[Side]) -> Option<String> {
    let sound = || {
        studies.iter().zip(sides).filter(|(study, side)| side.void.is_none() && !study.comparisons.is_empty())
    };
    for (what, pick) in
        [("baselines", (|one| &one.baseline) as fn(&Comparison) -> &String), ("arms", |one| &one.arm)]
    {
        let (first, of_first) = sound().next().map(|(study, side)| (side, names(study, pick)))?;
        let other = sound().map(|(study, side)| (side, names(study, pick)));
        let mut other = other.skip(1).filter(|(_, names)| names.is_disjoint(&of_first));
        if let Some((side, names)) = other.next() {
            let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
            return Some(format!(
                "Their {what} differ: {} in {}, and {} in {}.",
                list(&of_first),
                first.label,
                list(&names),
                side.label
            ));
        }
    }
    None
}

/// Returns the names that the comparisons of a study have.
fn names<'a>(study: &'a Study, pick: fn(&'a Comparison) -> &'a String) -> BTreeSet<&'a str> {
    study.comparisons.iter().map(|one| &**pick(one)).collect()
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
                    smallest_difference: None,
                });
                rows.len() - 1
            });
            rows[place].effects[at] = one.effect;
        }
    }
    for row in &mut rows {
        let effects = row.sound(sides);
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
    // Holm's procedure tests the rows in which no difference is seen at the level that is left for them.
    let unseen = rows.iter().filter(|row| row.p_same.is_some() && !row.differs()).count();
    let mut power = Power::at(LEVEL / unseen.max(1) as f64);
    for row in &mut rows {
        row.smallest_difference = power.smallest(&row.sound(sides));
    }
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
