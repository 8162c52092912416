//! [`Helper`]: the functions that a program may call, and what they take.
//!
//! Where Linux has the helper, the number is Linux's, so that compilers' headers fit.

/// A function that a program may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Helper {
    /// `map_lookup_elem(map, key)`: a pointer to the key's value, or null.
    Lookup,
    /// `map_update_elem(map, key, value, flags)`: copies the value, and adds the key where it is new. 0, or -1 where
    /// there is no room. Flags must be 0.
    Update,
    /// `ktime_get_ns()`: nanoseconds since boot.
    Time,
    /// `get_smp_processor_id()`: this CPU's number.
    Cpu,
    /// `map_add(map, key, number)`: adds to the first word of the key's value; to the bucket of the number, if the map
    /// has histograms. Adds the key where it is new. 0, or -1 where there is no room.
    Add,
    /// `call_site()`: the address in the kernel's code that led to the event; 0 where it is not known.
    CallSite,
}

/// The argument of a helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// A handle to a map whose values programs see.
    MapOfValues,
    /// A handle to any map.
    Map,
    /// A pointer to a key of the map.
    Key,
    /// A pointer to a value of the map.
    Value,
    /// Any number.
    Number,
    /// The number 0.
    Zero,
}

/// The result of a helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returned {
    /// A number.
    Number,
    /// A pointer to a value of the map, or null.
    ValueOrNull,
}

impl Helper {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Lookup, Self::Update, Self::Time, Self::Cpu, Self::Add, Self::CallSite];

    /// Returns its number in a call.
    pub const fn number(self) -> i32 {
        match self {
            Self::Lookup => 1,
            Self::Update => 2,
            Self::Time => 5,
            Self::Cpu => 8,
            Self::Add => 0x1000,
            Self::CallSite => 0x1001,
        }
    }

    /// Returns its name in programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "map_lookup_elem",
            Self::Update => "map_update_elem",
            Self::Time => "ktime_get_ns",
            Self::Cpu => "get_smp_processor_id",
            Self::Add => "map_add",
            Self::CallSite => "call_site",
        }
    }

    /// Returns the helper of this number.
    pub fn numbered(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|helper| helper.number() == number)
    }

    /// Returns the helper of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|helper| helper.name() == name)
    }

    /// Returns its arguments, in r1 and further on.
    pub const fn arguments(self) -> &'static [Argument] {
        match self {
            Self::Lookup => &[Argument::MapOfValues, Argument::Key],
            Self::Update => &[Argument::MapOfValues, Argument::Key, Argument::Value, Argument::Zero],
            Self::Time | Self::Cpu | Self::CallSite => &[],
            Self::Add => &[Argument::Map, Argument::Key, Argument::Number],
        }
    }

    /// Returns the kind of its result.
    pub const fn returned(self) -> Returned {
        match self {
            Self::Lookup => Returned::ValueOrNull,
            _ => Returned::Number,
        }
    }
}
