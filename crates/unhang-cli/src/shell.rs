//! Commands that are shown, for somebody to run as they stand.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// As a shell takes it. Control characters are escaped: they would act on the terminal at once.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |one: char| one.is_alphanumeric() || "/._-+:@,=".contains(one);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else if text.contains(char::is_control) {
        format!("$'{}'", text.as_bytes().escape_ascii())
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The same byte for byte, also where it is no text.
pub(crate) fn quoted_path(path: &Path) -> String {
    match path.to_str() {
        Some(text) => quoted(text),
        None => format!("$'{}'", path.as_os_str().as_bytes().escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_as_a_shell_takes_it() {
        assert_eq!(quoted("/run/app-1.sock"), "/run/app-1.sock");
        assert_eq!(quoted("/run/my app"), "'/run/my app'");
        assert_eq!(quoted("it's $1"), r"'it'\''s $1'");
        assert_eq!(quoted("it's \x1b[31m"), r"$'it\'s \x1b[31m'");
    }
}
