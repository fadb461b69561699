//! `docs/guarantees.md` in step with the tests: each promise has its proof, and each proof is there.
//!
//! A test names what it proves at its end (`a_loss_is_told_once_m10_n01`), so the tree says what is
//! proven and the table says what is promised. Only people say that a promise is open.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::shell::root;

/// What a row says whose proof is merely missing: the next test that names its id holds it.
const NO_TEST: &str = "open: no test yet";
/// Where the text of a proof that is no Rust test stands.
const FOLDERS: [(&str, &str); 5] = [
    ("drill", "crates/keel-drill"),
    ("sim", "crates/keel-sim"),
    ("page", "tests/page"),
    ("agents", "tests/agents"),
    ("js", "js/sdk/test"),
];

/// Says what does not hold in the table.
pub(crate) fn check(wrong: &mut Vec<String>) {
    let text = fs::read_to_string(table()).unwrap_or_default();
    judge(&text, &Tree::read(), wrong);
}

/// `cargo xtask guarantees`: writes the tests that name an id into its row.
pub(crate) fn refresh() -> Result<()> {
    let path = table();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let tree = Tree::read();
    let lines = text.lines().map(|line| match Row::parse(line) {
        Some(row) => row.refreshed(&tree).write(),
        None => line.to_owned(),
    });
    let fresh = lines.collect::<Vec<_>>().join("\n") + "\n";
    if fresh != text {
        fs::write(&path, fresh)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn table() -> PathBuf {
    root().join("docs/guarantees.md")
}

fn judge(text: &str, tree: &Tree, wrong: &mut Vec<String>) {
    let mut say = |what: String| wrong.push(format!("docs/guarantees.md: {what}"));
    let mut seen = BTreeSet::new();
    for row in text.lines().filter_map(Row::parse) {
        let id = &row.id;
        if !seen.insert(id.clone()) {
            say(format!("{id} has two rows"));
        }
        for proof in row.proofs.iter().filter(|proof| !tree.has(proof)) {
            say(format!("{id}: there is no `{proof}`"));
        }
        match row.status.as_str() {
            "held" if row.proofs.is_empty() => say(format!("{id} is held by nothing")),
            "held" => {}
            open if open
                .strip_prefix("open: ")
                .is_some_and(|why| !why.is_empty()) => {}
            other => say(format!("{id} is `{other}`, not `held` or `open: …`")),
        }
    }
    if seen.is_empty() {
        say("there is no row".to_owned());
    }
    for (id, tests) in tree.by_id.iter().filter(|(id, _)| !seen.contains(*id)) {
        let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
        say(format!(
            "{id} has no row, and is named by {}",
            tests.join(", ")
        ));
    }
}

/// One promise.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: String,
    promise: String,
    proofs: Vec<String>,
    status: String,
}

impl Row {
    /// A row of a table whose first cell is an id; all else is text.
    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .collect();
        let [id, promise, proofs, status] = cells.as_slice() else {
            return None;
        };
        let id = id.trim();
        if !is_id(id) {
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            promise: promise.trim().to_owned(),
            proofs: proofs
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
            status: status.trim().to_owned(),
        })
    }

    fn write(&self) -> String {
        let proofs: Vec<String> = self
            .proofs
            .iter()
            .map(|proof| format!("`{proof}`"))
            .collect();
        let (id, promise, proofs) = (&self.id, &self.promise, proofs.join(", "));
        format!("| {id} | {promise} | {proofs} | {} |", self.status)
    }

    /// With every test that names it, and without those that are gone.
    fn refreshed(self, tree: &Tree) -> Self {
        let kept = self.proofs.into_iter().filter(|proof| tree.has(proof));
        let named = tree.by_id.get(&self.id).into_iter().flatten().cloned();
        let proofs: BTreeSet<String> = kept.chain(named).collect();
        let is_held = self.status == NO_TEST && !proofs.is_empty();
        let status = if is_held {
            "held".to_owned()
        } else {
            self.status
        };
        Self {
            proofs: proofs.into_iter().collect(),
            status,
            ..self
        }
    }
}

/// A letter and a number.
fn is_id(text: &str) -> bool {
    let number = text.strip_prefix(|letter: char| "ACEHIMNPSV".contains(letter));
    number.is_some_and(|number| {
        (1..=2).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// The ids at the end of a test's name.
fn ids_of(test: &str) -> Vec<String> {
    let words = test.rsplit('_').map(str::to_ascii_uppercase);
    words.take_while(|word| is_id(word)).collect()
}

/// What there is to prove with.
#[derive(Debug, Default)]
struct Tree {
    /// `crate::test` of every test.
    tests: BTreeSet<String>,
    by_id: BTreeMap<String, BTreeSet<String>>,
    /// The text of each folder of [`FOLDERS`].
    texts: BTreeMap<&'static str, String>,
}

impl Tree {
    fn read() -> Self {
        let mut tree = Self::default();
        let crates = root().join("crates");
        for path in files(&crates)
            .into_iter()
            .chain(files(&root().join("xtask")))
        {
            let owner = path.strip_prefix(&crates).ok();
            let owner = owner.and_then(|path| path.components().next());
            let owner = owner.map_or_else(
                || "xtask".into(),
                |owner| owner.as_os_str().to_string_lossy(),
            );
            if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                for test in tests_in(&text) {
                    tree.add(&owner, test);
                }
            }
        }
        for (kind, folder) in FOLDERS {
            let files = files(&root().join(folder)).into_iter();
            let texts = files.filter_map(|path| fs::read_to_string(path).ok());
            tree.read_text(kind, texts.collect());
        }
        tree
    }

    fn read_text(&mut self, kind: &'static str, text: String) {
        for name in named_in(&text) {
            for id in ids_of(name) {
                let proofs = self.by_id.entry(id).or_default();
                proofs.insert(format!("{kind}:{name}"));
            }
        }
        self.texts.insert(kind, text);
    }

    fn add(&mut self, owner: &str, test: &str) {
        let proof = format!("{owner}::{test}");
        for id in ids_of(test) {
            self.by_id.entry(id).or_default().insert(proof.clone());
        }
        self.tests.insert(proof);
    }

    fn has(&self, proof: &str) -> bool {
        let text = proof
            .split_once(':')
            .and_then(|(kind, name)| Some((self.texts.get(kind)?, name)));
        match text {
            Some((text, name)) => !name.is_empty() && text.contains(name),
            None => self.tests.contains(proof),
        }
    }
}

/// Every file below a folder that is ours.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}

/// The functions of a file that are tests.
fn tests_in(text: &str) -> Vec<&str> {
    let mut tests = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        }
        // A test that is recorded is called by another.
        let line = ["pub(super) ", "pub(crate) "]
            .into_iter()
            .find_map(|of| line.strip_prefix(of))
            .unwrap_or(line);
        let line = line.strip_prefix("async ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            marked = false;
            tests.extend(rest.split(['(', '<']).next());
        }
    }
    tests
}

/// The names of JavaScript's tests in a text: what is given first to a call, and names an id at its end.
fn named_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, name) = line.split_once("('")?;
        let (name, _) = name.split_once("', ")?;
        let is_name = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
        (name.contains('_') && name.chars().all(is_name)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        for test in tests_in("#[test]\nfn a_loss_is_told_m10_n01() {}\nfn no_test_m11() {}\n") {
            tree.add("core", test);
        }
        tree.texts.insert("drill", "row(\"N04\")".to_owned());
        let page = "  page('a_mute_is_kept_m11_m18', [], () => test('not m12', 'x_m12'));\n";
        tree.read_text("page", page.to_owned());
        tree
    }

    fn wrong(table: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        judge(table, &tree(), &mut wrong);
        wrong
    }

    #[test]
    fn a_table_in_step_is_taken_and_each_slip_is_named() {
        let good = "| id | promise | proven by | status |\n|---|---|---|---|\n\
                    | M11 | quiet | `page:a_mute_is_kept_m11_m18` | held |\n\
                    | M18 | quiet | `page:a_mute_is_kept_m11_m18` | held |\n\
                    | M10 | told once | `core::a_loss_is_told_m10_n01` | held |\n\
                    | N01 | resumed | `core::a_loss_is_told_m10_n01` | open: drill |\n\
                    | N04 | found | `drill:N04` | held |\n";
        assert_eq!(wrong(good), [] as [String; 0]);
        for (from, to) in [
            ("`drill:N04`", "`drill:N05`"),
            ("`drill:N04`", ""),
            ("open: drill", "perhaps"),
            ("open: drill", "open: "),
            ("| M10 |", "| N04 |"),
            ("`core::a_loss", "`core::a_gain"),
        ] {
            assert!(
                !wrong(&good.replacen(from, to, 1)).is_empty(),
                "{from} as {to}"
            );
        }
        assert!(!wrong("").is_empty());
    }

    #[test]
    fn a_row_gets_the_tests_that_name_it_and_is_held_if_that_is_all_it_waited_for() {
        let fresh = |line: &str| Row::parse(line).map(|row| row.refreshed(&tree()).write());
        let held = "| M10 | told | `core::a_loss_is_told_m10_n01` | held |";
        assert_eq!(
            fresh("| M10 | told |  | open: no test yet |").as_deref(),
            Some(held)
        );
        assert_eq!(
            fresh("| M10 | told | `core::gone` | held |").as_deref(),
            Some(held)
        );
        let page = "| M18 | quiet | `page:a_mute_is_kept_m11_m18` | held |";
        assert_eq!(
            fresh("| M18 | quiet |  | open: no test yet |").as_deref(),
            Some(page)
        );
        let waits = "| N04 | found | `drill:N04` | open: media |";
        assert_eq!(fresh(waits).as_deref(), Some(waits));
    }
}
