//! Who may use whom: reads the `use` lines and paths of the sources, so that the walls between the
//! rooms stand without a crate for each.

use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder below `crates/`, what must not appear in it, and why.
const RULES: &[(&str, &[&str], &str)] = &[
    (
        "unhang/src/wire",
        &["tokio", "std::io", "std::net", "std::os", "std::process", "std::time", "crate::"],
        "a protocol is pure bytes: no socket, no clock, no runtime, no other room",
    ),
    ("unhang/src/handler.rs", &["crate::wire"], "a handler does not know its protocol"),
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
        &["crate::server", "crate::connection"],
        "the socket file does not know who serves it",
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
        "unhang-cli/src/cmd/bench/pace.rs",
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
