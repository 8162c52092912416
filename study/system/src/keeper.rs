//! The keeper: a small process that puts the machine back as it was when the study ends, however it ends.
//!
//! A study may reserve huge pages, start programs, and make files outside of its folder. Its own clean-up does not run
//! if it is killed, so it tells a second process beforehand, through a pipe, how each change is undone. The pipe closes
//! when the study's process ends. Then the keeper undoes all changes that are still on its list, the last one first, and
//! ends. It lives in a process group of its own and takes no signal that a terminal sends.
//!
//! A line of the pipe is one order: `lower ID AMOUNT PATH`, `write ID VALUE PATH`, `remove ID PATH`, `kill ID GROUP`, or
//! `done ID`. A path may have spaces, and no line break.

mod undo;

use std::fmt;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use undo::Undo;

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
        // One write of less than a page: the pipe takes it whole, also if this process ends the moment after.
        let line = undo.line(id)?;
        inner.orders.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(line.as_bytes())?;
        Ok(id)
    }

    fn done(&self, id: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = &mut inner.orders {
            // A keeper that is gone has undone the change already.
            let _ = orders.write_all(format!("done {id}\n").as_bytes());
        }
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
    /// how much of the amount the system granted; the rest is given back by the change as well, and does no harm.
    ///
    /// # Errors
    /// The system's: the file cannot be read or written. Nothing is changed then.
    pub fn raise(keeper: Option<&Keeper>, path: &Path, amount: u64) -> io::Result<(Self, u64)> {
        let before = undo::number(path)?;
        // The keeper hears of it first, and lowers by what is really there beyond the number before.
        let change = Self::begin(keeper, Undo::Lower { path: path.into(), to: before, by: amount })?;
        std::fs::write(path, (before + amount).to_string())?;
        let granted = undo::number(path)?.saturating_sub(before);
        Ok((change, granted))
    }

    /// Writes `value` to the file `path`, whose content until now the change brings back.
    ///
    /// # Errors
    /// The system's, or a content that is more than one line. Nothing is changed then.
    pub fn write(keeper: Option<&Keeper>, path: &Path, value: &str) -> io::Result<Self> {
        let before = std::fs::read_to_string(path)?;
        let change = Self::begin(
            keeper,
            Undo::Write { path: path.into(), value: undo::setting(before.trim_end()).to_owned() },
        )?;
        std::fs::write(path, value)?;
        Ok(change)
    }

    /// Promises that the file or folder `path` goes. The caller makes it afterwards.
    ///
    /// # Errors
    /// The system's, or a path with a line break.
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
pub fn keep(orders: impl BufRead) -> io::Result<()> {
    let mut list: Vec<(u64, Undo)> = Vec::new();
    for line in orders.lines() {
        // A study that is killed in the middle of a line leaves an order that is not whole; its change was not made.
        let Ok(line) = line else { break };
        if let Some(id) = line.strip_prefix("done ").and_then(|id| id.parse::<u64>().ok()) {
            list.retain(|(known, _)| *known != id);
        } else if let Some(order) = Undo::parse(&line) {
            list.push(order);
        }
    }
    let mut result = Ok(());
    for (_, undo) in list.iter().rev() {
        result = result.and(undo.run());
    }
    result
}

#[cfg(test)]
mod tests;
