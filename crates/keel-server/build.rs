//! Lists what the page is made of: its own files, the modules of the JavaScript SDK as they are, and
//! the words about each fault. They are embedded, so a server serves the page that it was built with.

use std::{env, fmt::Write as _, fs, path::Path, path::PathBuf};

/// The place in the page where its modules are named, so that they are fetched at once and not one
/// after the other.
const PRELOADS: &str = "<!-- modules -->";

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    let page = files(&here.join("page"), "/page");
    let sdk = files(&here.join("../../js/sdk/src"), "/sdk");
    let modules = || page.iter().chain(&sdk).filter(|(_, path)| is_module(path));

    let mut preloads = String::new();
    for (served, _) in modules() {
        writeln!(preloads, "<link rel=\"modulepreload\" href=\"{served}\">").expect("memory");
    }
    let html = read(&here.join("page/index.html"));
    assert!(html.contains(PRELOADS), "index.html has no {PRELOADS}");
    let html = html.replace(PRELOADS, preloads.trim_end());
    fs::write(out.join("index.html"), html).expect("OUT_DIR takes files");

    let faults = faults(&read(&here.join("../../docs/faults.md")));
    fs::write(out.join("faults.json"), faults).expect("OUT_DIR takes files");

    let mut table = String::from("&[\n");
    let made = [("/", "index.html"), ("/page/faults.json", "faults.json")];
    let made = made.map(|(served, name)| (served.to_owned(), out.join(name)));
    let kept = page.iter().chain(&sdk).cloned();
    for (served, path) in made.into_iter().chain(kept) {
        if served == "/page/index.html" {
            continue;
        }
        let path = path.display().to_string();
        writeln!(table, "    ({served:?}, include_str!({path:?})),").expect("memory");
    }
    table.push(']');
    fs::write(out.join("assets.rs"), table).expect("OUT_DIR takes files");
}

fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "js")
        && path.file_name().is_some_and(|name| name != "metronome.js")
}

/// Every file below a folder: where it is served, and where it is.
fn files(folder: &Path, served: &str) -> Vec<(String, PathBuf)> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str());
        let served = format!("{served}/{}", name.expect("names are UTF-8"));
        if path.is_dir() {
            found.extend(files(&path, &served));
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            found.push((served, path));
        }
    }
    found
}

fn read(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// What `docs/faults.md` says of each code: what happened, what is done about it, what one can do.
fn faults(text: &str) -> String {
    let parts = [
        "**What happened.**",
        "**What Evenkeel does.**",
        "**What you can do.**",
    ];
    let mut sections = Vec::new();
    for section in text.split("\n### `").skip(1) {
        let (code, rest) = section.split_once('`').expect("a code ends");
        let said = parts.map(|part| {
            let from = rest
                .find(part)
                .unwrap_or_else(|| panic!("{code}: no {part}"));
            let from = rest.get(from + part.len()..).expect("text follows");
            let to = from.find("\n- ").unwrap_or(from.len());
            let words = from.get(..to).expect("found there").split_whitespace();
            quoted(&words.collect::<Vec<_>>().join(" ").replace('`', ""))
        });
        sections.push(format!("{}:[{}]", quoted(code), said.join(",")));
    }
    format!("{{{}}}\n", sections.join(",\n"))
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
