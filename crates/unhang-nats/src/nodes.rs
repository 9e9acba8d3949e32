//! Which node each connection goes to: two connections are to be on two nodes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a node that is going away is not tried again: it may need that long to be back.
const AWAY: Duration = Duration::from_secs(20);

/// Between two tries: none after the first loss, then more and more, up to half a second. A node that is
/// back is found soon, and a thousand doors do not come to it in the same moment.
const LONGEST_PAUSE: u64 = 500;

/// The choice that all connections of one process share.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// A door starts at any node, or all would be on the first.
    order: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chosen: HashMap<usize, String>,
    left: HashMap<String, Instant>,
    tries: HashMap<usize, usize>,
}

impl Nodes {
    pub(crate) fn new(mut order: Vec<String>) -> Self {
        if !order.is_empty() {
            let by = fastrand::usize(..order.len());
            order.rotate_left(by);
        }
        Self { order, state: Mutex::default() }
    }

    /// The node that this connection tries next, and after what pause.
    pub(crate) fn choose(&self, link: usize, now: Instant) -> Option<(String, Duration)> {
        let mut state = self.state();
        state.left.retain(|_, since| now.saturating_duration_since(*since) < AWAY);
        let tries = *state.tries.entry(link).and_modify(|tries| *tries += 1).or_insert(0);
        let is_taken =
            |node: &String| state.chosen.iter().any(|(by, it)| *by != link && it == node);
        let rank =
            |node: &String| (u8::from(state.left.contains_key(node)), u8::from(is_taken(node)));
        let mut candidates: Vec<_> = self.order.iter().collect();
        // Each try begins one further, so that a node that is down is not all that is tried.
        candidates.rotate_left((tries + link) % self.order.len().max(1));
        // Every third try takes whatever comes: better two on one node than one on none.
        if tries % 3 < 2 {
            candidates.sort_by_key(|node| rank(node));
        }
        let node = (*candidates.first()?).clone();
        state.chosen.insert(link, node.clone());
        let most = (1_u64 << tries.min(9)).min(LONGEST_PAUSE);
        let pause = if tries == 0 { 0 } else { fastrand::u64(most / 2..=most) };
        Some((node, Duration::from_millis(pause)))
    }

    /// It is connected: the next try is a first one.
    pub(crate) fn reached(&self, link: usize) -> Option<String> {
        let mut state = self.state();
        state.tries.remove(&link);
        state.chosen.get(&link).cloned()
    }

    /// The node that this connection is on is going away, or does not answer.
    pub(crate) fn leave(&self, link: usize, now: Instant) {
        let mut state = self.state();
        if let Some(node) = state.chosen.remove(&link) {
            state.left.insert(node, now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Nodes {
        Nodes::new((0..count).map(|nth| format!("n{nth}:4222")).collect())
    }

    #[test]
    fn two_connections_are_on_two_nodes() {
        for _ in 0..50 {
            let nodes = nodes(3);
            let now = Instant::now();
            let first = nodes.choose(0, now).unwrap();
            let second = nodes.choose(1, now).unwrap();
            assert_ne!(first.0, second.0);
            assert_eq!((first.1, second.1), (Duration::ZERO, Duration::ZERO));
        }
    }

    #[test]
    fn a_node_that_goes_away_is_not_taken_again_at_once() {
        let nodes = nodes(3);
        let now = Instant::now();
        let (first, _) = nodes.choose(0, now).unwrap();
        let (second, _) = nodes.choose(1, now).unwrap();
        nodes.reached(0);
        nodes.leave(0, now);
        let (third, _) = nodes.choose(0, now).unwrap();
        assert!(third != first && third != second);
    }

    #[test]
    fn with_one_node_left_both_are_on_it_and_every_node_is_tried() {
        let nodes = nodes(1);
        let now = Instant::now();
        assert_eq!(nodes.choose(0, now).unwrap().0, nodes.choose(1, now).unwrap().0);
        nodes.leave(0, now);
        assert!(nodes.choose(0, now).is_some());

        let nodes = self::nodes(3);
        let mut tried: Vec<_> = (0..9).map(|_| nodes.choose(0, now).unwrap().0).collect();
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn pauses_grow_and_stay_below_a_second() {
        let nodes = nodes(3);
        for _ in 0..40 {
            let (_, pause) = nodes.choose(0, Instant::now()).unwrap();
            assert!(pause <= Duration::from_millis(LONGEST_PAUSE));
        }
    }
}
