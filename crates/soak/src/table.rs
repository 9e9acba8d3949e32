//! What is printed.

use std::time::Duration;

use crate::tally::{Figures, Tally, Trouble};

const MUST_BE_0: [(Trouble, &str); 7] = [
    (Trouble::Hung, "hung"),
    (Trouble::Lost, "lost"),
    (Trouble::Garbled, "garbled"),
    (Trouble::Cut, "cut and called answered"),
    (Trouble::Leaked, "leaked descriptors"),
    (Trouble::Server, "servers that failed"),
    (Trouble::Race, "races without one winner"),
];

/// How it stands.
pub(crate) fn line(elapsed: Duration, tally: &Tally) {
    let figures = tally.figures();
    let faults: u64 = figures.faults.values().sum();
    let bad: Vec<_> =
        MUST_BE_0.map(|(kind, name)| format!("{name} {}", count(&figures, kind))).into();
    println!(
        "{:>5}s  {} exchanges, {faults} faults; {}",
        elapsed.as_secs(),
        figures.exchanges,
        bad.join(", ")
    );
}

/// Everything. Whether what must be 0 is.
pub(crate) fn print(elapsed: Duration, seed: u64, tally: &Tally) -> bool {
    let figures = tally.figures();
    println!();
    row("exchanges", figures.exchanges);
    for (name, count) in &figures.behaviours {
        row(&format!("  {name}"), count);
    }
    row("faults", figures.faults.values().sum::<u64>());
    for (name, count) in &figures.faults {
        row(&format!("  {name}"), count);
    }
    row("cut by a kill of the server", figures.cut);
    row("refused during a restart", figures.refused_in_restart);
    row("late by another's handler", figures.late_by_another);
    row("late by a stop of the server", figures.late_by_stop);
    let worst = figures.worst.values().max();
    row("worst overshoot of a deadline", format!("{:.0?}", worst.copied().unwrap_or_default()));
    for (name, over) in &figures.worst {
        row(&format!("  {name}"), format!("{over:.0?}"));
    }
    row("worst overshoot of a drain", format!("{:.0?}", figures.worst_stop));
    row("worst oversleep of a thread", format!("{:.0?}", figures.overslept));
    if let Some(percent) = figures.stolen {
        row("time that the host took", format!("{percent} %"));
    }
    for (name, [first, last, most]) in &figures.memory {
        let text = format!("{first} KiB at the start, {last} at the end, {most} at most");
        row(&format!("memory of {name}"), text);
    }
    for (kind, name) in MUST_BE_0 {
        row(name, count(&figures, kind));
    }
    let good = figures.bad.is_empty() && figures.exchanges > 0;
    match good {
        true => println!("\nAll that must be 0 is, after {} s.", elapsed.as_secs()),
        false => println!(
            "\nNot all that must be 0 is: the first cases are told above. Again: --seed {seed}; \
             to see less at once: --clients 4"
        ),
    }
    good
}

fn count(figures: &Figures, kind: Trouble) -> u64 {
    figures.bad.get(&kind).copied().unwrap_or(0)
}

fn row(name: &str, value: impl std::fmt::Display) {
    println!("{name:<32} {value}");
}
