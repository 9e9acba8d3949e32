//! A picture as SVG within the page, whose style sheet has the colours.

use std::fmt::{self, Display, Write};

use super::Escaped;
use super::layout::{HEAD, LINE, Picture, Rectangle, Route, WIDTH};
use crate::cmd::why::show::graph::{Graph, Tone, Wait};
use crate::cmd::why::verdict;

/// So many columns of the first line, and of the others, have room in a box.
const HEAD_COLUMNS: usize = 28;
const LINE_COLUMNS: usize = 36;
const LABEL_COLUMNS: usize = 34;
/// How round a line's corners are.
const CORNER: usize = 9;

pub(super) struct Svg<'a> {
    pub(super) graph: &'a Graph,
    pub(super) picture: &'a Picture,
}

impl Display for Svg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Picture { width, height, boxes, routes } = self.picture;
        writeln!(
            f,
            "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{}\">",
            Escaped(&self.in_words())
        )?;
        for route in routes {
            self.line(f, route)?;
        }
        for place in boxes {
            self.node(f, *place)?;
        }
        // Above the boxes, which a line past them may touch.
        for route in routes.iter().filter(|route| route.has_label) {
            self.label(f, route)?;
        }
        writeln!(f, "</svg>")
    }
}

impl Svg<'_> {
    /// For people who do not see it.
    fn in_words(&self) -> String {
        let name = |node: usize| &self.graph.nodes[node].name;
        let wait = |route: &Route| {
            let wait = &self.graph.waits[route.wait];
            let since =
                wait.since.map_or(String::new(), |since| format!(" for {}", verdict::age(since)));
            format!("{} waits{since} for {}", name(wait.from), name(wait.to))
        };
        let waits: Vec<_> = self.picture.routes.iter().map(wait).collect();
        match waits.is_empty() {
            true => self.picture.boxes.iter().map(|place| name(place.node).clone()).collect(),
            false => waits.join("; "),
        }
    }

    fn node(&self, f: &mut fmt::Formatter<'_>, place: Rectangle) -> fmt::Result {
        let node = &self.graph.nodes[place.node];
        let Rectangle { x, y, height, .. } = place;
        // A picture of its own cuts off what an unusual font makes too wide.
        writeln!(
            f,
            "<svg class=\"node {}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\">\
             <title>{}</title><rect x=\"1\" y=\"1\" width=\"{}\" height=\"{}\" rx=\"10\"/>",
            class(node.tone),
            Escaped(&format!("{} · {}", node.name, node.lines.join(" · "))),
            WIDTH - 2,
            height - 2,
        )?;
        let name = fitted(&node.name, HEAD_COLUMNS);
        writeln!(f, "<text class=\"name\" x=\"14\" y=\"25\">{}</text>", Escaped(&name))?;
        for (nth, line) in node.lines.iter().enumerate() {
            let line = fitted(line, LINE_COLUMNS);
            let y = HEAD + nth * LINE + 7;
            writeln!(f, "<text x=\"14\" y=\"{y}\">{}</text>", Escaped(&line))?;
        }
        writeln!(f, "</svg>")
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, route: &Route) -> fmt::Result {
        let wait = &self.graph.waits[route.wait];
        let class = class(wait.tone);
        let (from, to) = (route.from, route.to);
        let (x, y, x2, y2) = ends(route);
        write!(f, "<g class=\"wait {class}\"><path class=\"line\" d=\"")?;
        if let Some(lane) = route.past {
            let (before, is_down) = (lane - CORNER, y2 > y);
            let turned = |y: usize, by: bool| if by { y + CORNER } else { y - CORNER };
            let (first, last) = (turned(y, is_down), turned(y2, !is_down));
            write!(f, "M{x} {y} H{before} Q{lane} {y} {lane} {first} V{last} ")?;
            write!(f, "Q{lane} {y2} {before} {y2} H{x2}\"/>")?;
            head(f, x2, y2, Direction::Left)?;
            if wait.is_mutual {
                head(f, x, y, Direction::Left)?;
            }
        } else {
            let middle = usize::midpoint(from.y + from.height, to.y);
            write!(f, "M{x} {y} C{x} {middle} {x2} {middle} {x2} {y2}\"/>")?;
            head(f, x2, y2, Direction::Down)?;
            if wait.is_mutual {
                head(f, x, y, Direction::Up)?;
            }
        }
        writeln!(f, "</g>")
    }

    /// Since when, and at which socket. Near that end of the line which has fewer others.
    fn label(&self, f: &mut fmt::Formatter<'_>, route: &Route) -> fmt::Result {
        let wait = &self.graph.waits[route.wait];
        let (x, y, x2, y2) = ends(route);
        let count = |is_one: fn(&Wait, &Wait) -> bool| {
            self.graph.waits.iter().filter(|other| is_one(other, wait)).count()
        };
        let of_caller = count(|one, other| one.from == other.from);
        let of_called = count(|one, other| one.to == other.to);
        let middle = match (route.past, of_caller.cmp(&of_called)) {
            (Some(past), _) => past.saturating_sub(40),
            (None, std::cmp::Ordering::Less) => x + x2.abs_diff(x) / 8 * usize::from(x2 > x),
            (None, std::cmp::Ordering::Greater) => x2,
            (None, std::cmp::Ordering::Equal) => usize::midpoint(x, x2),
        };
        let height = usize::midpoint(y, y2);
        let mut words = wait
            .since
            .map_or("waits".to_owned(), |since| format!("waits for {}", verdict::age(since)));
        if wait.connections.len() > 1 {
            write!(words, " · {} connections", wait.connections.len())?;
        }
        let socket = fitted_end(&wait.socket, LABEL_COLUMNS);
        write!(
            f,
            "<text class=\"since {}\" x=\"{middle}\" y=\"{}\">{}</text>",
            class(wait.tone),
            height - 3,
            Escaped(&words)
        )?;
        writeln!(
            f,
            "<text class=\"socket\" x=\"{middle}\" y=\"{}\">{}<title>{}</title></text>",
            height + 14,
            Escaped(&socket),
            Escaped(&wait.socket)
        )
    }
}

/// Where a line begins and ends.
fn ends(route: &Route) -> (usize, usize, usize, usize) {
    let (from, to) = (route.from, route.to);
    match route.past {
        // At the right of both boxes, and not at one point if there are two.
        Some(_) => {
            (from.x + WIDTH, from.y + from.height / 2 + 6, to.x + WIDTH, to.y + to.height / 2 - 6)
        }
        None => (from.x + WIDTH / 2, from.y + from.height, to.x + WIDTH / 2, to.y),
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
    Left,
}

fn head(f: &mut fmt::Formatter<'_>, x: usize, y: usize, direction: Direction) -> fmt::Result {
    let corners = match direction {
        Direction::Down => "l-6 -10 h12",
        Direction::Up => "l-6 10 h12",
        Direction::Left => "l10 -6 v12",
    };
    write!(f, "<path class=\"head\" d=\"M{x} {y} {corners}z\"/>")
}

pub(super) fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "bad",
        Tone::Unsure => "unsure",
        Tone::Calm => "calm",
    }
}

/// As much of the text as so many columns hold, and a sign that it is not all.
fn fitted(text: &str, columns: usize) -> String {
    match within(text.chars(), columns) {
        None => text.to_owned(),
        Some(count) => text.chars().take(count).chain(['…']).collect(),
    }
}

/// The same, but its end: of a path, the start tells least.
fn fitted_end(text: &str, columns: usize) -> String {
    match within(text.chars().rev(), columns) {
        None => text.to_owned(),
        Some(count) => {
            let passed = text.chars().count() - count;
            std::iter::once('…').chain(text.chars().skip(passed)).collect()
        }
    }
}

/// How many characters have room beside an ellipsis; None: all of them have.
fn within(characters: impl Iterator<Item = char>, columns: usize) -> Option<usize> {
    let (mut used, mut count) = (0, 0);
    for one in characters {
        // From Hangul on, many are twice as wide; a box that is too empty does no harm.
        used += if u32::from(one) >= 0x1100 { 2 } else { 1 };
        if used > columns {
            return Some(count);
        }
        if used < columns {
            count += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(fitted("abcdef", 6), "abcdef");
        assert_eq!(fitted("abcdefg", 6), "abcde…");
        assert_eq!(fitted_end("abcdefg", 6), "…cdefg");
        assert_eq!(fitted("日本語日本語", 6), "日本…");
        assert_eq!(fitted("", 6), "");
    }
}
