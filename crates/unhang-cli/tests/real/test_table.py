"""The tables of docs/why.md name every situation, and no other."""

import os
import re
import unittest

from hangs import HANGS
from programs import SITUATIONS
from stage import HERE

PAGE = os.path.join(HERE, "../../../../docs/why.md")


def rows(heading):
    """The cells of the table that begins with this."""
    with open(PAGE, encoding="utf-8") as file:
        lines = iter(file.read().split("\n"))
    for line in lines:
        if line.startswith(heading):
            break
    next(lines)
    for line in lines:
        if not line.startswith("| "):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


class TheTables(unittest.TestCase):
    def test_every_situation_in_which_nothing_hangs_has_its_place(self):
        named = set()
        for programs, situations in rows("| program | situation |"):
            # What is said of it, if not `OK`, stands in brackets.
            plain = [re.sub(r" \(`[^)]*\)$", "", one) for one in situations.split("; ")]
            named |= {f"{one} · {other}" for one in programs.split("; ") for other in plain}
        self.assertEqual(named, set(SITUATIONS))

    def test_every_hang_has_a_row_with_its_codes_and_lines(self):
        named = {row[0]: row for row in rows("| what hangs |")}
        self.assertEqual(set(named), set(HANGS))
        for name, (_, expected) in HANGS.items():
            for one in expected:
                for code in one.code.split("|"):
                    self.assertIn(f"`{code}`", named[name][1], name)
                self.assertIn(one.at or one.says, named[name][2], name)


if __name__ == "__main__":
    unittest.main()
