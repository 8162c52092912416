//! [`Hold`]: a use of the module, which keeps it from being unloaded.

use crate::declare::header;
use crate::imports;

/// A use of this module: while there is one, `rmmod` refuses. For work that outlives the command that began it.
#[derive(Debug)]
#[must_use = "the module can be unloaded when it is dropped"]
pub struct Hold(());

impl Hold {
    /// Counts one more use. `None` if the module is being loaded or unloaded.
    pub fn new() -> Option<Self> {
        // SAFETY: the header is this module's.
        unsafe { imports::rhumb_hold(header()) }.then(|| Self(()))
    }

    /// Returns a use that was counted before and whose value was forgotten. The kernel ignores the release of a use that was
    /// not counted, and says so in its log.
    pub const fn forgotten() -> Self {
        Self(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // SAFETY: the header is this module's, and the use was counted once.
        unsafe { imports::rhumb_release(header()) }
    }
}
