import unittest

import load

# As `unhang bench --json` says it, as far as it is read.
CLOSED = {
    "clients": 64,
    "exchanges": 100,
    "per_second": 5000.0,
    "ended": {"answered": 98, "timed_out": 2, "reset": 0},
    "latency_ns": {"p50": 12_000, "p90": 20_000, "p99": 30_000},
    "server": {"cpu_ns_per_exchange": 5500},
    "drain": None,
}
DRAIN = CLOSED | {
    "clients": 50,
    "ended": {"answered": 100},
    "latency_ns": None,
    "drain": {"rounds": [{"cpu_ns": 200_000, "time_ns": 500_000}, {"cpu_ns": 300_000, "time_ns": 500_000}]},
}


class Kept(unittest.TestCase):
    def test_a_closed_loop_has_its_own_latencies(self):
        found = {"cpu": 5.5, "rate": 5000.0, "p50": 12.0, "p99": 30.0, "exchanges": 100, "failed": {"timed_out": 2}}
        self.assertEqual(load.kept(CLOSED), found)

    def test_a_drain_counts_only_from_when_the_server_goes_on(self):
        self.assertEqual(load.kept(DRAIN), {"cpu": 5.0, "rate": 100_000.0, "exchanges": 100, "failed": {}})

    def test_a_turn_in_which_nothing_ended_is_told_and_has_no_figures(self):
        nothing = CLOSED | {"exchanges": 0, "latency_ns": None, "server": {"cpu_ns_per_exchange": None}}
        self.assertEqual(load.kept(nothing), {"exchanges": 0, "failed": {"turns without an exchange": 1}})


if __name__ == "__main__":
    unittest.main()
