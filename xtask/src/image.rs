//! `cargo xtask image`: an ISO that boots on PC hardware, from CD or USB stick, under BIOS and UEFI.
//!
//! GRUB loads the kernel through multiboot2. The copy on the image is cut after the last segment: GRUB would put
//! symbols and debug information into memory, where no reader looks at them (the kernel's names are in its read-only
//! data).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use object::LittleEndian;
use object::elf::PT_LOAD;
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::cli::ImageOptions;
use crate::host::{Host, ThisHost};
use crate::progress::Progress;
use crate::setup::{self, Need};
use crate::{build, paths, ram_disk};

/// Where an ELF64 header has the place, the number and the names of its sections.
const SECTION_FIELDS: [std::ops::Range<usize>; 2] = [40..48, 60..64];

/// The only line that Rhumb's menu entry shows before it sets the screen's mode: where no mode can be set, a machine
/// that runs would look like one that hangs.
const NOTICE: &str =
    "Rhumb talks on this screen, if it has graphics, and on the first serial port (115200 8N1).";

/// The firmware's own ways to set a mode. GRUB has drivers for some graphics cards, too, which would win over these.
const VIDEO: &str = r#"if [ "$grub_platform" = efi ]; then
    insmod efi_gop
    insmod efi_uga
else
    insmod vbe
fi
"#;

/// The mode of the screen in GRUB's words: the one that the screen prefers.
pub(crate) const AUTOMATIC: &str = "auto";

/// Runs `cargo xtask image`.
pub(crate) fn command(options: &ImageOptions) -> Result<ExitCode> {
    setup::ensure(&[Need::Core, Need::ImageTools])?;
    let kernel = build::kernel(&options.build, options.contents())?;
    let output = options.output.clone().unwrap_or_else(|| paths::target().join("rhumb.iso"));
    let ram_disk = ram_disk::usual()?;
    make(&Contents { kernel: &kernel, ram_disk: Some(&ram_disk) }, &options.append, AUTOMATIC, &output)?;
    println!("{}", paths::shown(&output));
    Ok(ExitCode::SUCCESS)
}

/// The files that GRUB loads.
pub(crate) struct Contents<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) ram_disk: Option<&'a Path>,
}

/// Makes the ISO `output` of `contents`, with `command_line` for the kernel; GRUB sets the screen to `graphics`, or to another
/// mode where the machine does not have that one.
///
/// # Errors
/// A file cannot be written, the command line has characters that GRUB's configuration cannot hold, or GRUB's tool
/// fails: its messages are in the error.
pub(crate) fn make(contents: &Contents<'_>, command_line: &str, graphics: &str, output: &Path) -> Result<()> {
    let configuration = configuration(command_line, graphics, contents.ram_disk.is_some())?;
    let tree = new_tree();
    let made = fill(&tree, contents, &configuration).and_then(|()| rescue(&tree, output));
    // Left behind it would only take space; the outcome matters more.
    let _ = fs::remove_dir_all(&tree);
    made
}

/// Returns a place for the files of one image: another one for each, because images are made side by side.
fn new_tree() -> PathBuf {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    paths::kernel_target().join(format!("image-{}-{number}", std::process::id()))
}

/// Returns GRUB's configuration: straight to the kernel; Shift or Esc gives its menu. The mode comes after the kernel,
/// because loading a kernel that wants a screen chooses a mode, too.
fn configuration(command_line: &str, graphics: &str, has_ram_disk: bool) -> Result<String> {
    if command_line.contains(['\'', '\n']) {
        bail!("the kernel's command line must not have quotes or line ends in it: {command_line}");
    }
    let words: String = command_line.split_whitespace().map(|word| format!(" '{word}'")).collect();
    let module = if has_ram_disk { "    module2 /boot/rhumb.tar\n" } else { "" };
    Ok(format!(
        "set timeout_style=hidden\nset timeout=0\n\n{VIDEO}\nmenuentry 'Rhumb' {{\n    echo '{NOTICE}'\n    multiboot2 /boot/rhumb{words}\n{module}    set gfxpayload={graphics}\n}}\n"
    ))
}

/// Lays out the image's files.
fn fill(tree: &Path, contents: &Contents<'_>, configuration: &str) -> Result<()> {
    let kernel = contents.kernel;
    let grub = tree.join("boot/grub");
    fs::create_dir_all(&grub).with_context(|| format!("{} cannot be made", grub.display()))?;
    let image = fs::read(kernel).with_context(|| format!("{} cannot be read", kernel.display()))?;
    fs::write(tree.join("boot/rhumb"), stripped(image)?).context("the kernel cannot be copied")?;
    if let Some(disk) = contents.ram_disk {
        fs::copy(disk, tree.join("boot/rhumb.tar"))
            .with_context(|| format!("{} cannot be copied", disk.display()))?;
    }
    fs::write(grub.join("grub.cfg"), configuration).context("GRUB's configuration cannot be written")
}

/// Returns an ELF file without its sections, and without the bytes that only sections describe.
fn stripped(mut image: Vec<u8>) -> Result<Vec<u8>> {
    let elf = ElfFile64::<LittleEndian>::parse(&*image).context("the kernel is not a 64-bit ELF file")?;
    let endian = elf.endian();
    let segments = elf.elf_program_headers().iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    let end = segments.map(|segment| segment.p_offset(endian) + segment.p_filesz(endian)).max().unwrap_or(0);
    image.truncate(end as usize);
    for field in SECTION_FIELDS {
        image.get_mut(field).context("the kernel has no segments")?.fill(0);
    }
    Ok(image)
}

/// Runs GRUB's tool on the tree.
fn rescue(tree: &Path, output: &Path) -> Result<()> {
    let tool = ["grub-mkrescue", "grub2-mkrescue"].into_iter().find_map(|name| ThisHost.program(name));
    let tool = tool.context("grub-mkrescue is not found")?;
    if let Some(directory) = output.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    // Renamed into place, so that a machine that boots from the old one is not disturbed.
    let fresh: PathBuf = output.with_extension(format!("iso.{}", std::process::id()));
    let mut progress = Progress::new("Making the image");
    progress.update("grub-mkrescue");
    let made = Command::new(&tool)
        .args(["--locales=", "--fonts=", "--themes=", "-o"])
        .args([&fresh, tree])
        .args(["--", "-volid", "RHUMB"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not start", tool.display()))?;
    drop(progress);
    if !made.status.success() {
        bail!("{} failed:\n{}", tool.display(), String::from_utf8_lossy(&made.stderr).trim_end());
    }
    fs::rename(&fresh, output).with_context(|| format!("{} cannot be written", output.display()))
}

#[cfg(test)]
mod tests;
