//! Conditions of comparisons, divided into those that are the same in all of them and those that tell them apart.

use crate::schema::Comparison;

#[cfg(test)]
mod tests;

/// Returns the conditions, name and value, that all of `comparisons` have.
fn common<'a>(comparisons: &[&'a Comparison]) -> Vec<(&'a String, &'a String)> {
    let [first, rest @ ..] = comparisons else { return Vec::new() };
    let is_common = |(name, value): &(&String, &String)| {
        !rest.is_empty() && rest.iter().all(|one| one.conditions.get(*name) == Some(*value))
    };
    first.conditions.iter().filter(is_common).collect()
}

/// Returns the conditions that all of `comparisons` have, as phrases: "data: hot". A single comparison has none in
/// common.
pub(crate) fn shared(comparisons: &[&Comparison]) -> Vec<String> {
    common(comparisons).into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

/// Returns the conditions of `one` that not all of `comparisons` have, as phrases.
pub(crate) fn own(one: &Comparison, comparisons: &[&Comparison]) -> Vec<String> {
    let common = common(comparisons);
    let is_own = |condition: &(&String, &String)| !common.contains(condition);
    one.conditions.iter().filter(is_own).map(|(name, value)| format!("{name}: {value}")).collect()
}
