//! The kernel's address space.

pub mod layout;
pub mod plant;
pub mod tables;

use core::fmt::{self, Write};

use rhumb_machine::VirtAddr;

use crate::boot::Boot;

/// One line about what belongs at `address`, mapped or not.
pub fn describe(address: VirtAddr) -> layout::Place {
    layout::place_of(address)
}

/// Writes the page walk for `address`, level by level, if there are tables to walk.
pub fn write_walk(out: &mut dyn Write, address: VirtAddr) -> fmt::Result {
    if crate::boot::boot().is_none() {
        return writeln!(out, "(the kernel's own page tables are not built yet)");
    }
    write!(out, "{}", tables::walk(address))
}

/// Logs how memory is mapped.
pub fn report_layout(boot: &Boot) {
    let figures = &boot.direct_map;
    log::info!("direct map at {}: {} in {} page tables", figures.base, figures.pages, figures.tables);
}
