import json
import unittest

import results

RESULT = {
    "quick": False,
    "skipped": {},
    "tables": {"drain": {"load": ["--drain", "2000"], "rounds": [{"c": {"rate": 1.5}}, {"c": {"rate": 2.5}}]}},
    "calls": [],
}


class Text(unittest.TestCase):
    def test_a_round_is_one_line(self):
        lines = results.text(RESULT).splitlines()
        self.assertIn('   "load": ["--drain", "2000"],', lines)
        self.assertIn('    {"c": {"rate": 1.5}},', lines)
        self.assertIn('    {"c": {"rate": 2.5}}', lines)

    def test_nothing_is_lost(self):
        self.assertEqual(json.loads(results.text(RESULT)), RESULT)


if __name__ == "__main__":
    unittest.main()
