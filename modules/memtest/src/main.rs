//! `memtest`: tests memory that is free, while the kernel runs, and keeps bad blocks out of use.
//!
//! A test takes free memory in blocks of at most 64 KiB until it has as much as was asked for, or until the kernel has no
//! more to spare. Then it goes over all of it with one pattern after the other: writes all blocks, reads all blocks. It
//! never reads a block right after writing it, because then it would test the CPU's cache: so a test of more memory than
//! the caches hold tests the memory. At the end, blocks in which a word was wrong are retired, and the rest is given back.
//!
//! Patterns (after memtest86): all zeros and all ones find bits that are stuck; a word's own address finds address lines
//! that are; alternating bits and their inverse find neighbours that disturb each other; numbers of a generator find the
//! rest by chance, with another seed in each pass.
#![no_std]
#![no_main]

mod pattern;

use core::sync::atomic::Ordering::Relaxed;

use rhumb_module::alloc::vec::Vec;
use rhumb_module::frames::{Size, memory_bytes};
use rhumb_module::{ANY_NODE, Arguments, Block, Failure, Output, module, now_ns};

use pattern::PATTERNS;

/// 64 KiB: the largest piece of memory that is taken at once, and what one wrong word costs.
const LARGEST_ORDER: u32 = 4;
const FRAME_BYTES: u64 = 4096;
/// The memory that is tested where the command does not say.
const USUAL_BYTES: u64 = 64 << 20;
/// Wrong words that are shown one by one.
const SHOWN_WORDS: u64 = 8;
const WORDS_PER_FRAME: usize = 512;

module! {
    description: "Tests free memory and keeps bad memory out of use.",
    commands: [{
        name: "memtest",
        usage: "[SIZE] [PASSES] [pretend]",
        summary: "test free memory, retire what is bad",
        help: "Takes SIZE (64M) of free memory, or as much of it as there is, tests it PASSES times (1) with each pattern, and\n\
               gives it back. Blocks of 64 KiB with a wrong word are kept out of use until the machine restarts. With\n\
               'pretend', one word is taken for wrong, to see what happens then. Ctrl-C ends it.",
        run: memtest,
    }],
}

/// The memory under test, and what was found in it.
struct Test {
    blocks: Vec<Tested>,
    bytes: u64,
    wrong_words: u64,
}

/// A block under test.
struct Tested {
    block: Block,
    /// Whether a word of it was wrong.
    is_bad: bool,
}

fn memtest(mut arguments: Arguments<'_>, out: &mut Output<'_>) -> Result<(), Failure> {
    let wanted = arguments.size("SIZE")?.unwrap_or(USUAL_BYTES);
    let passes = arguments.number("PASSES")?.unwrap_or(1);
    let pretends = match arguments.next() {
        None => false,
        Some("pretend") => true,
        Some(word) => return Err(Failure::new(format_args!("'{word}' is not 'pretend'"))),
    };
    arguments.end()?;
    if wanted < FRAME_BYTES || passes == 0 {
        return Err(Failure::new("there is nothing to test: SIZE is at least 4096, and PASSES at least 1"));
    }
    let present = memory_bytes();
    // All of a machine of 2 GiB is called 2G, although some of it is not memory.
    if wanted > present.next_multiple_of(1 << 30) {
        return Err(Failure::new(format_args!(
            "SIZE: {} is more memory than the machine has, which is {}",
            Size(wanted),
            Size(present)
        )));
    }
    let begun = now_ns();
    let mut test = take(wanted, out)?;
    if test.bytes < wanted {
        out.line(format_args!("only {} of {} are free", Size(test.bytes), Size(wanted)));
    }
    // Whatever comes of it, blocks that are known to be bad are not given back.
    let outcome = test.run(passes, pretends, out);
    let retired = test.blocks.iter().filter(|tested| tested.is_bad).count();
    let (bytes, wrong) = (test.bytes, test.wrong_words);
    test.give_back();
    outcome?;
    let ms = (now_ns() - begun) / 1_000_000;
    out.line(format_args!(
        "{} tested in {passes} pass{} of {} patterns, {ms} ms: {wrong} wrong words",
        Size(bytes),
        if passes == 1 { "" } else { "es" },
        PATTERNS.len()
    ));
    match retired {
        0 => Ok(()),
        1 => Err(Failure::new("the memory is bad: 1 block is out of use from now on")),
        blocks => {
            Err(Failure::new(format_args!("the memory is bad: {blocks} blocks are out of use from now on")))
        }
    }
}

/// Takes up to `wanted` bytes of free memory: the largest blocks first, then what is between them.
fn take(wanted: u64, out: &Output<'_>) -> Result<Test, Failure> {
    let mut test = Test { blocks: Vec::new(), bytes: 0, wrong_words: 0 };
    let mut order = LARGEST_ORDER;
    while test.bytes < wanted {
        if out.interrupted() {
            return Err(Failure::Interrupted);
        }
        let fits = FRAME_BYTES << order <= wanted - test.bytes;
        let has_room = test.blocks.try_reserve(1).is_ok();
        match Block::new(order, ANY_NODE).filter(|_| fits && has_room) {
            Some(block) => {
                test.bytes += block.frames() * FRAME_BYTES;
                test.blocks.push(Tested { block, is_bad: false });
            }
            None if order == 0 => break,
            None => order -= 1,
        }
    }
    if test.blocks.is_empty() {
        return Err(Failure::new("no memory is free"));
    }
    Ok(test)
}

impl Test {
    fn run(&mut self, passes: u64, pretends: bool, out: &mut Output<'_>) -> Result<(), Failure> {
        for pass in 0..passes {
            for (index, pattern) in PATTERNS.iter().enumerate() {
                let word = pattern.word;
                for Tested { block, .. } in &mut self.blocks {
                    if out.interrupted() {
                        return Err(Failure::Interrupted);
                    }
                    let first = block.frame() * WORDS_PER_FRAME as u64;
                    for (at, cell) in block.cells().iter().enumerate() {
                        cell.store(word(first + at as u64, pass), Relaxed);
                    }
                }
                if pretends && pass == 0 && index == 0 {
                    self.blocks[0].block.cells()[1].fetch_xor(1 << 5, Relaxed);
                }
                self.check(word, pass, out)?;
                out.line(format_args!(
                    "pass {} of {passes}: {}: {} wrong words",
                    pass + 1,
                    pattern.name,
                    self.wrong_words
                ));
            }
        }
        Ok(())
    }

    /// Reads all blocks, and notes those with words that are not what was written.
    fn check(&mut self, word: fn(u64, u64) -> u64, pass: u64, out: &mut Output<'_>) -> Result<(), Failure> {
        for Tested { block, is_bad } in &mut self.blocks {
            if out.interrupted() {
                return Err(Failure::Interrupted);
            }
            let first = block.frame() * WORDS_PER_FRAME as u64;
            for (at, cell) in block.cells().iter().enumerate() {
                let (wanted, found) = (word(first + at as u64, pass), cell.load(Relaxed));
                if wanted == found {
                    continue;
                }
                self.wrong_words += 1;
                if self.wrong_words <= SHOWN_WORDS {
                    let address = (first + at as u64) * 8;
                    out.line(format_args!(
                        "phys:{address:#x}: {wanted:#018x} was written, {found:#018x} is read"
                    ));
                }
                *is_bad = true;
            }
        }
        Ok(())
    }

    /// Retires the bad blocks, and gives the others back.
    fn give_back(self) {
        for Tested { block, is_bad } in self.blocks {
            if is_bad {
                block.retire();
            }
        }
    }
}
