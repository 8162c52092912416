//! [`for_each_export`](crate::for_each_export): the functions that the kernel exports to modules.

/// Gives the list of exported functions to the macro `$then`, as declarations separated by `;`.
///
/// Each function is safe towards the kernel as long as the module keeps to the declaration and to the sentence above it:
/// pointers lead to what they say, and a block or an object is given back once. Any code of a module may call them on any
/// CPU, but not from an interrupt or a tick where the sentence says so.
#[macro_export]
macro_rules! for_each_export {
    ($then:path) => {
        $then! {
            /// Writes a record to the log: level 1 error, 2 warning, 3 information, 4 debugging.
            fn rhumb_log(level: u32, text: Text) -> ();
            /// Stops the kernel with a report that names the module.
            fn rhumb_panic(text: Text, file: Text, line: u32) -> Never;
            /// Prints to where the running command prints.
            fn rhumb_write(out: *mut Out, text: Text) -> ();
            /// Leaves the text of the error that the running command, or start, is about to return.
            fn rhumb_fail(out: *mut Out, text: Text) -> ();
            /// Tells whether a person wants the running command to end.
            fn rhumb_is_interrupted(out: *const Out) -> bool;
            /// Returns the time since the kernel's first instruction.
            fn rhumb_now_ns() -> u64;
            /// Returns an object of the kernel's caches, of that size and of an alignment that is a power of two; null if
            /// there is no memory.
            fn rhumb_alloc(bytes: usize, align: usize) -> *mut u8;
            /// Gives back an object with the size and the alignment that it was allocated with.
            fn rhumb_free(object: *mut u8, bytes: usize, align: usize) -> ();
            /// Returns a block of frames of that node, or of the nearest node for `ANY_NODE`; none if there is no such block,
            /// or if less than a sixteenth of the memory in the direct map would be free.
            fn rhumb_alloc_block(order: u32, node: u32) -> Block;
            /// Gives back a block.
            fn rhumb_free_block(block: Block) -> ();
            /// Keeps a block out of use until the machine restarts, because its memory is bad; the log says so.
            fn rhumb_retire_block(block: Block) -> ();
            /// Returns how many nodes the machine has.
            fn rhumb_node_count() -> u32;
            /// Fills in the state of a node's memory; tells whether the node exists.
            fn rhumb_node_memory(node: u32, memory: *mut NodeMemory) -> bool;
            /// Counts one more user of the module of this header, which cannot be unloaded until the user is gone; tells
            /// whether the module may be used.
            fn rhumb_hold(header: *const Header) -> bool;
            /// Counts one user less.
            fn rhumb_release(header: *const Header) -> ();
        }
    };
}
