//! Which users and groups this process can tell from each other: those that its user namespace maps,
//! `user_namespaces(7)`. The kernel shows all others as one, the overflow id.

use std::fs;

/// The ids that are mapped.
pub(super) struct IdMap {
    /// The first of each range, and how many follow it.
    ranges: Vec<(u64, u64)>,
    overflow: u32,
}

/// What the overflow id is unless it was changed: include/linux/highuid.h.
const OVERFLOW: u32 = 65_534;

impl IdMap {
    pub(super) fn of_users() -> Self {
        Self::read("/proc/self/uid_map", "/proc/sys/kernel/overflowuid")
    }

    pub(super) fn of_groups() -> Self {
        Self::read("/proc/self/gid_map", "/proc/sys/kernel/overflowgid")
    }

    fn read(map: &str, overflow: &str) -> Self {
        let overflow = fs::read_to_string(overflow).ok();
        let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW);
        match fs::read_to_string(map) {
            Ok(map) => Self::parse(&map, overflow),
            // Nothing is known of it: nobody is refused for that.
            Err(_) => Self { ranges: vec![(0, u64::from(u32::MAX))], overflow },
        }
    }

    /// Lines `<inside> <outside> <length>`.
    fn parse(map: &str, overflow: u32) -> Self {
        let range = |line: &str| {
            let mut columns = line.split_whitespace();
            let (first, length) = (columns.next()?, columns.nth(1)?);
            Some((first.parse().ok()?, length.parse().ok()?))
        };
        Self { ranges: map.lines().filter_map(range).collect(), overflow }
    }

    /// Whether it maps every id; `u32::MAX` is none.
    pub(super) fn is_whole(&self) -> bool {
        self.ranges.iter().map(|(_, length)| length).sum::<u64>() >= u64::from(u32::MAX)
    }

    /// Why no client could ever come with this id, or none that is known.
    pub(super) fn says(&self, id: u32) -> Option<String> {
        let wanted = u64::from(id);
        let maps = |&(first, length): &(u64, u64)| wanted >= first && wanted - first < length;
        if !self.ranges.iter().any(maps) {
            return Some(format!(
                "this user namespace does not map {id}, so no client ever comes with it"
            ));
        }
        (id == self.overflow && !self.is_whole())
            .then(|| format!("{id} stands for everybody that this user namespace does not map"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_not_mapped_and_one_that_is_anybodys_are_told() {
        let own = IdMap::parse("0 0 4294967295\n", OVERFLOW);
        assert!(own.is_whole() && own.says(1000).is_none() && own.says(OVERFLOW).is_none());

        // As PrivateUsers=yes has it, and as containers have it.
        let private = IdMap::parse("0 0 1\n61184 61184 1\n", OVERFLOW);
        assert!(!private.is_whole() && private.says(0).is_none() && private.says(61_184).is_none());
        assert!(private.says(1000).unwrap().contains("does not map 1000"));
        let container = IdMap::parse("0 100000 65536\n", OVERFLOW);
        assert!(container.says(OVERFLOW).unwrap().contains("everybody"));
        assert!(container.says(65_536).is_some() && container.says(65_535).is_none());
    }
}
