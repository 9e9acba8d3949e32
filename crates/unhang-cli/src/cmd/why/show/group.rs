//! Verdicts that say the same of several connections are shown as one.

use std::collections::{HashMap, HashSet};

use crate::cmd::why::verdict::{Code, Verdict};

/// Verdicts are alike if they differ only in the processes concerned. A stranger can make thousands.
pub(super) fn groups(verdicts: &[Verdict]) -> Vec<Vec<&Verdict>> {
    let mut groups: Vec<Vec<&Verdict>> = Vec::new();
    let mut places = HashMap::new();
    for verdict in verdicts {
        let headline = (verdict.code != Code::OwnerNotVisible).then_some(&verdict.headline);
        let key = (verdict.code, verdict.certainty, verdict.is_fault, &verdict.fix, headline);
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(verdict),
            None => groups.push(vec![verdict]),
        }
    }
    groups
}

/// What helps at once, each cure once; and one line that tries an action on all connections of the group.
pub(super) fn cures(group: &[&Verdict]) -> Vec<String> {
    together(group.iter().flat_map(|verdict| &verdict.now))
}

fn together<'a>(cures: impl Iterator<Item = &'a String>) -> Vec<String> {
    /// So many connections on a line can still be read, and copied.
    const MOST: usize = 32;
    let mut lines: Vec<(String, usize)> = Vec::new();
    let mut seen = HashSet::new();
    for cure in cures.filter(|cure| seen.insert(*cure)) {
        let tried = cure.strip_prefix("unhang why --try ").and_then(|rest| rest.split_once(' '));
        let line = tried.and_then(|(action, _)| {
            let begin = format!("unhang why --try {action} ");
            lines.iter_mut().find(|(line, count)| line.starts_with(&begin) && *count < MOST)
        });
        match (tried, line) {
            (Some((_, connection)), Some((line, count))) => {
                line.push(' ');
                line.push_str(connection);
                *count += 1;
            }
            _ => lines.push((cure.clone(), 1)),
        }
    }
    lines.into_iter().map(|(line, _)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line for each of them was too much to copy, and only three were shown.
    #[test]
    fn an_action_on_all_connections_of_one_verdict_is_one_line() {
        let cures = ["unhang why --try release 1:4:7", "wait", "unhang why --try release 1:5:8"];
        let cures: Vec<_> = cures.iter().chain(&["wait"]).map(|one| (*one).to_owned()).collect();
        assert_eq!(together(cures.iter()), ["unhang why --try release 1:4:7 1:5:8", "wait"]);
        let many: Vec<_> = (0..40).map(|n| format!("unhang why --try release 1:{n}:{n}")).collect();
        assert_eq!(together(many.iter()).len(), 2);
    }
}
