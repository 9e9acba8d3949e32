//! Which file may import which: reads the `use` lines and paths of the sources, so that the walls between the
//! rooms stand without a crate for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file or directory below `crates/`, what must not appear in it, and why.
const RULES: &[(&str, &[&str], &str)] = &[
    (
        "unhang/src/wire",
        &[
            "tokio",
            "std::io",
            "std::net",
            "std::os",
            "std::process",
            "std::time",
            "crate::handler",
            "crate::serve",
            "crate::server",
            "crate::listen",
            "crate::client",
            "crate::event",
        ],
        "a protocol is pure bytes: no socket, no clock, no runtime, no other room",
    ),
    (
        "unhang/src/handler.rs",
        &["crate::wire", "crate::serve"],
        "a handler does not know its protocol",
    ),
    (
        "unhang/src/handler",
        &["crate::wire", "crate::serve"],
        "a handler does not know its protocol",
    ),
    ("unhang/src/limits.rs", &["crate::"], "the limits stand below everything"),
    (
        "unhang/src/serve/connection.rs",
        &["crate::server", "crate::listen", "crate::client", "rustix"],
        "a connection knows its stream, not where it came from",
    ),
    (
        "unhang/src/serve/door.rs",
        &["crate::listen", "crate::server", "rustix::net", "tokio::net"],
        "the accept loop knows its queue, not what is behind it: so it can be simulated",
    ),
    (
        "unhang/src/listen.rs",
        &["crate::server", "crate::serve", "crate::client"],
        "the listener does not know what serves it",
    ),
    (
        "unhang/src/listen",
        &["crate::server", "crate::serve", "crate::client", "tokio"],
        "the listener does not know what serves it, nor on which runtime",
    ),
    (
        "unhang/src/client.rs",
        &[
            "crate::server",
            "crate::connection",
            "listen::{",
            "listen::Bind",
            "listen::Listener",
            "listen::control",
            "listen::file",
            "listen::replace",
        ],
        "a client knows the address, and no server",
    ),
    (
        "unhang/src",
        &["clap", "anyhow", "tracing_subscriber", "println!", "eprintln!"],
        "a library leaves the terminal to its program",
    ),
    (
        "unhang/src",
        &["SystemTime", "UNIX_EPOCH"],
        "a deadline is kept by a clock that nobody sets: a step of the wall clock moves none",
    ),
    (
        "unhang-cli/src/cmd/bench",
        &["cmd::call", "cmd::serve", "cmd::why", "unhang::Client", "unhang::Server", "tokio"],
        "it loads any server, and what it costs itself the server may lack",
    ),
    (
        "unhang-cli/src/cmd/bench/arrivals.rs",
        &["Instant", "rustix", "std::io", "crate::"],
        "when an exchange is due is arithmetic: so it can be simulated",
    ),
    (
        "unhang-cli/src/sock_diag.rs",
        &["crate::", "unhang::", "std::fs"],
        "it asks the kernel for whoever wants to know, and knows none of them",
    ),
    (
        "unhang-cli/src/sock_diag",
        &["crate::", "std::io", "std::os", "rustix"],
        "the kernel's answers are pure bytes: so they can be fuzzed",
    ),
    (
        "unhang-cli/src/cmd/why/ask/server/waits.rs",
        &["crate::", "super::super", "std::io", "std::os", "rustix"],
        "a server's answer is pure bytes: so it can be fuzzed",
    ),
    (
        "unhang-cli/src/cmd/serve/metrics",
        &["crate::cmd", "serve::log", "super::log"],
        "what is counted does not depend on what is logged, nor on a command",
    ),
    ("unhang-cli/src/cmd/call.rs", &["cmd::serve", "super::serve"], "no command imports another"),
    (
        "unhang-cli/src/cmd/bench.rs",
        &["super::call", "super::serve", "super::why"],
        "no command imports another",
    ),
    ("unhang-cli/src/cmd/serve.rs", &["cmd::call", "super::call"], "no command imports another"),
    (
        "unhang-cli/src/cmd/why",
        &["unhang::", "cmd::call", "cmd::serve"],
        "it must explain any process, not only those of this library",
    ),
    (
        "unhang-cli/src/cmd/why.rs",
        &["unhang::", "super::call", "super::serve"],
        "no command imports another",
    ),
    (
        "unhang-cli/src/cmd/why/verdict",
        &["std::fs", "std::io", "std::os", "rustix", "/proc/self", "Instant", "SystemTime::now"],
        "a verdict follows from the facts alone",
    ),
];

#[test]
fn every_room_uses_only_what_it_may() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut broken = Vec::new();
    for (place, forbidden, why) in RULES {
        let files = sources(&crates.join(place));
        assert!(!files.is_empty(), "the rule for {place} guards nothing");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for word in *forbidden {
                    if line.contains(word) {
                        broken.push(format!("{}: {line:?} ({why})", file.display()));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The files and directories in which no file may import another that imports it, by whatever way round.
const WITHOUT_CIRCLES: &[&str] = &[
    "unhang/src/listen",
    "unhang/src/wire",
    "unhang/src/serve",
    "unhang-cli/src/cmd/bench",
    "unhang-cli/src/cmd/serve/",
    "soak/src",
];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut circles = Vec::new();
    for name in ["unhang", "unhang-cli", "soak"] {
        let imports = imports(&crates.join(name).join("src"));
        for (from, all) in &imports {
            let back = all.iter().filter(|to| reaches(&imports, to, from));
            circles.extend(back.map(|to| format!("{name}/src/{from} ↔ {name}/src/{to}")));
        }
    }
    circles.retain(|circle| {
        let within = |place: &&str| circle.split(" ↔ ").all(|file| file.starts_with(*place));
        WITHOUT_CIRCLES.iter().any(within)
    });
    assert!(circles.is_empty(), "{circles:#?}");
}

/// For each file, without its `.rs`, the files that its code names by their modules.
fn imports(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let name = |file: &Path| {
        let file = file.strip_prefix(root).unwrap().with_extension("");
        file.to_str().unwrap().to_owned()
    };
    let files: BTreeMap<_, _> = sources(root).into_iter().map(|file| (name(&file), file)).collect();
    let named = |module: &str, path: &str| {
        let mut place: Vec<_> = module.split('/').collect();
        let words: Vec<_> = path.split("::").collect();
        let mut words = &words[..];
        match words {
            ["crate", rest @ ..] => {
                place.clear();
                words = rest;
            }
            ["self", rest @ ..] => words = rest,
            _ => {
                while let ["super", rest @ ..] = words {
                    place.pop();
                    words = rest;
                }
            }
        }
        place.extend(words);
        // The file that declares what is named, or a module above it that re-exports it.
        (1..=place.len())
            .rev()
            .map(|length| place[..length].join("/"))
            .find(|it| files.contains_key(it))
    };
    let all = files.iter().map(|(module, file)| {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let paths = lines.flat_map(|line| {
            line.split(|one: char| !(one.is_alphanumeric() || one == '_' || one == ':'))
        });
        let paths = paths.filter(|path| path.contains("::"));
        let found = paths.filter_map(|path| named(module, path)).filter(|found| found != module);
        (module.clone(), found.collect())
    });
    all.collect()
}

/// Whether one file imports the other, itself or by the files that it imports.
fn reaches(imports: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut next, mut seen) = (vec![from], BTreeSet::new());
    while let Some(file) = next.pop() {
        if file == to {
            return true;
        }
        if seen.insert(file) {
            next.extend(imports[file].iter().map(String::as_str));
        }
    }
    false
}

#[test]
fn the_readme_shows_the_example_that_runs() {
    let example = include_str!("../../examples/hello.rs");
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(include_str!("../../../../README.md").contains(code));
    assert!(code.lines().count() <= 15, "fifteen lines are the promise");
}

fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_path_buf()];
    }
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    entries
        // The simulated world is only built for tests, and speaks on their terminal.
        .filter(|path| !path.ends_with("src/sim") && !path.ends_with("src/sim.rs"))
        .filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rs"))
        .flat_map(|path| sources(&path))
        .collect()
}
