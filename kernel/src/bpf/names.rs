//! Names for the numbers in maps: owners, reasons, places in the kernel's code, events, caches.

use core::fmt;

use rhumb_bpf::Part;
use rhumb_bpf::show::Names;
use rhumb_machine::VirtAddr;

use crate::cpu::trace::{Event, NO_CACHE};
use crate::cpu::{backtrace, reasons};
use crate::mm::{objects, owners};

/// The kernel's names.
pub struct KernelNames;

impl Names for KernelNames {
    fn write(&self, part: Part, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match part {
            Part::Number => write!(f, "{value}"),
            Part::Address => write!(f, "{value:#x}"),
            Part::Owner => match u16::try_from(value) {
                Ok(0) => f.write_str("no owner"),
                Ok(number) => fmt::Display::fmt(&owners::Name(rhumb_frames::Owner(number)), f),
                Err(_) => write!(f, "{value}"),
            },
            Part::Reason => f.write_str(reasons::text_of(value).unwrap_or("no reason")),
            Part::Code => match backtrace::name_of(VirtAddr::new(value)) {
                // A return address; the call itself lies before it.
                Some(_) if value != 0 => fmt::Display::fmt(&backtrace::Name(value - 1), f),
                _ => write!(f, "{value:#x}"),
            },
            Part::Event => {
                let event = usize::try_from(value).ok().and_then(|number| Event::ALL.get(number));
                f.write_str(event.map_or("?", |event| event.name()))
            }
            Part::Cache => {
                let name = u16::try_from(value).ok().and_then(|id| objects::slabs()?.cache_name(id));
                match name {
                    Some(name) => f.write_str(name.as_str()),
                    None if value == NO_CACHE => f.write_str("whole frames"),
                    None => write!(f, "cache {value}"),
                }
            }
        }
    }
}
