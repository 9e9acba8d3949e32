//! Whether a process is in a control group that is frozen, as `docker pause` and `systemctl freeze` do.

use std::fs;
use std::path::PathBuf;

/// Where the control groups are mounted, of the first version and of the second.
const MOUNT: &str = "/sys/fs/cgroup";

/// The file that says that the process's group is frozen, and the command that thaws it, if one is safe to
/// show. None: it is not
/// frozen, or that may not be seen.
pub(crate) fn frozen(pid: u32) -> Option<(String, Option<String>)> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.lines().find_map(|line| state_file(line)?.is_frozen())
}

/// A file that tells of a group, and which of the two versions it is of.
struct StateFile {
    group: PathBuf,
    is_first: bool,
}

/// Of a line `ID:CONTROLLERS:PATH` of `/proc/PID/cgroup`, `cgroups(7)`.
fn state_file(line: &str) -> Option<StateFile> {
    let mut columns = line.splitn(3, ':');
    let (id, controllers, path) = (columns.next()?, columns.next()?, columns.next()?);
    let below = path.strip_prefix('/')?;
    // Of the group that all begin in nothing can be frozen, and above our own root nothing is seen.
    if below.is_empty() || below.split('/').any(|part| part == "..") {
        return None;
    }
    let is_first = controllers.split(',').any(|one| one == "freezer");
    let directory = match (id, is_first) {
        (_, true) => PathBuf::from(MOUNT).join("freezer"),
        ("0", false) => PathBuf::from(MOUNT),
        _ => return None,
    };
    Some(StateFile { group: directory.join(below), is_first })
}

impl StateFile {
    fn is_frozen(&self) -> Option<(String, Option<String>)> {
        let (file, state, thaw, by) = match self.is_first {
            true => ("freezer.state", "FROZEN", "THAWED", "freezer.state"),
            false => ("cgroup.events", "frozen 1", "0", "cgroup.freeze"),
        };
        let file = self.group.join(file);
        let text = fs::read_to_string(&file).ok()?;
        let is_frozen = text.lines().any(|line| line == state);
        let by = crate::shell::quoted_for_any_shell(&self.group.join(by));
        let cure = by.map(|by| format!("echo {thaw} > {by}"));
        // The maker of the group chose its name.
        is_frozen.then(|| (file.to_string_lossy().escape_debug().to_string(), cure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_either_version_is_found() {
        let group = |line: &str| state_file(line).map(|file| (file.group, file.is_first));
        let v1 = Some((PathBuf::from("/sys/fs/cgroup/freezer/a/b"), true));
        assert_eq!(group("6:freezer:/a/b"), v1);
        assert_eq!(group("6:cpu,freezer:/a/b"), v1);
        assert_eq!(group("0::/a"), Some((PathBuf::from("/sys/fs/cgroup/a"), false)));
        for line in ["6:freezer:/", "0::/", "5:devices:/a", "0::/../a", "0::", "x", ""] {
            assert_eq!(group(line), None, "{line}");
        }
    }
}
