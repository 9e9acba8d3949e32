"""What many rounds come to.

A ratio is taken within a round, in which both sides had the same neighbours, and then its median over the rounds: what a
machine does at one moment and not at another falls out.
"""

from dataclasses import dataclass
from statistics import median

# A server that is compared with itself comes out at 1 but for chance. Where it is further off than this, chance is as
# large as what is looked for, and nothing is concluded.
NOISE = 0.03


@dataclass(frozen=True)
class Spread:
    """A median, and the quartiles around it."""

    middle: float
    low: float
    high: float


def spread(values):
    """None of nothing."""
    values = sorted(values)
    if not values:
        return None
    return Spread(median(values), quantile(values, 0.25), quantile(values, 0.75))


def quantile(ordered, share):
    """Between two neighbours, the straight line."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def figures(rounds, row, figure):
    """What a row had for a figure, in the rounds in which it was measured."""
    found = (turns.get(row, {}).get(figure) for turns in rounds)
    return [value for value in found if value is not None]


def ratios(rounds, row, base, figure):
    """Row to base, in the rounds that have both."""
    pairs = ((turns.get(row, {}).get(figure), turns.get(base, {}).get(figure)) for turns in rounds)
    return [ours / theirs for ours, theirs in pairs if ours is not None and theirs]


def ratio(rounds, row, base, figure):
    """Their spread, or None where no round has both."""
    return spread(ratios(rounds, row, base, figure))


def off(table, figure):
    """How far the server that runs twice is off itself; None where it did not run twice."""
    twice = ratio(table["rounds"], table["again"], table["base"], figure)
    return abs(twice.middle - 1) if twice else None


def quiet(table, figure):
    """Whether a conclusion may be drawn from this figure of this table."""
    noise = off(table, figure)
    return noise is not None and noise <= NOISE
