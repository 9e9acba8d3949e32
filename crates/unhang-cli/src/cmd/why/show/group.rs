//! Verdicts that say the same of several connections are shown as one.

use crate::cmd::why::verdict::{Code, Verdict};

pub(super) fn groups(verdicts: &[Verdict]) -> Vec<Vec<&Verdict>> {
    let mut groups: Vec<Vec<&Verdict>> = Vec::new();
    for verdict in verdicts {
        let same = |group: &&mut Vec<&Verdict>| {
            group.first().is_some_and(|first| is_alike(first, verdict))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(verdict),
            None => groups.push(vec![verdict]),
        }
    }
    groups
}

/// Whether they differ only in the processes concerned.
fn is_alike(one: &Verdict, other: &Verdict) -> bool {
    one.code == other.code
        && one.certainty == other.certainty
        && one.is_fault == other.is_fault
        && one.fix == other.fix
        && (one.headline == other.headline || one.code == Code::OwnerNotVisible)
}
