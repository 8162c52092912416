//! By function: addresses that executed, added up by the symbol that holds them.
//!
//! Symbols are those of the linker: an inlined function is part of its caller.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use rhumb_count::{Executed, Place, Side};
use rhumb_symbols::SymbolTable;

use crate::symbols;

/// The kernel's loop for CPUs that are kept busy: `kernel/src/lab/count/busy.rs`.
const WAITING: &str = "run_meanwhile";

/// The names of a kernel's functions, as its own backtraces know them.
pub(super) struct Names(Vec<u8>);

impl Names {
    /// Those in this ELF file.
    pub(super) fn of(kernel: &Path) -> Result<Self> {
        symbols::table_of(kernel).map(Self).with_context(|| format!("no symbols in {}", kernel.display()))
    }

    /// Returns the instructions of other CPUs in the loop in which they wait while they are kept busy.
    pub(super) fn waiting(&self, places: &BTreeMap<Place, Executed>) -> Result<Executed> {
        let mut sum = Executed::default();
        for (name, executed) in self.add_up(places, Side::Elsewhere)? {
            if name.contains(WAITING) {
                sum += executed;
            }
        }
        Ok(sum)
    }

    /// Returns the instructions of each function on one side, most first.
    pub(super) fn add_up(
        &self,
        places: &BTreeMap<Place, Executed>,
        side: Side,
    ) -> Result<Vec<(String, Executed)>> {
        let table = SymbolTable::parse(&self.0).context("the symbol table is not valid")?;
        let mut functions: BTreeMap<&str, Executed> = BTreeMap::new();
        for (place, &executed) in places.iter().filter(|(place, _)| place.side == side) {
            let name = table.lookup(place.address).map_or("(no symbol)", |symbol| symbol.name);
            *functions.entry(name).or_default() += executed;
        }
        let mut functions: Vec<_> =
            functions.into_iter().map(|(name, executed)| (name.to_string(), executed)).collect();
        functions.sort_by_key(|(_, executed)| std::cmp::Reverse(executed.steps()));
        Ok(functions)
    }
}
