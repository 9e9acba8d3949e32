//! Go's `net`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{SILENCE, a_mebibyte, every_way, missing};
use crate::support::root;

const PACKAGE: &str = "golang-go";

#[test]
fn go_reads_to_the_end() {
    if missing("go", PACKAGE) {
        return;
    }
    assert_eq!(every_way(go), SILENCE);
}

#[test]
fn go_a_mebibyte_arrives_whole() {
    if missing("go", PACKAGE) {
        return;
    }
    for (until, half_close) in [("dry", false), ("newline", false), ("half-close", true)] {
        a_mebibyte(until, half_close, go);
    }
}

fn go(path: &Path, half_close: bool) -> Command {
    static CLIENT: OnceLock<PathBuf> = OnceLock::new();
    let source = root().join("crates/unhang-cli/tests/it/interop/client.go");
    let mut go = Command::new(CLIENT.get_or_init(|| build(&source, "client")));
    go.arg(path).arg(half_close.to_string());
    go
}

/// The example, built.
pub(super) fn example() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| build(&root().join("examples/go/client.go"), "example"))
}

/// Builds a program of one file: without a module, without the network, and without a C compiler.
pub(crate) fn build(source: &Path, name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = directory.join(format!("go-{name}"));
    // Another run of the tests may be executing the last one: it is replaced, not overwritten.
    let fresh = directory.join(format!("go-{name}.{}", std::process::id()));
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&fresh)
        .arg(source)
        .envs([("GOFLAGS", "-mod=mod"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local")])
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::rename(fresh, &program).unwrap();
    program
}
