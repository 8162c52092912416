//! The keeper: a small process that puts the machine back as it was when the study ends, however it ends.
//!
//! A study may reserve huge pages, start programs, and make files outside of its folder. Its own clean-up does not run
//! if it is killed, so it tells a second process beforehand, through a pipe, how each change is undone. The pipe closes
//! when the study's process ends. Then the keeper undoes all changes that are still on its list, the last one first, and
//! ends. It lives in a process group of its own and takes no signal that a terminal sends.
//!
//! A line of the pipe is one order: `lower ID FLOOR AMOUNT PATH`, `remove ID PATH`, `kill ID GROUP BEGAN`, or `done ID`.
//! An order with the ID of an earlier one replaces it. A path may have spaces, and no line break. A line without its end
//! was not written to its end, and one of more than 4,096 bytes was not written at once: both are no orders.

mod number;
mod undo;

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use number::Number;
use undo::{LONGEST, Undo};

/// The connection to the keeper.
#[derive(Clone, Debug)]
pub struct Keeper {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    orders: Option<ChildStdin>,
    process: Child,
    next: u64,
}

/// A change of the machine that the keeper will undo. Dropped, it is undone by the study itself.
#[must_use = "a dropped change is undone at once"]
pub struct Change {
    keeper: Option<Keeper>,
    id: u64,
    undo: Undo,
}

impl Keeper {
    /// Starts the keeper. `program` is a command that runs [`keep`] on its standard input, such as this program with a
    /// word of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut program: Command) -> io::Result<Self> {
        let mut process = program.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn()?;
        let orders = process.stdin.take();
        Ok(Self { inner: Arc::new(Mutex::new(Inner { orders, process, next: 0 })) })
    }

    fn order(&self, undo: &Undo) -> io::Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let id = inner.next;
        inner.next += 1;
        inner.send(&undo.line(id)?)?;
        Ok(id)
    }

    /// Replaces an order.
    fn reorder(&self, id: u64, undo: &Undo) -> io::Result<()> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).send(&undo.line(id)?)
    }

    fn done(&self, id: u64) {
        // A keeper that is gone needs no order.
        let _ = self.reorder(id, &Undo::Nothing);
    }
}

impl Inner {
    /// Writes a line at once: the pipe takes it whole or not at all.
    fn send(&mut self, line: &str) -> io::Result<()> {
        self.orders.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(line.as_bytes())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It ends by itself once the pipe is closed; its status says nothing that the user could act on.
        let _ = self.process.wait();
    }
}

impl Change {
    fn begin(keeper: Option<&Keeper>, undo: Undo) -> io::Result<Self> {
        let id = keeper.map_or(Ok(0), |keeper| keeper.order(&undo))?;
        Ok(Self { keeper: keeper.cloned(), id, undo })
    }

    /// Raises the number in the file `path` by `amount`: of huge pages to reserve, for example. Returns the change and
    /// how much of the amount the system granted, which is as much as the change takes back.
    ///
    /// # Errors
    /// The system's: the file cannot be read or written, or another study holds it for too long. Nothing is changed
    /// then.
    pub fn raise(keeper: Option<&Keeper>, path: &Path, amount: u64) -> io::Result<(Self, u64)> {
        Self::raise_by(keeper, path, amount, |number, wanted| number.set(wanted))
    }

    /// Raises a number by `set`, which may grant less than it is asked for.
    fn raise_by(
        keeper: Option<&Keeper>,
        path: &Path,
        amount: u64,
        set: impl FnOnce(&Number<'_>, u64) -> io::Result<()>,
    ) -> io::Result<(Self, u64)> {
        let number = Number::lock(path)?;
        let before = number.get()?;
        let wanted = before.checked_add(amount).ok_or(io::ErrorKind::InvalidInput)?;
        // The keeper hears of it first. If this process is killed before the grant is known, the keeper lowers by what
        // is there beyond the number before.
        let mut change = Self::begin(keeper, Undo::Lower { path: path.into(), floor: before, by: amount })?;
        let granted = set(&number, wanted).and_then(|()| {
            let granted = number.get()?.saturating_sub(before).min(amount);
            // From here on others may add to the number and take away from it, so that the number before says nothing.
            change.becomes(Undo::Lower { path: path.into(), floor: 0, by: granted })?;
            Ok(granted)
        });
        // A change that is undone locks the number itself.
        drop(number);
        let granted = granted?;
        Ok((change, granted))
    }

    /// Says that another undoing is due.
    fn becomes(&mut self, undo: Undo) -> io::Result<()> {
        self.undo = undo;
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.reorder(self.id, &self.undo))
    }

    /// Promises that the file or folder `path` goes. The caller makes it afterwards.
    ///
    /// # Errors
    /// The system's, or a path with a line break or of more than about 4,000 bytes.
    pub fn remove(keeper: Option<&Keeper>, path: PathBuf) -> io::Result<Self> {
        Self::begin(keeper, Undo::Remove { path })
    }

    /// Promises that the processes of a group end. The group must be the study's own child.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(keeper: Option<&Keeper>, group: u32) -> io::Result<Self> {
        Self::begin(keeper, Undo::kill(group)?)
    }

    /// Forgets the change: it stays, or the caller has undone it.
    pub fn forget(mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.done(self.id);
        }
        self.undo = Undo::Nothing;
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({:?})", self.undo)
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        // The keeper tries again what fails here, so that it hears nothing then.
        if self.undo.run().is_ok()
            && let Some(keeper) = self.keeper.take()
        {
            keeper.done(self.id);
        }
    }
}

/// Runs the keeper: takes orders from `orders` until they end, and undoes what is on its list.
///
/// # Errors
/// The first change that could not be undone; all others are.
pub fn keep(mut orders: impl BufRead) -> io::Result<()> {
    let mut list: Vec<(u64, Undo)> = Vec::new();
    while let Some(line) = next_line(&mut orders) {
        let order = std::str::from_utf8(&line).ok().and_then(Undo::parse);
        let Some((id, undo)) = order else { continue };
        match list.iter().position(|(known, _)| *known == id) {
            Some(index) => list[index].1 = undo,
            None => list.push((id, undo)),
        }
    }
    let mut result = Ok(());
    for (_, undo) in list.iter().rev() {
        result = result.and(undo.run());
    }
    result
}

/// Returns the next line without its end: an empty one instead of a line that is too long. `None` where no whole line is
/// left: a study that is killed in the middle of a line has not made its change.
fn next_line(orders: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut is_too_long = false;
    loop {
        line.clear();
        orders.by_ref().take(LONGEST as u64).read_until(b'\n', &mut line).ok()?;
        match line.pop() {
            Some(b'\n') if is_too_long => return Some(Vec::new()),
            Some(b'\n') => return Some(line),
            // The rest of a long line might look like an order.
            Some(_) if line.len() + 1 == LONGEST => is_too_long = true,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
