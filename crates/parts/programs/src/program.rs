//! [`Program`]: an executable file, looked at once.

use arrayvec::ArrayVec;
use object::LittleEndian;
use object::elf::{
    DF_TEXTREL, DT_FLAGS, DT_NEEDED, DT_NULL, DT_TEXTREL, Dyn64, ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_DYN,
    ET_EXEC, FileHeader64, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader64,
};
use object::pod;
use object::read::elf::{FileHeader, ProgramHeader};
use rhumb_machine::{PageSize, VirtAddr, VirtRange};

use crate::error::{LoadError, Unfit};
use crate::limits::{MAX_ALIGN, MAX_HEADERS, MAX_SEGMENTS};
use crate::segment::{Access, Segment};

pub(crate) const LE: LittleEndian = LittleEndian;
type Elf = FileHeader64<LittleEndian>;
type Header = ProgramHeader64<LittleEndian>;
type Dynamic = Dyn64<LittleEndian>;

/// The most entries of a dynamic table before its end. Linkers write some thirty for a static program.
const MAX_DYNAMIC: usize = 256;

/// The place that a program wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// At its own addresses.
    Fixed,
    /// At any base that is a multiple of this many bytes. The program relocates itself.
    Anywhere(u64),
}

/// A program that can be loaded, if there is memory for it.
#[derive(Clone, Debug)]
pub struct Program<'file> {
    pub(crate) segments: ArrayVec<Segment<'file>, MAX_SEGMENTS>,
    pub(crate) entry: VirtAddr,
    placement: Placement,
    stack_bytes: Option<u64>,
    pub(crate) headers: Option<VirtRange>,
}

impl<'file> Program<'file> {
    /// Looks at a file, which may be anything. Cost: a pass over at most [`MAX_HEADERS`] headers; the bytes of segments are
    /// not touched.
    ///
    /// # Errors
    /// [`LoadError`]: it is no program for this kernel.
    pub fn parse(file: &'file [u8]) -> Result<Self, LoadError> {
        let (elf, is_fixed) = executable(file)?;
        let headers = headers(elf, file)?;
        let count = |wanted| headers.iter().filter(|header| header.p_type(LE) == wanted).count();
        if count(PT_INTERP) > 0 {
            return Err(LoadError::Dynamic);
        }
        if count(PT_DYNAMIC) > 1 {
            return Err(LoadError::DynamicTable);
        }
        let mut program = Self {
            segments: ArrayVec::new(),
            entry: VirtAddr::new(elf.e_entry(LE)),
            placement: Placement::Fixed,
            stack_bytes: None,
            headers: None,
        };
        let mut align = PageSize::Size4K.bytes();
        for (number, header) in headers.iter().enumerate() {
            match header.p_type(LE) {
                // A segment without addresses is legal, and nothing.
                PT_LOAD if header.p_memsz(LE) > 0 => {
                    let why = |why| LoadError::Segment { header: number, why };
                    align = align.max(alignment(header).map_err(why)?);
                    let before = program.segments.last().map(Segment::pages);
                    let segment = segment(header, file, before).map_err(why)?;
                    program.segments.try_push(segment).map_err(|_| LoadError::TooManySegments)?;
                }
                PT_DYNAMIC => check_dynamic(header, file)?,
                PT_GNU_STACK => {
                    if header.p_flags(LE).contains(PF_X) {
                        return Err(LoadError::ExecutableStack);
                    }
                    program.stack_bytes = Some(header.p_memsz(LE)).filter(|bytes| *bytes > 0);
                }
                _ => {}
            }
        }
        if !is_fixed {
            program.placement = Placement::Anywhere(align);
        }
        program.headers = headers_in_memory(elf, headers);
        program.check_entry()?;
        Ok(program)
    }

    /// Returns the segments, by ascending addresses, which are counted from the base.
    pub fn segments(&self) -> &[Segment<'file>] {
        &self.segments
    }

    /// Returns the address of the first instruction, counted from the base.
    pub const fn entry(&self) -> VirtAddr {
        self.entry
    }

    /// Returns the place that it wants.
    pub const fn placement(&self) -> Placement {
        self.placement
    }

    /// Returns how large a stack it asks for, if it does: bytes, of any size.
    pub const fn stack_bytes(&self) -> Option<u64> {
        self.stack_bytes
    }

    /// Returns the whole pages from its first segment to its last, counted from the base.
    pub fn span(&self) -> VirtRange {
        let ends = self.segments.first().zip(self.segments.last());
        let span = ends.and_then(|(first, last)| VirtRange::new(first.pages.start(), last.pages.end()));
        // `parse` takes no program without segments, and they ascend.
        span.unwrap_or_default()
    }

    fn check_entry(&self) -> Result<(), LoadError> {
        if self.segments.is_empty() {
            return Err(LoadError::Empty);
        }
        let is_executed = self
            .segments
            .iter()
            .any(|segment| segment.access == Access::ReadExecute && segment.addresses.contains(self.entry));
        if is_executed { Ok(()) } else { Err(LoadError::Entry(self.entry.get())) }
    }
}

/// Returns the file header of an executable for this machine, and whether it has addresses of its own.
fn executable(file: &[u8]) -> Result<(&Elf, bool), LoadError> {
    // A file of another class has a header of another length, and may end within this one.
    if file.get(..4) != Some(&object::elf::ELFMAG[..]) {
        return Err(LoadError::NotElf);
    }
    let is_for_this = file.get(4) == Some(&ELFCLASS64.0) && file.get(5) == Some(&ELFDATA2LSB.0);
    if !is_for_this {
        return Err(LoadError::OtherMachine);
    }
    if file.len() < size_of::<Elf>() {
        return Err(LoadError::NoHeaders);
    }
    let elf = Elf::parse(file).map_err(|_| LoadError::FileHeader)?;
    if elf.e_machine(LE) != EM_X86_64 {
        return Err(LoadError::OtherMachine);
    }
    match elf.e_type(LE) {
        ET_EXEC => Ok((elf, true)),
        ET_DYN => Ok((elf, false)),
        _ => Err(LoadError::NotExecutable),
    }
}

fn headers<'file>(elf: &Elf, file: &'file [u8]) -> Result<&'file [Header], LoadError> {
    // The count is looked at before the headers, because a count of 0xffff means a larger one elsewhere in the file.
    let count = usize::from(elf.e_phnum(LE));
    if count > MAX_HEADERS {
        return Err(LoadError::TooManyHeaders(count));
    }
    if count > 0 && usize::from(elf.e_phentsize(LE)) != size_of::<Header>() {
        return Err(LoadError::FileHeader);
    }
    elf.program_headers(LE, file).map_err(|_| LoadError::NoHeaders)
}

/// Finds where in memory the program headers lie, counted from the base, which the program itself reads: in the segment that
/// has their bytes of the file.
fn headers_in_memory(elf: &Elf, headers: &[Header]) -> Option<VirtRange> {
    let bytes = size_of_val(headers) as u64;
    headers.iter().filter(|header| header.p_type(LE) == PT_LOAD).find_map(|header| {
        let inside = elf.e_phoff(LE).checked_sub(header.p_offset(LE))?;
        let is_inside = inside.checked_add(bytes)? <= header.p_filesz(LE).min(header.p_memsz(LE));
        let address = header.p_vaddr(LE).checked_add(inside).filter(|_| is_inside)?;
        VirtRange::of_length(VirtAddr::new(address), bytes)
    })
}

/// Returns the alignment that a segment wants, at least a page.
fn alignment(header: &Header) -> Result<u64, Unfit> {
    let align = header.p_align(LE).max(1);
    if !align.is_power_of_two() || align > MAX_ALIGN {
        return Err(Unfit::Alignment(align));
    }
    Ok(align.max(PageSize::Size4K.bytes()))
}

/// Returns the segment of a header. `before` are the pages of the one before it.
fn segment<'file>(
    header: &Header,
    file: &'file [u8],
    before: Option<VirtRange>,
) -> Result<Segment<'file>, Unfit> {
    let access = Access::of(header.p_flags(LE))?;
    let addresses =
        VirtRange::of_length(VirtAddr::new(header.p_vaddr(LE)), header.p_memsz(LE)).ok_or(Unfit::Wraps)?;
    let pages = addresses.align_outward(PageSize::Size4K).ok_or(Unfit::Wraps)?;
    if header.p_filesz(LE) > header.p_memsz(LE) {
        return Err(Unfit::Shrinks);
    }
    let bytes = header.data(LE, file).map_err(|()| Unfit::Truncated)?;
    let align = alignment(header)?;
    if !bytes.is_empty() && header.p_offset(LE) % align != header.p_vaddr(LE) % align {
        return Err(Unfit::Incongruent);
    }
    if before.is_some_and(|before| pages.start() < before.end()) {
        return Err(Unfit::Overlaps);
    }
    Ok(Segment { addresses, pages, bytes, access })
}

/// Refuses a program that wants libraries, or its code to be written.
fn check_dynamic(header: &Header, file: &[u8]) -> Result<(), LoadError> {
    let bytes = header.data(LE, file).map_err(|()| LoadError::DynamicTable)?;
    let count = bytes.len() / size_of::<Dynamic>();
    let looked_at = count.min(MAX_DYNAMIC);
    let (entries, _) =
        pod::slice_from_bytes::<Dynamic>(bytes, looked_at).map_err(|()| LoadError::DynamicTable)?;
    let has_end = entries.iter().any(|entry| entry.d_tag.get(LE) == DT_NULL);
    if count > MAX_DYNAMIC && !has_end {
        return Err(LoadError::DynamicTable);
    }
    for entry in entries.iter().take_while(|entry| entry.d_tag.get(LE) != DT_NULL) {
        match entry.d_tag.get(LE) {
            DT_NEEDED => return Err(LoadError::Dynamic),
            DT_TEXTREL => return Err(LoadError::WritesItsCode),
            DT_FLAGS if entry.d_val.get(LE) & DF_TEXTREL.0 != 0 => {
                return Err(LoadError::WritesItsCode);
            }
            _ => {}
        }
    }
    Ok(())
}
