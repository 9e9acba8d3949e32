import unittest

import stats


def table(again=1.0, rounds=5):
    """A server, the same again, and one that takes half as long."""
    turns = [{"c": {"cpu": x}, "c-again": {"cpu": x * again}, "other": {"cpu": x / 2}} for x in range(10, 10 + rounds)]
    return {"base": "c", "again": "c-again", "rounds": turns}


class Stats(unittest.TestCase):
    def test_a_spread_is_the_median_between_the_quartiles(self):
        self.assertEqual(stats.spread([5, 1, 4, 2, 3]), stats.Spread(3, 2, 4, 5))
        self.assertEqual(stats.spread([1, 2]), stats.Spread(1.5, 1.25, 1.75, 2))
        self.assertEqual(stats.spread([7]), stats.Spread(7, 7, 7, 1))
        self.assertIsNone(stats.spread([]))

    def test_a_ratio_is_taken_within_a_round(self):
        # The machine was three times as slow in the second round: for both.
        rounds = [{"a": {"cpu": 10}, "b": {"cpu": 5}}, {"a": {"cpu": 30}, "b": {"cpu": 15}}]
        self.assertEqual(stats.ratio(rounds, "a", "b", "cpu"), stats.Spread(2, 2, 2, 2))

    def test_a_round_that_lacks_one_of_them_counts_for_neither(self):
        rounds = [{"a": {"cpu": 10}}, {"a": {"cpu": 30}, "b": {"cpu": 15}}, {"b": {"cpu": 1}}, {"a": {"cpu": 3}, "b": {"cpu": 0}}]
        self.assertEqual(stats.ratios(rounds, "a", "b", "cpu"), [2])
        self.assertIsNone(stats.ratio(rounds, "a", "nobody", "cpu"))

    def test_nothing_is_concluded_where_a_server_differs_from_itself(self):
        self.assertTrue(stats.quiet(table(again=1.02), "cpu"))
        self.assertTrue(stats.quiet(table(again=0.98), "cpu"))
        self.assertFalse(stats.quiet(table(again=1.04), "cpu"))
        self.assertFalse(stats.quiet(table(again=0.96), "cpu"))

    def test_nor_where_it_equals_itself_by_luck(self):
        wild = [{"c": {"cpu": 1}, "c-again": {"cpu": ratio}} for ratio in (0.7, 0.9, 1, 1.1, 1.3)]
        self.assertFalse(stats.quiet(table() | {"rounds": wild}, "cpu"))
        # So many of the same kind tell.
        self.assertTrue(stats.quiet(table() | {"rounds": wild * 20}, "cpu"))

    def test_nor_where_it_did_not_run_twice(self):
        self.assertFalse(stats.quiet(table(rounds=0), "cpu"))
        self.assertFalse(stats.quiet(table(), "p50"))


if __name__ == "__main__":
    unittest.main()
