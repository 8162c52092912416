//! The objects that are loaded, by name.

use alloc::vec::Vec;
use core::fmt;

use arrayvec::ArrayVec;
use rhumb_bpf::limits::MAX_PROGRAMS;
use rhumb_bpf::{LoadError, Name, Object};
use rhumb_machine::impossible;
use spin::Mutex;

use super::attached;
use super::loaded::Loaded;
use crate::cpu::area;
use crate::cpu::trace::{self, Event};
use crate::mm;

const ELF_MAGIC: &[u8] = b"\x7fELF";
/// Objects, at most.
const MOST: usize = 8;

/// Each in memory of its own, which does not move with the list.
static OBJECTS: Mutex<ArrayVec<Vec<Loaded>, MOST>> = Mutex::new(ArrayVec::new_const());

/// Why a command on programs was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug)]
pub enum BpfError {
    /// The file is not one that can be loaded.
    Load(LoadError),
    /// The name would be cut, or has characters that cannot be shown.
    BadName,
    /// An object of this name is loaded.
    LoadedAlready,
    /// No object of this name is loaded.
    NotLoaded,
    /// There are as many objects as there can be.
    TooMany,
    /// No program of the object is for this event, and it has several.
    NoProgramFor(Event),
    /// The object's only program is for another event, whose words mean other things.
    ForOther {
        /// The event that it is for.
        own: Event,
        /// The event that was asked for.
        wanted: Event,
    },
    /// No program of the object names an event.
    NoEvent,
    /// The event has as many programs as it can have.
    EventFull(Event),
    /// The program is attached to the event already.
    AttachedAlready(Event),
    /// The object is attached to no event, or not to this one.
    NotAttached,
    /// A program of it is attached to this event.
    InUse(Event),
}

impl fmt::Display for BpfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::BadName => f.write_str("a name has at most 31 characters, all of them printable ASCII"),
            Self::LoadedAlready => f.write_str("it is loaded already"),
            Self::NotLoaded => f.write_str("no such object is loaded: see 'bpf list'"),
            Self::TooMany => write!(f, "{MOST} objects are loaded, which is the most"),
            Self::NoProgramFor(event) => write!(f, "none of its programs is for {}", event.name()),
            Self::ForOther { own, wanted } => {
                write!(
                    f,
                    "its program is for {}, whose words mean other things than {}'s",
                    own.name(),
                    wanted.name()
                )
            }
            Self::NoEvent => f.write_str("its programs name no event: say which one"),
            Self::EventFull(event) => {
                write!(f, "{} has {} programs, which is the most", event.name(), attached::SLOTS)
            }
            Self::AttachedAlready(event) => write!(f, "it is attached to {} already", event.name()),
            Self::NotAttached => f.write_str("it is not attached"),
            Self::InUse(event) => write!(f, "it is attached to {}: detach it first", event.name()),
        }
    }
}

impl From<LoadError> for BpfError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

/// Loads an object from a file: ELF, or else raw instructions.
///
/// # Errors
/// [`BpfError`]; nothing is left of it then.
pub fn load(name: &str, file: &[u8]) -> Result<(), BpfError> {
    if Name::new(name).as_str() != name {
        return Err(BpfError::BadName);
    }
    let mut objects = OBJECTS.lock();
    if find(&objects, name).is_some() {
        return Err(BpfError::LoadedAlready);
    }
    if objects.is_full() {
        return Err(BpfError::TooMany);
    }
    let object = if file.starts_with(ELF_MAGIC) {
        Object::from_elf(name, file, area::all().count())?
    } else {
        Object::from_raw(name, file)?
    };
    let mut place = Vec::new();
    place.try_reserve_exact(1).map_err(|_| LoadError::OutOfMemory)?;
    place.push(Loaded::new(object)?);
    objects.push(place);
    Ok(())
}

/// Frees an object.
///
/// # Errors
/// It is not loaded, or attached.
pub fn unload(name: &str) -> Result<(), BpfError> {
    let mut objects = OBJECTS.lock();
    let at = find(&objects, name).ok_or(BpfError::NotLoaded)?;
    let Some(loaded) = objects[at].first() else { return Err(BpfError::NotLoaded) };
    let programs = 0..loaded.object().programs().len();
    let attached = programs.flat_map(|program| attached::attachments(loaded, program)).next();
    if let Some(event) = attached {
        return Err(BpfError::InUse(event));
    }
    drop(objects.remove(at));
    Ok(())
}

/// Attaches the programs of an object: to an event the one that is for it, or the only one, if that names no event; without
/// an event each to its own. Returns how many.
///
/// # Errors
/// [`BpfError`]; none is attached that was not.
pub fn attach(name: &str, event: Option<Event>) -> Result<usize, BpfError> {
    let mut objects = OBJECTS.lock();
    let at = find(&objects, name).ok_or(BpfError::NotLoaded)?;
    let pairs = pairs(objects[at].first().ok_or(BpfError::NotLoaded)?, event)?;
    let loaded = objects[at].as_mut_ptr();
    for (done, &(program, event)) in pairs.iter().enumerate() {
        if !attached::put(event, loaded, program) {
            for &(program, event) in &pairs[..done] {
                end(event, loaded, program);
            }
            return Err(BpfError::EventFull(event));
        }
        set_heard(event);
    }
    Ok(pairs.len())
}

/// Returns the programs to attach, with their events.
fn pairs(loaded: &Loaded, event: Option<Event>) -> Result<ArrayVec<(usize, Event), MAX_PROGRAMS>, BpfError> {
    let programs = loaded.object().programs();
    let own = || {
        programs
            .iter()
            .enumerate()
            .filter_map(|(at, program)| Some((at, Event::named(program.event().as_str())?)))
    };
    let mut pairs: ArrayVec<_, MAX_PROGRAMS> =
        own().filter(|pair| event.is_none_or(|event| event == pair.1)).collect();
    match event {
        Some(wanted) if pairs.is_empty() && programs.len() == 1 => match own().next() {
            Some((_, own)) => return Err(BpfError::ForOther { own, wanted }),
            None => pairs.push((0, wanted)),
        },
        Some(event) if pairs.is_empty() => return Err(BpfError::NoProgramFor(event)),
        None if pairs.is_empty() => return Err(BpfError::NoEvent),
        _ => {}
    }
    let again = pairs.iter().find(|pair| attached::attachments(loaded, pair.0).any(|event| event == pair.1));
    match again {
        Some(&(_, event)) => Err(BpfError::AttachedAlready(event)),
        None => Ok(pairs),
    }
}

/// Detaches the programs of an object from an event, or from all, and waits until none runs. Returns how many.
///
/// # Errors
/// It is not loaded, or not attached.
pub fn detach(name: &str, event: Option<Event>) -> Result<usize, BpfError> {
    let mut objects = OBJECTS.lock();
    let at = find(&objects, name).ok_or(BpfError::NotLoaded)?;
    let programs = objects[at].first().map_or(0, |loaded| loaded.object().programs().len());
    let loaded = objects[at].as_mut_ptr();
    let mut detached = 0;
    for event in Event::ALL.into_iter().filter(|&one| event.is_none_or(|event| event == one)) {
        for program in 0..programs {
            detached += usize::from(end(event, loaded, program));
        }
    }
    if detached == 0 { Err(BpfError::NotAttached) } else { Ok(detached) }
}

/// Detaches one program from one event.
fn end(event: Event, loaded: *mut Loaded, program: usize) -> bool {
    let was_there = attached::clear(event, loaded, program);
    if was_there {
        set_heard(event);
    }
    was_there
}

/// Says whether an event is heard, and has the allocators tell of theirs.
fn set_heard(event: Event) {
    trace::set_heard(event, attached::is_used(event));
    let hears = |events: [Event; 2]| events.into_iter().any(trace::is_heard);
    if let Some(frames) = mm::frames::frames() {
        frames.set_traced(hears([Event::FrameAlloc, Event::FrameFree]));
    }
    if let Some(slabs) = mm::objects::slabs() {
        slabs.set_traced(hears([Event::ObjectAlloc, Event::ObjectFree]));
    }
}

fn find(objects: &[Vec<Loaded>], name: &str) -> Option<usize> {
    let name = Name::new(name);
    objects.iter().position(|place| place.first().is_some_and(|loaded| *loaded.object().name() == name))
}

/// Calls `each` for each object.
pub fn for_each(mut each: impl FnMut(&Loaded)) {
    OBJECTS.lock().iter().flatten().for_each(&mut each);
}

/// Looks at one object.
///
/// # Errors
/// It is not loaded.
pub fn with<T>(name: &str, look: impl FnOnce(&Loaded) -> T) -> Result<T, BpfError> {
    let objects = OBJECTS.lock();
    let at = find(&objects, name).ok_or(BpfError::NotLoaded)?;
    match objects[at].first() {
        Some(loaded) => Ok(look(loaded)),
        None => impossible!("an object is in its place" => Err(BpfError::NotLoaded)),
    }
}
