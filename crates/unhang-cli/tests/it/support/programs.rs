//! Programs that a test needs and that not every machine has.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Whether a program is missing here, which skips the test and says what to install; or fails it,
/// if everything is required.
pub(crate) fn missing(program: &str, package: &str) -> bool {
    let found = find(program).is_some();
    if !found {
        skip(&format!("{program} is not installed"), package);
    }
    !found
}

pub(crate) fn skip(why: &str, package: &str) {
    unable(&format!("{why} (apt-get install {package})"));
}

/// Says why a test cannot be run; or fails it, if everything is required.
pub(crate) fn unable(why: &str) {
    let required = std::env::var_os("UNHANG_REQUIRE_ALL").is_some_and(|all| all == "1");
    assert!(!required, "{why}");
    say(&format!("skipped: {why}"));
}

/// For the person that runs the tests. The harness would keep what eprintln! prints in a test that passes.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Where a program is that every user may start: one in somebody's home is not.
pub(crate) fn find_for_all(program: &str, package: &str) -> Option<PathBuf> {
    const OTHERS_MAY_SEARCH: u32 = 0o001;
    let is_open = |place: &Path| {
        place.metadata().is_ok_and(|place| place.permissions().mode() & OTHERS_MAY_SEARCH != 0)
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file() && file.ancestors().all(is_open));
    if found.is_none() {
        skip(&format!("{program} is not installed for all users"), package);
    }
    found
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
