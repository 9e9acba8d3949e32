"""What many rounds come to.

A ratio is taken within a round, in which both sides had the same neighbours, and then its median over the rounds: what a
machine does at one moment and not at another falls out.
"""

from collections import Counter
from dataclasses import dataclass
from math import sqrt
from statistics import median

# A server that is compared with itself comes out at 1 but for chance. If it is further off than this, chance is as
# large as what is looked for, and nothing is concluded.
NOISE = 0.03


@dataclass(frozen=True)
class Spread:
    """A median, the quartiles around it, and of how many."""

    middle: float
    low: float
    high: float
    count: int

    @property
    def doubt(self):
        """How far the median may well be from that of many more rounds."""
        return (self.high - self.low) / 2 / sqrt(self.count)


def spread(values):
    """None of nothing."""
    values = sorted(values)
    if not values:
        return None
    return Spread(median(values), quantile(values, 0.25), quantile(values, 0.75), len(values))


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


def failed(rounds, row):
    """How many exchanges of a row ended as they must not, by how they did."""
    ends = Counter()
    for turns in rounds:
        ends.update(turns.get(row, {}).get("failed", {}))
    return ends


def off(table, figure):
    """How far the server that runs twice is off itself, or may be: that it came out at 1 in a few wild rounds was luck.
    None where it did not run twice."""
    twice = ratio(table["rounds"], table["again"], table["base"], figure)
    return max(abs(twice.middle - 1), twice.doubt) if twice else None


def quiet(table, figure):
    """Whether a conclusion may be drawn from this figure of this table."""
    noise = off(table, figure)
    return noise is not None and noise <= NOISE
