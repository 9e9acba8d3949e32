//! One page: what hangs as a picture, and beside it the verdict and its cure. It needs no other file, no network and
//! no script.

mod layout;
mod page;
mod svg;

use std::fmt::{self, Display, Write};

pub(crate) use page::Page;

use crate::shell::is_hidden;

/// A stranger's text, as HTML shows it. What would act on the page, or hide where the text ends, shows as its number.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in self.0.chars() {
            match one {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                hidden if is_hidden(hidden) => write!(f, "{}", hidden.escape_debug())?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_says_is_shown_and_never_run() {
        assert_eq!(
            Escaped("</title><script>\"'&amp;").to_string(),
            "&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;amp;"
        );
        assert_eq!(
            Escaped("a\u{202e}b\u{1b}[2J\0\u{200b}").to_string(),
            "a\\u{202e}b\\u{1b}[2J\\0\\u{200b}"
        );
        assert_eq!(Escaped("naïve ☃ שלום").to_string(), "naïve ☃ שלום");
    }
}
