//! Pages in a browser: Chromium without a window, where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::samples;
use crate::page::page;

/// A browser from the search path.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// Runs the browser on a page; `None` where it does not run on this machine.
fn run(browser: &Path, folder: &Path, arguments: &[&str], page: &Path) -> Option<String> {
    let output = Command::new("timeout")
        .arg("120")
        .arg(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Measures a page once it is laid out, and writes what it found where the page's text can be read.
const PROBE: &str = r#"<script>
addEventListener('load', () => {
  const width = innerWidth, wide = document.documentElement.scrollWidth;
  const late = [];
  for (const element of document.querySelectorAll('header *, main *, footer *')) {
    const box = element.getBoundingClientRect();
    const scrolls = element.closest('.scroll');
    if (!scrolls && box.width > 0 && box.right > width + 1) late.push(element.tagName + '.' + element.getAttribute('class'));
  }
  const small = [...document.querySelectorAll('svg text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.height > 0 && box.height < 9;
  }).length;
  const flat = [...document.querySelectorAll('svg')].filter(svg => {
    const box = svg.getBoundingClientRect();
    return svg.checkVisibility() && (box.width < 10 || box.height < 5);
  }).length;
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const paper = getComputedStyle(document.body).backgroundColor;
  const inks = [...document.querySelectorAll('svg.plot circle')].slice(-1).map(dot => getComputedStyle(dot).fill);
  const report = {page: document.title, width, wide, late: late.slice(0, 5), small, flat, dark, paper, inks};
  parent.postMessage(JSON.stringify(report), '*');
});
</script></body>"#;

/// A page with a frame for each page and width: the browser has no window as narrow as a phone. The frames have the theme
/// of this page, which gathers what they find.
fn framed(frames: &[(String, u32)]) -> String {
    let mut text = r#"<!DOCTYPE html><meta name="color-scheme" content="light dark"><script>
const found = [];
addEventListener('message', event => {
  found.push(JSON.parse(event.data));
  document.documentElement.setAttribute('data-report', JSON.stringify(found));
});
</script>"#
        .to_owned();
    for (page, width) in frames {
        text += &format!(
            "<iframe src='{page}' width='{width}' height='900' style='border:0;color-scheme:light dark'></iframe>"
        );
    }
    text
}

#[test]
fn pages_fit_a_phone_and_a_screen_in_both_themes() {
    let Some(browser) = browser() else {
        eprintln!("left out: no chromium in PATH (apt install chromium)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut frames = Vec::new();
    for (name, study) in samples() {
        // The page forbids scripts; a copy of it lets the probe run.
        let text = page(&study).unwrap().replace("http-equiv", "data-off").replace("</body>", PROBE);
        fs::write(folder.path().join(format!("{name}.html")), text).unwrap();
        frames.extend([390, 1280].map(|width| (format!("{name}.html"), width)));
    }
    let sides = [crate::samples::hosted(), crate::samples::hosted()];
    let compared = crate::compare(&sides, &[]).unwrap().write(folder.path()).unwrap();
    let text =
        fs::read_to_string(&compared).unwrap().replace("http-equiv", "data-off").replace("</body>", PROBE);
    fs::write(&compared, text).unwrap();
    frames.extend([390, 1280].map(|width| (crate::names::COMPARE_PAGE.to_owned(), width)));
    let path = folder.path().join("frames.html");
    fs::write(&path, framed(&frames)).unwrap();
    for (theme, is_dark) in [("0", true), ("1", false)] {
        let theme = format!("--blink-settings=preferredColorScheme={theme}");
        let arguments = ["--window-size=1400,1000", "--virtual-time-budget=5000", &theme, "--dump-dom"];
        let Some(dom) = run(&browser, folder.path(), &arguments, &path) else {
            eprintln!("left out: {} does not run here", browser.display());
            return;
        };
        // A browser that is confined to other folders shows a page of its own.
        if !dom.contains("<iframe") {
            eprintln!("left out: {} cannot read {}", browser.display(), path.display());
            return;
        }
        let report = dom.split("data-report=\"").nth(1).and_then(|rest| rest.split('"').next());
        let report = report.expect("the probe ran").replace("&quot;", "\"");
        let reports: Vec<serde_json::Value> = serde_json::from_str(&report).unwrap();
        assert_eq!(reports.len(), frames.len());
        for report in reports {
            let width = report["width"].as_u64().unwrap();
            assert!(frames.iter().any(|(_, wanted)| u64::from(*wanted) == width), "{report}");
            assert!(report["wide"].as_u64().unwrap() <= width, "{report}");
            assert_eq!(report["late"].as_array().unwrap().len(), 0, "{report}");
            assert_eq!(report["small"], 0, "{report}");
            assert_eq!(report["flat"], 0, "{report}");
            assert_eq!(report["dark"], is_dark, "{report}");
            assert_eq!(report["paper"] == "rgb(23, 23, 22)", is_dark, "{report}");
        }
    }
}

#[test]
fn pages_print() {
    let Some(browser) = browser() else {
        eprintln!("left out: no chromium in PATH (apt install chromium)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (name, study) = samples().remove(1);
    let path = folder.path().join(format!("{name}.html"));
    fs::write(&path, page(&study).unwrap()).unwrap();
    let paper = folder.path().join("page.pdf");
    let print = format!("--print-to-pdf={}", paper.display());
    if run(&browser, folder.path(), &[&print, "--no-pdf-header-footer"], &path).is_none() {
        eprintln!("left out: {} does not run here", browser.display());
        return;
    }
    let printed = fs::read(&paper).unwrap();
    assert!(printed.starts_with(b"%PDF") && printed.len() > 10_000);
    // A page object each: `/Type /Page` without the `s` of their list.
    let text = String::from_utf8_lossy(&printed);
    let sheets = text.matches("/Type /Page\n").count();
    assert!(sheets <= 12, "{sheets} sheets");
}
