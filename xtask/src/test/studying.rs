//! `cargo xtask study kernel` from outside: machines run, their accesses go through the models, and files are written.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::ThisHost;
use crate::paths;
use crate::setup::Version;

/// The chart of a part with two machines.
const CHART: &str = "tlb/zen3/kmem/misses";
/// Reads of 16 MiB of objects: eight pages of 2 MiB in the direct map, 4,096 small ones in the kernel map.
const REGION: &str = "study/objects";

/// Objects at virtual addresses, in small pages, miss more often than the same objects in the direct map.
pub(super) fn kernel() -> Result<()> {
    let out = paths::kernel_target().join(format!("study-{}", std::process::id()));
    let output = Command::new(std::env::current_exe().unwrap_or_default())
        .args(["study", "kernel", "--quick", "--only", "kmem", "--geometry", "zen3", "--out"])
        .arg(&out)
        .output()
        .context("the tool does not start")?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let judged = judge(&out, &said);
    // A folder too many in the target directory is no reason to fail.
    let _ = fs::remove_dir_all(&out);
    ensure!(output.status.success(), "{}\n{said}", output.status);
    judged
}

fn judge(out: &Path, said: &str) -> Result<()> {
    let text = fs::read_to_string(out.join("study.json")).with_context(|| format!("no study:\n{said}"))?;
    let study: Value = serde_json::from_str(&text).context("the study cannot be read")?;
    let left = fs::read_dir(out)?.flatten().any(|entry| entry.path().is_dir());
    ensure!(!left, "a folder is left among the results");
    if !Version::of(&ThisHost).is_some_and(Version::is_complete) {
        ensure!(text.contains("older than version 9"), "an old QEMU is not named:\n{said}");
        return Ok(());
    }
    let charts = study["bars"].as_array().context("there are no charts")?;
    let chart = charts.iter().find(|chart| chart["id"] == CHART).with_context(|| format!("no {CHART}"))?;
    let misses = |machine: &str| -> Result<f64> {
        let name = format!("{REGION}, {machine}");
        let bars = chart["bars"].as_array().context("there are no bars")?;
        let bar = bars.iter().find(|bar| bar["name"] == name).with_context(|| format!("no bar {name}"))?;
        Ok(bar["values"].as_array().context("there are no values")?.iter().filter_map(Value::as_f64).sum())
    };
    let (direct, virtually) = (misses("objects in the direct map")?, misses("objects in the kernel map")?);
    // 1,024 steps through 4,096 pages with 64 entries: nearly each step misses; eight large pages are all there.
    ensure!(
        direct < 16.0 && virtually > 900.0,
        "{direct} misses in the direct map, {virtually} in the kernel map"
    );
    Ok(())
}
