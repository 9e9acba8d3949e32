//! Where each box of a picture lies: in layers, each below the one that waits for it.

use std::collections::HashMap;

use crate::cmd::why::show::graph::{Graph, Wait};

pub(super) const WIDTH: usize = 256;
/// The box's first line, and each further one.
pub(super) const HEAD: usize = 38;
pub(super) const LINE: usize = 18;
const BESIDE: usize = 28;
/// Room for what stands at a wait's line.
const BELOW: usize = 84;
const MARGIN: usize = 8;
/// So many boxes have room beside each other on a screen.
const WIDEST: usize = 4;
/// A line that leads past other boxes, or up again, does so at the right of all: so far for each.
const PAST: usize = 28;

/// Boxes that hang together by waits, with their places.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) boxes: Vec<Rectangle>,
    pub(super) routes: Vec<Route>,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The place of one node, which is named by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) node: usize,
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) height: usize,
}

/// The way of one wait, which is named by its index.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) wait: usize,
    pub(super) from: Rectangle,
    pub(super) to: Rectangle,
    /// At which x it leads past the boxes; None: straight to the next row.
    pub(super) past: Option<usize>,
    /// In a column, lines past the boxes have no room for one. The box that they lead from says since when.
    pub(super) has_label: bool,
}

/// The two forms of one picture.
#[derive(Debug)]
pub(super) struct Pictures {
    /// All of a layer beside each other; None if that is too wide for a screen, or the same.
    pub(super) wide: Option<Picture>,
    /// One below the other, for a phone.
    pub(super) column: Picture,
}

/// The pictures of nodes that hang together, in the order of their first nodes.
pub(super) fn pictures(graph: &Graph) -> Vec<Pictures> {
    let layers = layers(graph);
    components(graph).iter().map(|nodes| both_forms(graph, nodes, &layers)).collect()
}

fn both_forms(graph: &Graph, nodes: &[usize], layers: &[usize]) -> Pictures {
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for node in nodes {
        let layer = layers[*node];
        rows.resize(rows.len().max(layer + 1), Vec::new());
        rows[layer].push(*node);
    }
    let column: Vec<_> = rows.iter().flatten().map(|node| vec![*node]).collect();
    let widest = rows.iter().map(Vec::len).max().unwrap_or_default();
    let is_wide = (2..=WIDEST).contains(&widest);
    let wide = is_wide.then(|| picture(graph, rows));
    Pictures { wide, column: picture(graph, column) }
}

fn components(graph: &Graph) -> Vec<Vec<usize>> {
    // Each node takes the lowest number among its neighbours until nothing changes.
    let mut lowest: Vec<usize> = (0..graph.nodes.len()).collect();
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        for wait in &graph.waits {
            let least = lowest[wait.from].min(lowest[wait.to]);
            has_changed |= lowest[wait.from] != lowest[wait.to];
            (lowest[wait.from], lowest[wait.to]) = (least, least);
        }
    }
    let of = |first: usize| (0..lowest.len()).filter(|node| lowest[*node] == first).collect();
    (0..lowest.len()).filter(|node| lowest[*node] == *node).map(of).collect()
}

/// The layer of each node: below all that wait for it. A wait that closes a circle does not count.
fn layers(graph: &Graph) -> Vec<usize> {
    let mut layers = vec![0; graph.nodes.len()];
    let onward = onward(graph);
    // Without circles, no way is longer than there are nodes.
    for _ in 0..graph.nodes.len() {
        let before = layers.clone();
        for wait in onward.iter().map(|wait| &graph.waits[*wait]) {
            layers[wait.to] = layers[wait.to].max(layers[wait.from] + 1);
        }
        if layers == before {
            break;
        }
    }
    layers
}

/// The waits that close no circle: on the way down from a node, none leads to a node that the way has passed.
fn onward(graph: &Graph) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Not,
        OnTheWay,
        Done,
    }
    let mut visits = vec![Visit::Not; graph.nodes.len()];
    let mut onward = Vec::new();
    for start in 0..graph.nodes.len() {
        let mut way = if visits[start] == Visit::Not { vec![(start, 0)] } else { Vec::new() };
        while let Some((node, next)) = way.pop() {
            visits[node] = Visit::OnTheWay;
            let mut waits =
                (next..graph.waits.len()).filter(|wait| graph.waits[*wait].from == node);
            let Some(wait) = waits.next() else {
                visits[node] = Visit::Done;
                continue;
            };
            way.push((node, wait + 1));
            let to = graph.waits[wait].to;
            if visits[to] != Visit::OnTheWay {
                onward.push(wait);
            }
            if visits[to] == Visit::Not {
                way.push((to, 0));
            }
        }
    }
    onward
}

fn picture(graph: &Graph, mut rows: Vec<Vec<usize>>) -> Picture {
    let is_column = rows.iter().all(|row| row.len() == 1);
    let row_of = |rows: &[Vec<usize>], node| rows.iter().position(|row| row.contains(&node));
    let is_straight =
        |rows: &[Vec<usize>], from, to| row_of(rows, from).map(|row| row + 1) == row_of(rows, to);
    let across = |count: usize| count * (WIDTH + BESIDE) - BESIDE;
    let inner = rows.iter().map(|row| across(row.len())).max().unwrap_or(WIDTH);
    let mut places: Vec<Rectangle> = Vec::new();
    let mut y = MARGIN;
    for nth in 0..rows.len() {
        let mut row = rows[nth].clone();
        row.sort_by_cached_key(|node| middle_of_callers(graph, &places, *node));
        let left = MARGIN + (inner - across(row.len())) / 2;
        let height = |node: usize| HEAD + LINE * graph.nodes[node].lines.len();
        for (nth, node) in row.iter().enumerate() {
            let x = left + nth * (WIDTH + BESIDE);
            places.push(Rectangle { node: *node, x, y, height: height(*node) });
        }
        y += row.iter().map(|node| height(*node)).max().unwrap_or_default();
        let leads_on =
            |wait: &Wait| row.contains(&wait.from) && is_straight(&rows, wait.from, wait.to);
        y += match (nth + 1 < rows.len(), graph.waits.iter().any(leads_on)) {
            (false, _) => MARGIN,
            (true, true) => BELOW,
            (true, false) => BESIDE / 2,
        };
        rows[nth] = row;
    }
    let mut width = inner + 2 * MARGIN;
    let mut lanes: HashMap<usize, usize> = HashMap::new();
    let mut routes = Vec::new();
    for (wait, one) in graph.waits.iter().enumerate() {
        let place = |node: usize| places.iter().find(|place| place.node == node).copied();
        let (Some(from), Some(to)) = (place(one.from), place(one.to)) else { continue };
        let past = (!is_straight(&rows, one.from, one.to)).then(|| {
            // All that lead to one box share a lane.
            *lanes.entry(one.to).or_insert_with(|| {
                width += PAST;
                width - PAST
            })
        });
        let has_label = past.is_none() || !is_column;
        routes.push(Route { wait, from, to, past, has_label });
    }
    Picture { boxes: places, routes, width, height: y }
}

/// A box lies below the middle of those that wait for it, so that lines cross seldom.
fn middle_of_callers(graph: &Graph, above: &[Rectangle], node: usize) -> usize {
    let is_caller = |place: &&Rectangle| {
        graph.waits.iter().any(|wait| (wait.from, wait.to) == (place.node, node))
    };
    let callers: Vec<_> = above.iter().filter(is_caller).map(|place| place.x).collect();
    callers.iter().sum::<usize>() / callers.len().max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::cmd::why::show::graph::{Node, Tone};

    fn graph(nodes: usize, waits: &[(usize, usize)]) -> Graph {
        let node = |nth: usize| Node {
            name: nth.to_string(),
            lines: vec![String::new(); nth % 4],
            tone: Tone::Calm,
        };
        let wait = |(from, to): &(usize, usize)| Wait {
            from: *from,
            to: *to,
            socket: String::new(),
            since: None,
            connections: HashSet::from([7]),
            tone: Tone::Bad,
            is_mutual: false,
        };
        Graph {
            nodes: (0..nodes).map(node).collect(),
            waits: waits.iter().map(wait).collect(),
            findings: Vec::new(),
        }
    }

    fn assert_apart(pictures: &Pictures) {
        for picture in pictures.wide.iter().chain([&pictures.column]) {
            let is_within = |route: &Route| route.past.is_none_or(|x| x < picture.width);
            assert!(picture.routes.iter().all(is_within));
            assert_boxes_apart(picture);
        }
    }

    fn assert_boxes_apart(picture: &Picture) {
        for (nth, one) in picture.boxes.iter().enumerate() {
            assert!(one.x + WIDTH <= picture.width && one.y + one.height <= picture.height);
            for other in &picture.boxes[nth + 1..] {
                let beside = one.x + WIDTH <= other.x || other.x + WIDTH <= one.x;
                let below = one.y + one.height <= other.y || other.y + other.height <= one.y;
                assert!(beside || below, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_server_lies_below_all_that_wait_for_it() {
        let graph = graph(5, &[(0, 1), (1, 2), (0, 2), (3, 2)]);
        let pictures = pictures(&graph);
        assert_eq!(pictures.len(), 2, "the last one waits for nobody");
        assert_apart(&pictures[0]);
        let wide = pictures[0].wide.as_ref().unwrap();
        let y = |node: usize| wide.boxes.iter().find(|one| one.node == node).unwrap().y;
        assert!(y(0) < y(1) && y(1) < y(2) && y(3) < y(2));
        let past: Vec<_> = wide.routes.iter().map(|route| route.past.is_some()).collect();
        assert_eq!(past, [false, false, true, true]);
        let lanes: HashSet<_> = wide.routes.iter().filter_map(|route| route.past).collect();
        assert_eq!(lanes.len(), 1, "they lead to one box");
    }

    #[test]
    fn on_a_phone_all_boxes_are_in_one_column() {
        let all = pictures(&graph(7, &[(0, 6), (1, 6), (2, 6), (3, 6), (4, 6), (5, 6)]));
        assert!(all[0].wide.is_none(), "six are too many beside each other");
        let column = &all[0].column;
        assert!(column.boxes.iter().all(|one| one.x == column.boxes[0].x));
        assert!(column.width < 330, "{}", column.width);
        let labels = column.routes.iter().filter(|route| route.has_label);
        assert_eq!(labels.count(), 1, "on the line from the last to the one below");
        assert_apart(&all[0]);
    }

    #[test]
    fn a_circle_has_a_picture_too() {
        for waits in [&[(0, 1), (1, 0)][..], &[(0, 1), (1, 2), (2, 0), (3, 1)], &[(2, 1), (1, 2)]] {
            let all = pictures(&graph(4, waits));
            let routes: usize = all.iter().map(|one| one.column.routes.len()).sum();
            assert_eq!(routes, waits.len());
            all.iter().for_each(assert_apart);
        }
    }

    #[test]
    fn boxes_never_overlap() {
        fastrand::seed(7);
        for _ in 0..200 {
            let nodes = fastrand::usize(1..30);
            let node = || fastrand::usize(0..nodes);
            let waits: Vec<_> = (0..fastrand::usize(0..60)).map(|_| (node(), node())).collect();
            let waits: Vec<_> = waits.into_iter().filter(|(from, to)| from != to).collect();
            let graph = graph(nodes, &waits);
            let all = pictures(&graph);
            assert_eq!(all.iter().map(|one| one.column.boxes.len()).sum::<usize>(), nodes);
            all.iter().for_each(assert_apart);
        }
    }
}
