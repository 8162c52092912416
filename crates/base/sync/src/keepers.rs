//! [`Keepers`]: the CPUs that keep something for themselves, and which of them have yet to be asked for it.
//!
//! A CPU's own data lies in cache lines that the CPU writes all the time. If each request looked at the lines of every
//! CPU, it would take a cache miss for each CPU, and would take the lines away from CPUs that keep nothing. So each CPU
//! sets a bit when it begins to keep something, and clears the bit when it has given everything back. A second bit says
//! that no CPU has asked this CPU yet: of any number of CPUs that want to ask at once, the one that clears it asks.
//!
//! ```text
//!   CPU, before it keeps anything:  unasked <- 1, keeping <- 1     asker:  unasked <- 0, and asks where it was 1
//!   CPU, as it keeps nothing:       unasked <- 0, keeping <- 0
//! ```
//!
//! **Proof that a CPU that keeps something has its second bit, or was asked.** The CPU joins in the stretch with
//! interrupts off in which it begins to keep something, and leaves in the stretch in which it answers a request, after
//! the answer. An asker clears the bit first and asks afterwards. The CPU's operation that set the bit and the asker's
//! that cleared it are both locked operations on one word, so they are ordered: the request comes after the CPU joined,
//! and so after every answer that the CPU gave before it joined. None of those answers can end this request.
//!
//! Why not look at the request itself: it lies in the CPU's own line, so the look costs the very miss that the bits
//! save.

use rhumb_machine::CpuId;

use crate::atomic::{AcqRel, AtomicU64, Relaxed};

const WORD_BITS: usize = u64::BITS as usize;

/// The CPUs that keep something, and those of them that have yet to be asked for it. See the
/// [module's documentation](self) for the protocol.
///
/// Cost: [`Keepers::join`] and [`Keepers::leave`] are a load where nothing changes; else two locked operations on lines
/// that 512 CPUs share. [`Keepers::iter`] and [`Keepers::ask_others`] load a word for each 64 CPUs, and asking takes a
/// locked operation for each word in which a CPU has yet to be asked.
pub struct Keepers {
    keeping: &'static [AtomicU64],
    unasked: &'static [AtomicU64],
}

impl Keepers {
    /// Returns how many words each of the two sets has on a machine of `cpus` CPUs.
    pub const fn words(cpus: usize) -> usize {
        cpus.div_ceil(WORD_BITS)
    }

    /// Makes the sets of a machine on which no CPU keeps anything. All words must be zero.
    pub const fn new(keeping: &'static [AtomicU64], unasked: &'static [AtomicU64]) -> Self {
        Self { keeping, unasked }
    }

    /// Returns the words of a CPU and its bit in them.
    #[inline]
    fn words_of(&self, cpu: CpuId) -> Option<(&AtomicU64, &AtomicU64, u64)> {
        let at = cpu.index() / WORD_BITS;
        Some((self.keeping.get(at)?, self.unasked.get(at)?, 1 << (cpu.index() % WORD_BITS)))
    }

    /// Notes that this CPU keeps something from here on. Call it with interrupts off, in the stretch in which the CPU
    /// begins to keep something.
    #[inline]
    pub fn join(&self, cpu: CpuId) {
        if let Some((keeping, unasked, bit)) = self.words_of(cpu)
            && keeping.load(Relaxed) & bit == 0
        {
            unasked.fetch_or(bit, AcqRel);
            keeping.fetch_or(bit, AcqRel);
        }
    }

    /// Notes that this CPU keeps nothing. Call it with interrupts off, in the stretch in which the CPU gives back the
    /// last of what it keeps, after it has answered any request.
    #[inline]
    pub fn leave(&self, cpu: CpuId) {
        if let Some((keeping, unasked, bit)) = self.words_of(cpu)
            && keeping.load(Relaxed) & bit != 0
        {
            unasked.fetch_and(!bit, AcqRel);
            keeping.fetch_and(!bit, AcqRel);
        }
    }

    /// Tells whether a CPU may keep something.
    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.words_of(cpu).is_some_and(|(keeping, _, bit)| keeping.load(Relaxed) & bit != 0)
    }

    /// Returns the CPUs that may keep something, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        let words = self.keeping.iter().enumerate();
        words.flat_map(|(at, word)| cpus_of(at, word.load(Relaxed)))
    }

    /// Calls `ask` with each CPU other than `me` that keeps something and has yet to be asked for it.
    pub fn ask_others(&self, me: CpuId, mut ask: impl FnMut(CpuId)) {
        for (at, unasked) in self.unasked.iter().enumerate() {
            let mine = if me.index() / WORD_BITS == at { 1 << (me.index() % WORD_BITS) } else { 0 };
            let wanted = unasked.load(Relaxed) & !mine;
            if wanted != 0 {
                let taken = unasked.fetch_and(!wanted, AcqRel) & wanted;
                cpus_of(at, taken).for_each(&mut ask);
            }
        }
    }
}

/// Returns the CPUs whose bits are set in the word `at`.
fn cpus_of(at: usize, mut word: u64) -> impl Iterator<Item = CpuId> {
    core::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        CpuId::new(at * WORD_BITS + bit as usize)
    })
}
