"""How often a call is told that all are busy: NATS chooses a service by chance, and a door tries four times.

The table in docs/many-machines.md: python3 crates/unhang-nats/tests/faults/busy.py
"""

import heapq
import random

TRIES = 4
# A door waits a little before it tries again: about 2 to 20 ms, with calls of 50 ms.
PAUSE = 0.011
WORK = 0.05


def told_busy(services, places, load, calls, seed):
    """The part of all calls that found four full services, and of those that found one at first."""
    chance = random.Random(seed)
    free = [places] * services
    rate = services * places * load / WORK
    events = []
    now, begun, first, told = 0.0, 0, 0, 0
    heapq.heappush(events, (0.0, -1, 1))
    while events and begun < calls:
        now, service, tries = heapq.heappop(events)
        if service >= 0:
            free[service] += 1
            continue
        if tries == 1:
            begun += 1
            heapq.heappush(events, (now + chance.expovariate(rate), -1, 1))
        choice = chance.randrange(services)
        if free[choice]:
            free[choice] -= 1
            heapq.heappush(events, (now + chance.expovariate(1 / WORK), choice, 0))
        elif tries < TRIES:
            first += tries == 1
            heapq.heappush(events, (now + chance.uniform(0.5, 1.5) * PAUSE, -1, tries + 1))
        else:
            told += 1
    return told / begun, first / begun


def main():
    print("services × places   " + "".join(f"load {load:<12}" for load in (0.5, 0.7, 0.8, 0.9)))
    for services, places in ((10_000, 1), (2_500, 4), (500, 20), (156, 64)):
        cells = []
        for load in (0.5, 0.7, 0.8, 0.9):
            told, first = told_busy(services, places, load, 600_000, 1)
            cells.append(f"{100 * told:6.3f} % {100 * first:5.1f} %")
        print(f"{services:>8} × {places:<8} " + "  ".join(cells), flush=True)


main()
