//! The picture for Graphviz: `unhang why --dot | dot -Tsvg`.

use std::fmt::{self, Display, Write};

use super::graph::{Graph, Tone, Wait};
use super::group::groups;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::verdict::{self, Verdict};
use crate::shell::is_hidden;

pub(crate) struct Dot<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) verdicts: &'a [Verdict],
}

impl Display for Dot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = groups(self.verdicts);
        let graph = Graph::of(self.facts, &groups);
        writeln!(f, "digraph \"unhang why\" {{")?;
        writeln!(
            f,
            "  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f5f5f1\", fontname=\"sans-serif\"]"
        )?;
        writeln!(f, "  edge [fontname=\"sans-serif\", fontsize=11]")?;
        write!(f, "  labelloc=t; labeljust=l; fontname=\"sans-serif\"; label=\"")?;
        for group in &groups {
            let Some(first) = group.first() else { continue };
            let headline = format!("{}  {}", first.label(), first.headline);
            // A left-justified line, in Graphviz's own words.
            write!(f, "{}\\l", Quoted(&headline))?;
        }
        writeln!(f, "\"")?;
        for (index, node) in graph.nodes.iter().enumerate() {
            write!(
                f,
                "  n{index} [color=\"{}\", label=\"{}",
                colour(node.tone),
                Quoted(&node.name)
            )?;
            for line in &node.lines {
                write!(f, "\\n{}", Quoted(line))?;
            }
            writeln!(f, "\"]")?;
        }
        for wait in &graph.waits {
            edge(f, wait)?;
        }
        writeln!(f, "}}")
    }
}

fn edge(f: &mut fmt::Formatter<'_>, wait: &Wait) -> fmt::Result {
    let mut label =
        wait.since.map_or("waits".to_owned(), |since| format!("waits for {}", verdict::age(since)));
    if wait.connections.len() > 1 {
        write!(label, ", {} connections", wait.connections.len())?;
    }
    let style = if wait.tone == Tone::Bad { "solid" } else { "dashed" };
    let direction = if wait.is_mutual { ", dir=both" } else { "" };
    writeln!(
        f,
        "  n{} -> n{} [color=\"{}\", style={style}{direction}, label=\"{}\\n{}\"]",
        wait.from,
        wait.to,
        colour(wait.tone),
        Quoted(&label),
        Quoted(&wait.socket),
    )
}

/// They can be read on a light and on a dark ground.
fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "#c4372c",
        Tone::Unsure => "#a85b00",
        Tone::Calm => "#7d8581",
    }
}

/// A stranger's text within the quotes of a label. Graphviz takes `\N` for the node's name and `&lt;` for `<`.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in self.0.chars() {
            match one {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '&' => f.write_str("&amp;")?,
                hidden if is_hidden(hidden) => {
                    for plain in hidden.escape_debug() {
                        if plain == '\\' {
                            f.write_char(plain)?;
                        }
                        f.write_char(plain)?;
                    }
                }
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
    fn a_label_says_what_it_was_given_and_ends_where_it_ends() {
        assert_eq!(Quoted("php[9] a\"];\\N").to_string(), "php[9] a\\\"];\\\\N");
        assert_eq!(Quoted("&lt;\n\u{202e}").to_string(), "&amp;lt;\\\\n\\\\u{202e}");
    }
}
