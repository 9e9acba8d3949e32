"""Vectors, modes and the page that describes them belong together."""

import glob
import json
import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as file:
        return file.read()


def cases(name):
    return json.loads(read("vectors", name))["cases"]


class SpecTest(unittest.TestCase):
    def test_each_file_is_described(self):
        page = read("README.md")
        for file in glob.glob(os.path.join(HERE, "vectors", "*.json")):
            self.assertIn(f"vectors/{os.path.basename(file)}", page)

    def test_names_are_unique(self):
        for file in glob.glob(os.path.join(HERE, "vectors", "*.json")):
            names = [case["name"] for case in cases(os.path.basename(file))]
            self.assertEqual(sorted(names), sorted(set(names)), file)

    def test_calls_name_modes_and_kinds_that_exist(self):
        listed = subprocess.run([sys.executable, os.path.join(HERE, "bad_server.py"), "--list"], capture_output=True)
        modes = [line.split()[0] for line in listed.stdout.decode().splitlines()]
        table = read("README.md").split("| kind | fault |")[1]
        kinds = re.findall(r"`([a-z_]+)`", table)
        for case in cases("calls.json"):
            with self.subTest(case["name"]):
                self.assertIn(case["mode"], modes)
                self.assertEqual(len(case["requests"]), len(case["expect"]))
                self.assertIn("timeout", case["options"])
                for expected in case["expect"]:
                    self.assertIn(expected.get("error", "timeout"), kinds)

    def test_bytes_are_bytes(self):
        """Each character of a string that stands for bytes is one byte."""
        for name in ("ends.json", "http.json", "error_line.json"):
            for case in cases(name):
                case["bytes"].encode("latin-1")


if __name__ == "__main__":
    unittest.main()
