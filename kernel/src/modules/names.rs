//! Whose code an address is: for backtraces and the report of a panic. Waits for nothing.

use rhumb_machine::VirtAddr;

use super::registry::{self, ModuleName};
use crate::cpu::backtrace;

/// Returns the module whose code holds `address`.
pub(super) fn module_at(address: VirtAddr) -> Option<ModuleName> {
    registry::try_each(|module| module.code.contains(address).then_some(module.name))
}

/// Returns the module that has called the kernel's code that asks.
pub(super) fn caller() -> Option<ModuleName> {
    let mut found = None;
    backtrace::for_each_caller(|address| {
        found = module_at(address);
        found.is_none()
    });
    found
}

/// Has backtraces name the functions of modules. Once, at boot.
pub fn start() {
    backtrace::name_functions_by(function_at);
}

/// Returns the function of a module that `address` lies in, and the offset in it.
fn function_at(address: VirtAddr) -> Option<(&'static str, u64)> {
    registry::try_each(|module| {
        let symbols = module.symbols.filter(|_| module.code.contains(address))?;
        let symbol = symbols.lookup(address.since(module.code.start()))?;
        Some((symbol.name, symbol.offset))
    })
}
