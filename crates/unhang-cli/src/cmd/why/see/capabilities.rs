//! What this user lacks, to see more.

use std::fs;

use crate::cmd::why::facts::Visibility;

/// What it takes to see everything.
const ENOUGH: &str = "run it as root, or with the capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or as the \
     user of the processes in question";

/// What to do to see more, if that is known.
pub(crate) fn cure(visibility: &Visibility) -> Option<String> {
    if visibility.uid != 0 {
        return Some(ENOUGH.to_owned());
    }
    // A user that is root already is not told to become it.
    let lacks = visibility.lacks.join(" and ");
    (!lacks.is_empty()).then(|| format!("run it with {lacks}, which root lacks here"))
}

/// The capabilities that we lack of those that it takes; of other namespaces only if there are
/// such that could not be looked into.
pub(crate) fn lacking(has_hidden_namespaces: bool) -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    lacking_of(&status, has_hidden_namespaces)
}

/// From the line `CapEff:`, as `capabilities(7)` numbers them.
fn lacking_of(status: &str, has_hidden_namespaces: bool) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    let Some(effective) = effective else { return Vec::new() };
    let has = |number: u32| effective >> number & 1 == 1;
    // CAP_DAC_OVERRIDE, which is number 1, is more than CAP_DAC_READ_SEARCH.
    let wanted = [
        ("CAP_SYS_PTRACE", has(19)),
        ("CAP_DAC_READ_SEARCH", has(2) || has(1)),
        ("CAP_SYS_ADMIN", has(21) || !has_hidden_namespaces),
    ];
    wanted.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_was_told_to_run_it_as_root() {
        let visibility = |uid, lacks: &[&'static str]| Visibility {
            uid,
            lacks: lacks.to_vec(),
            ..Visibility::default()
        };
        assert!(
            cure(&visibility(1000, &["CAP_SYS_PTRACE"])).unwrap().starts_with("run it as root")
        );
        let cured = cure(&visibility(0, &["CAP_SYS_PTRACE"])).unwrap();
        assert_eq!(cured, "run it with CAP_SYS_PTRACE, which root lacks here");
        assert_eq!(cure(&visibility(0, &[])), None);
    }

    #[test]
    fn what_is_lacking_is_told_by_the_effective_capabilities() {
        let lacking = |line, hidden| lacking_of(&format!("Name:\tx\n{line}\n"), hidden);
        assert!(lacking("CapEff:\t000001ffffffffff", true).is_empty());
        // As Docker gives them to root: CAP_DAC_OVERRIDE, and neither of the others.
        assert_eq!(lacking("CapEff:\t00000000a80425fb", false), ["CAP_SYS_PTRACE"]);
        let all = ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"];
        assert_eq!(lacking("CapEff:\t0000000000000000", true), all);
        assert!(lacking("CapEff:\tx", true).is_empty() && lacking("", true).is_empty());
    }
}
