//! Commands that are shown, for somebody to run as they stand.

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

/// The path as every shell takes it, to be copied from a screen; None if none is: only some shells
/// know a way to write control characters, and what turns the screen's text around hides the rest.
pub(crate) fn quoted_for_any_shell(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| !text.chars().any(is_hidden))?;
    // With a hyphen first it would be a flag.
    Some(quoted(&if text.starts_with('-') { format!("./{text}") } else { text.to_owned() }))
}

/// It acts on a terminal, or is not seen on it as what it is.
pub(crate) fn is_hidden(one: char) -> bool {
    !matches!(one, '\'' | '"' | '\\') && one.escape_debug().next() == Some('\\')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_is_quoted_as_a_shell_takes_it() {
        assert_eq!(quoted("/run/app-1.sock"), "/run/app-1.sock");
        assert_eq!(quoted("/run/my app"), "'/run/my app'");
        assert_eq!(quoted("it's $1"), r"'it'\''s $1'");
        assert_eq!(quoted("it's \x1b[31m"), r"$'it\'s \x1b[31m'");
    }

    /// A stale file's name ran a program in dash.
    #[test]
    fn a_path_that_some_shell_would_take_otherwise_is_not_shown_as_a_command() {
        let quoted = |path: &str| quoted_for_any_shell(Path::new(path));
        for path in ["a\n' $(id) #", "a\x1b[31m", "a\u{202e}txt", "a\u{9b}31m", "a\u{200b}"] {
            assert_eq!(quoted(path), None, "{path:?}");
        }
        assert_eq!(quoted("it's `id` $1 \\").as_deref(), Some(r"'it'\''s `id` $1 \'"));
        assert_eq!(quoted("-rf").as_deref(), Some("./-rf"));
        let bytes = std::ffi::OsStr::from_bytes(b"a\xff");
        assert_eq!(quoted_for_any_shell(Path::new(bytes)), None);
    }
}
