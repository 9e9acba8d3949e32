//! What this user lacks, to see more.

use std::fs;

use crate::cmd::why::facts::Visibility;

/// What it takes to see everything.
const ENOUGH: &str =
    "run it as root, or with the capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
/// Of processes that are all another user's.
const THEIR_USER: &str = ", or as the user of the processes in question";
/// That user it is already, as www-data beside its workers.
const NOT_DUMPABLE: &str = "; to be their user is not enough: the kernel hides workers that changed their user \
     (php-fpm), and programs with capabilities of their own, even from it";
/// Root in a container sees the processes of the container.
const NESTED: &str = "this is a container: its processes may wait for others that are outside. On the host: \
     sudo unhang why PID, or /proc/PID/root/PATH for a path in here";

/// What to do to see more, if that is known.
pub(crate) fn cure(visibility: &Visibility) -> Option<String> {
    if visibility.uid != 0 {
        let beside = if visibility.hides_own { NOT_DUMPABLE } else { THEIR_USER };
        return Some(format!("{ENOUGH}{beside}"));
    }
    // A user that is root already is not told to become it.
    let lacks = visibility.lacks.join(" and ");
    let lacks = (!lacks.is_empty()).then(|| format!("run it with {lacks}, which root lacks here"));
    match (lacks, visibility.is_nested) {
        (Some(lacks), true) => Some(format!("{lacks} (docker exec --privileged); {NESTED}")),
        (None, true) => Some(NESTED.to_owned()),
        (lacks, false) => lacks,
    }
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

    /// www-data was told to run it as www-data.
    #[test]
    fn a_user_whose_own_processes_are_hidden_is_not_told_to_become_that_user() {
        let mut visibility = Visibility { uid: 33, ..Visibility::default() };
        assert!(cure(&visibility).unwrap().ends_with("the user of the processes in question"));
        visibility.hides_own = true;
        let cured = cure(&visibility).unwrap();
        assert!(cured.contains("as root") && cured.contains("is not enough"), "{cured}");
        assert!(!cured.contains("or as the user"), "{cured}");
    }

    #[test]
    fn in_a_container_it_is_said_what_to_run_on_the_host() {
        let visibility = Visibility { is_nested: true, ..Visibility::default() };
        assert!(cure(&visibility).unwrap().contains("On the host: sudo unhang why"));
        let lacks = Visibility { lacks: vec!["CAP_SYS_PTRACE"], ..visibility };
        let cured = cure(&lacks).unwrap();
        assert!(cured.contains("docker exec --privileged") && cured.contains("On the host"));
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
