import unittest
from pathlib import Path

import blocks
import chart
import inside
import report
from losses import losses
from tables import TABLES
from targets import TARGETS, Target, judge

PAGE = Path(__file__).resolve().parent.parent / "docs/performance.md"
# In the drain, ours is 1.05 of C, and a rival is 0.9 of ours.
CPU = {"c": 10.0, "c-again": 10.1, "unhang": 10.5, "nginx": 9.45}


def result(again=10.1):
    turns = {row: {"cpu": cpu, "rate": 1e6 / cpu, "failed": {}} for row, cpu in (CPU | {"c-again": again}).items()}
    drain = {
        "base": "c",
        "again": "c-again",
        "labels": {row: row.upper() for row in CPU},
        "dropped": {},
        "rounds": [turns] * 3,
    }
    machine = {"when": "now", "commit": "abc", "changed": False, "cpu": "a CPU", "cores": 2, "kernel": "6.1"}
    machine |= {"memory": 2**31, "somaxconn": 4096, "load": 0.1}
    return {
        "machine": machine,
        "quick": False,
        "versions": {"C": "cc 12"},
        "skipped": {"PHP": "php is not there"},
        "tables": {"drain": drain, "beside": {"skipped": "too few descriptors"}},
    }


class Report(unittest.TestCase):
    def test_a_table_that_was_measured_later_says_when_and_how_busy_the_machine_was(self):
        later = result()
        drain = later["tables"]["drain"]
        drain["moment"] = {"when": "2026-11-30T18:00:00+00:00", "commit": "abc", "load": 7.1}
        self.assertNotIn("Measured on", blocks.all_of(later)["drain"])
        drain["moment"]["commit"] = "def"
        self.assertIn("Measured on 2026-11-30, commit def; load 7.1 before.", blocks.all_of(later)["drain"])

    def test_every_place_of_the_page_has_its_text_and_every_text_its_place(self):
        page = report.filled(PAGE.read_text(), blocks.all_of(result()))
        self.assertIn("| UNHANG | 10.5 µs | 95,238 | 1.05 (1.05–1.05) |", page)
        self.assertIn("Skipped: PHP (php is not there).", page)
        self.assertEqual(page, report.filled(page, blocks.all_of(result())))

    def test_a_page_that_lacks_a_place_is_a_mistake(self):
        with self.assertRaises(SystemExit):
            report.filled("<!-- bench:drain -->\n<!-- /bench -->", {"drain": "", "slow": ""})

    def test_a_target_is_met_missed_or_left_open(self):
        said = {limit: judge(Target("", "drain", "cpu", "unhang", "c", limit), result())[1] for limit in (1.08, 1.02)}
        self.assertEqual(said, {1.08: "met", 1.02: "**missed**"})
        at_least = Target("", "drain", "rate", "unhang", "c", 1, -1)
        self.assertEqual(judge(at_least, result())[1], "**missed**")
        self.assertEqual(judge(Target("", "slow", "cpu", "unhang", "tokio", 1.1), result())[1], "not measured")

    def test_noise_takes_the_verdict_and_says_so(self):
        noisy = result(again=11)
        self.assertEqual(judge(Target("", "drain", "cpu", "unhang", "c", 1.08), noisy)[1], "too noisy, no verdict")
        self.assertIn("Too noisy, no verdict on CPU per exchange, exchanges per second", blocks.all_of(noisy)["drain"])
        self.assertEqual(losses(noisy), [])

    def test_a_miss_names_the_system_calls_that_the_other_does_not_make(self):
        told = result() | {"calls": {"unhang": {"64": {"read": 1, "ioctl": 1.5}}, "c": {"64": {"read": 1}}}}
        why = judge(Target("", "drain", "cpu", "unhang", "c", 1.02), told)[2]
        self.assertEqual(why, "2.5 system calls against 1.0: ioctl +1.5")

    def test_what_is_lost_is_listed_and_nothing_else(self):
        found = [(table, figure, [who for who, _ in better]) for table, figure, better in losses(result())]
        self.assertEqual(found, [("drain", figure, ["NGINX", "C"]) for figure in ("CPU per exchange", "throughput")])

    def test_exchanges_that_failed_are_told(self):
        spoilt = result()
        # The same turn, three times.
        spoilt["tables"]["drain"]["rounds"][0]["unhang"]["failed"] = {"timed_out": 7}
        self.assertIn("UNHANG: exchanges that went wrong: 21 timed out.", blocks.all_of(spoilt)["drain"])
        self.assertEqual(judge(Target("", "drain", "cpu", "unhang", "c", 1.08), spoilt)[1:], ("**missed**", "21 exchanges went wrong"))

    def test_targets_are_about_tables_and_rows_that_there_are(self):
        rows = {table.name: {row.key for row in table.rows} for table in TABLES}
        for target in TARGETS:
            self.assertLessEqual({target.row, target.base} - {""}, rows[target.table], target)

    def test_each_table_runs_a_server_twice_with_the_same_options(self):
        for table in TABLES:
            rows = {row.key: row for row in table.rows}
            base, again = rows[table.base], rows[table.again]
            self.assertEqual((base.rival, base.options, base.load), (again.rival, again.options, again.load), table.name)

    def test_the_chart_is_drawn_to_scale_and_escaped(self):
        drawn = chart.bars("a < b", [("one", 10.0, "10.0", True), ("two", 5.0, "5.0", False)])
        self.assertIn("a &lt; b", drawn)
        full = chart.WIDTH - chart.LABELS - chart.FIGURES
        self.assertIn(f'width="{full}"', drawn)
        self.assertIn(f'width="{full // 2}"', drawn)
        self.assertNotIn("<path", drawn)

    def test_a_bar_that_would_leave_the_others_no_room_is_cut(self):
        drawn = chart.bars("", [(str(value), value, str(value), False) for value in (1, 1, 1, 100)])
        self.assertEqual(drawn.count("<path"), 1)
        self.assertIn(f'width="{(chart.WIDTH - chart.LABELS - chart.FIGURES) / 4:.0f}"', drawn)

    def test_the_table_of_strace_is_read_with_and_without_errors(self):
        text = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.004000           2      2000           close
 40.00    0.003000           1      3000      1000 accept4
  0.00    0.000000           0         1           sysinfo
------ ----------- ----------- --------- --------- ----------------
100.00    0.007000           1      5001      1000 total
"""
        self.assertEqual(inside.per_exchange(inside.calls(text), 2000), {"accept4": 1.5, "close": 1.0})


if __name__ == "__main__":
    unittest.main()
