//! What the machine itself did: a virtual one can be left without a processor for a second, and then
//! no program on it keeps a deadline.

/// Ticks of all processors together, and of them those that the host took for others.
pub(crate) fn times() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let all = stat.lines().next()?.split_whitespace().skip(1);
    let all: Vec<u64> = all.map_while(|ticks| ticks.parse().ok()).collect();
    // The eighth is `steal`; those after it are counted in others: proc_stat(5).
    Some((all.get(..8)?.iter().sum(), *all.get(7)?))
}

/// In percent of the time between.
pub(crate) fn stolen(before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Option<u64> {
    let ((all_before, stolen_before), (all, stolen)) = (before?, after?);
    (100 * stolen.checked_sub(stolen_before)?).checked_div(all.checked_sub(all_before)?)
}
