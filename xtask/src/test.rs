//! Everything that has to hold before a change lands, in the order in which it fails fastest.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    setup,
    shell::{self, Steps},
    spec, tidy,
};

pub(crate) fn run(full: bool) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("set up", || setup::run(false))?;
    steps.step("format", || {
        shell::run("cargo", &["fmt", "--all", "--check"])
    })?;
    steps.step("tidy", tidy::run)?;
    steps.step("spec is fresh", || spec::run(true))?;
    steps.step("clippy", || {
        shell::run(
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
    })?;
    steps.step("tests", || shell::run("cargo", &["test", "--workspace"]))?;
    // The programs that the tests ran against. Built by themselves they would have fewer features of their
    // dependencies, and be compiled anew.
    let evenkeel = shell::root().join("target/debug/evenkeel");
    let evenkeel = evenkeel
        .to_str()
        .context("the path of the repository is UTF-8")?;
    let seeds = if full { "20000" } else { "2000" };
    steps.step("the simulator", || {
        shell::run(evenkeel, &["sim", "--seeds", seeds, "--mutants"])
    })?;
    steps.step("drill", || drill(evenkeel, full))?;
    steps.step("the storm", || {
        // Alone: it takes all of the host that there is.
        let rows = if full { "storm" } else { "storm/30" };
        shell::run(evenkeel, &["drill", "--only", rows])
    })?;
    steps.step("the heart", || {
        let span = if full { "600" } else { "60" };
        shell::run(evenkeel, &["drill", "--only", "heart", "--heart-s", span])
    })?;
    steps.step("the JavaScript SDK", || javascript(evenkeel))?;
    steps.step("the page, in Chromium", || page(evenkeel, full))?;
    steps.step("the API's document, by schemathesis", || {
        python(
            setup::SCHEMATHESIS,
            "tests/schemathesis/test_openapi.py",
            evenkeel,
        )
    })?;
    steps.step("aiortc", || {
        python(setup::AIORTC, "tests/aiortc/test_aiortc.py", evenkeel)
    })?;
    if full {
        steps.step("real agents", || agents(evenkeel))?;
        steps.step("a real server of OpenAI's API", litellm)?;
    }
    steps.step("GStreamer", || gstreamer(evenkeel))?;
    steps.summary();
    Ok(())
}

/// Rows that are run before every change lands; all of them with `--full`.
const ROWS: [&str; 34] = [
    "N01/mid-turn",
    "N02/mid-turn",
    "N03/mid-turn",
    "N05/mid-turn",
    "N16",
    "N20",
    "P01/flowing",
    "P03/mid-turn",
    "P07",
    "P09",
    "P10",
    "S01/mid-turn",
    "S01/idle",
    "S01/flowing/owner/native",
    "S07",
    "S14",
    "S16",
    "S18",
    "S20",
    "C01",
    "C02",
    "C03",
    "C04",
    "C08",
    "C09",
    "M02/flowing/owner/native",
    "M02/flowing/owner/chromium",
    "M08/flowing/owner/native",
    "M10/joining/owner/noise",
    "M11/flowing/owner/frozen/native",
    "N01/flowing",
    // Every provider's rows, of one kind each way: a program, an agent, a model's server.
    "/json-lines",
    "/acp",
    "/chat",
];

fn drill(evenkeel: &str, full: bool) -> Result<()> {
    // The heart and the storm are steps of their own; every other row's id begins with one of these.
    let all = ["N", "P", "S", "C", "M", "H", "K"];
    let rows: &[&str] = if full { &all } else { &ROWS };
    let mut args = vec!["drill"];
    for row in rows {
        args.extend(["--only", row]);
    }
    if full {
        args.push("--mutants");
    }
    shell::run(evenkeel, &args)?;
    if full {
        // A hundred kills under a camera, and what the slowest recovery took.
        shell::run(
            evenkeel,
            &["drill", "--only", "S01/flowing", "--times", "10"],
        )?;
    }
    Ok(())
}

/// Golden vectors, recorded traces, the shell over a scripted transport, and a real server.
fn javascript(evenkeel: &str) -> Result<()> {
    if !shell::has("node") {
        return missing("the JavaScript SDK's tests", "node");
    }
    let folder = shell::root().join("js/sdk/test");
    let mut args = vec!["--test".to_owned()];
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(".test.js")) {
            args.push(format!("js/sdk/test/{name}"));
        }
    }
    args.sort();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    shell::run_with("node", &args, &[("EVENKEEL_BIN", evenkeel)])?;
    // The size is that of what is published, which the same tests hold for.
    shell::run("node", &["js/sdk/scripts/size.mjs"])?;
    if shell::root().join("js/sdk/node_modules/esbuild").is_dir() {
        args.splice(0..0, ["--import", "./js/sdk/scripts/of-dist.mjs"]);
        shell::run_with("node", &args, &[("EVENKEEL_BIN", evenkeel)])?;
    }
    let compiler = "js/sdk/node_modules/typescript/bin/tsc";
    if !shell::root().join(compiler).is_file() {
        return missing("the JavaScript SDK's types", "js/sdk/node_modules");
    }
    shell::run("node", &[compiler, "-p", "js/sdk"])
}

/// Another program's word on ours, in an environment of Python's: another implementation of WebRTC,
/// through the WebSocket, WHIP and WHEP; and what tries whatever the API's document allows.
fn python(environment: setup::Environment, test: &str, evenkeel: &str) -> Result<()> {
    let python = shell::root().join(environment.python);
    if !python.is_file() {
        return missing(test, "python3, PyPI");
    }
    let python = python.to_string_lossy().into_owned();
    shell::run_with(&python, &[test], &[("EVENKEEL_BIN", evenkeel)])
}

/// A third one, by WHIP and WHEP. It wants the system's own Python, whose bindings it is.
fn gstreamer(evenkeel: &str) -> Result<()> {
    let python = "/usr/bin/python3";
    if !std::path::Path::new(python).is_file() {
        return missing("GStreamer's tests", "python3-gi");
    }
    let env = [("EVENKEEL_BIN", evenkeel)];
    shell::run_with(python, &["tests/gstreamer/test_webrtcbin.py"], &env)
}

/// Real agents, which npm installs into `target/agents`; one that cannot be had is skipped, loudly.
fn agents(evenkeel: &str) -> Result<()> {
    if !shell::has("node") || !shell::has("npm") {
        return missing("real agents", "node, npm");
    }
    let env = [("EVENKEEL_BIN", evenkeel)];
    shell::run_with("node", &["--test", "tests/agents/agents.test.mjs"], &env)
}

/// LiteLLM, in front of our own model's server.
fn litellm() -> Result<()> {
    let python = shell::root().join(setup::LITELLM.python);
    if !python.is_file() {
        if !shell::has("python3") {
            return missing("the test against LiteLLM", "python3, PyPI");
        }
        setup::LITELLM.make()?;
    }
    let python = python.to_string_lossy().into_owned();
    let args = [
        "test",
        "-p",
        "keel-agent",
        "--test",
        "all",
        "--",
        "litellm::",
    ];
    shell::run_with("cargo", &args, &[("EVENKEEL_LITELLM", &python)])
}

/// An error in CI, and told elsewhere.
fn missing(what: &str, needs: &str) -> Result<()> {
    if shell::is_ci() {
        bail!("{what} need {needs}: run `cargo xtask setup`");
    }
    eprintln!("skipped{{needs: {needs}}}: {what}");
    Ok(())
}

/// The tests of the page and of the SDK in browsers, what fails fastest first.
const PAGE: [&str; 20] = [
    "stage",
    "playground",
    "markdown",
    "chat",
    "looks",
    "older",
    "sessions",
    "readme",
    "looks-picture",
    "playground-media",
    "room-sound",
    "second-thoughts",
    "chaos",
    "firefox",
    "sdk",
    "media",
    "media-sdk",
    "media-ways",
    "media-moves",
    "native-media",
];

fn page(evenkeel: &str, full: bool) -> Result<()> {
    if !shell::has("chromium") || !shell::has("node") {
        return missing("the page's tests", "chromium, node");
    }
    let mut env = vec![("EVENKEEL_BIN", evenkeel)];
    if full {
        env.push(("FULL", "1"));
    }
    let there = fs::read_dir(shell::root().join("tests/page"))?;
    for entry in there {
        let name = entry?.file_name();
        let file = name
            .to_str()
            .and_then(|name| name.strip_suffix(".test.mjs"));
        if let Some(file) = file.filter(|file| !PAGE.contains(file)) {
            bail!("tests/page/{file}.test.mjs is not run: name it in `PAGE`");
        }
    }
    // One after the other: each wants the machine's attention for its times.
    for file in PAGE {
        let file = format!("tests/page/{file}.test.mjs");
        shell::run_with("node", &["--test", &file], &env)?;
    }
    Ok(())
}
