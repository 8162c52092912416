//! [`Shadow`]: the values that a run looked up, and the bytes of the stack that it wrote. In builds with the feature
//! `checked` an access to anything else is a fault, so that a test or a fuzzer sees what the verifier let pass although
//! the regions of the interpreter are kept. In other builds this is nothing.

#[cfg(not(any(test, feature = "checked")))]
pub(super) use absent::Shadow;
#[cfg(any(test, feature = "checked"))]
pub(super) use present::Shadow;

#[cfg(any(test, feature = "checked"))]
mod present {
    use alloc::vec::Vec;
    use core::ops::Range;

    use crate::limits::STACK_BYTES;
    use crate::map::Map;
    use crate::operation::Size;

    /// See the module.
    pub(in crate::program) struct Shadow {
        /// The values that were looked up: the address of the map that tells it from others, and the words.
        values: Vec<(*const Map, Range<usize>)>,
        written: [bool; STACK_BYTES],
    }

    impl Shadow {
        pub(in crate::program) const fn new() -> Self {
            Self { values: Vec::new(), written: [false; STACK_BYTES] }
        }

        /// Notes that a lookup gave the value at `place`.
        pub(in crate::program) fn give_value(&mut self, map: &Map, place: Option<usize>) {
            let words = map.layout().value_words;
            self.values.extend(place.map(|place| (core::ptr::from_ref(map), place..place + words)));
        }

        /// Returns nothing where the word is of no value that was looked up.
        pub(in crate::program) fn use_value(&self, map: &Map, place: usize) -> Option<()> {
            let is_given =
                |given: &(*const Map, Range<usize>)| core::ptr::eq(given.0, map) && given.1.contains(&place);
            self.values.iter().any(is_given).then_some(())
        }

        /// Notes that bytes of the stack were written.
        pub(in crate::program) fn write_stack(&mut self, at: usize, size: Size) {
            self.written.iter_mut().skip(at).take(size.bytes() as usize).for_each(|byte| *byte = true);
        }

        /// Returns nothing where a byte was not written.
        pub(in crate::program) fn read_stack(&self, at: usize, size: Size) -> Option<()> {
            self.written.get(at..at + size.bytes() as usize)?.iter().all(|&byte| byte).then_some(())
        }
    }
}

#[cfg(not(any(test, feature = "checked")))]
mod absent {
    use crate::map::Map;
    use crate::operation::Size;

    /// See the module.
    pub(in crate::program) struct Shadow;

    impl Shadow {
        #[inline(always)]
        pub(in crate::program) const fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(in crate::program) const fn give_value(&mut self, _: &Map, _: Option<usize>) {}

        #[inline(always)]
        pub(in crate::program) const fn use_value(&self, _: &Map, _: usize) -> Option<()> {
            Some(())
        }

        #[inline(always)]
        pub(in crate::program) const fn write_stack(&mut self, _: usize, _: Size) {}

        #[inline(always)]
        pub(in crate::program) const fn read_stack(&self, _: usize, _: Size) -> Option<()> {
            Some(())
        }
    }
}
