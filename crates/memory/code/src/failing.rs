//! Lists that grow by [`try_grow`], which fails on purpose in tests: the n-th time in a thread.

use alloc::vec::Vec;

use crate::error::CodeError;

/// Returns a list with room for `capacity` values.
pub(crate) fn list<T>(capacity: usize) -> Result<Vec<T>, CodeError> {
    let mut list = Vec::new();
    try_grow(&mut list, capacity)?;
    Ok(list)
}

/// Makes room for so many more values.
pub(crate) fn try_grow<T>(list: &mut Vec<T>, more: usize) -> Result<(), CodeError> {
    #[cfg(test)]
    on_purpose::next()?;
    list.try_reserve(more).map_err(|_| CodeError::NoRecord)
}

#[cfg(test)]
pub(crate) mod on_purpose {
    use core::cell::Cell;

    use crate::error::CodeError;

    std::thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets so many lists grow, and fails the next one.
    pub(crate) fn after(lists: u64) {
        LEFT.set(Some(lists));
    }

    /// Fails no list.
    pub(crate) fn end() {
        LEFT.set(None);
    }

    pub(super) fn next() -> Result<(), CodeError> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => {
                end();
                Err(CodeError::NoRecord)
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
