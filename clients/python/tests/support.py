"""The bad server, vectors, and a clock for tests that must not hang."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

SPEC = os.path.join(os.path.dirname(__file__), "..", "..", "..", "spec")
BAD_SERVER = os.path.join(SPEC, "bad_server.py")
CALLS = os.path.join(SPEC, "vectors", "calls.json")
# The longest allowed reply that ends.json and http.json name.
MAX_REPLY = 1_000_000
# A default for calls that must succeed: generous, for a loaded machine.
PATIENCE = 60


def vectors(name):
    with open(os.path.join(SPEC, "vectors", name), encoding="utf-8") as file:
        return json.load(file)["cases"]


def data(value):
    """Bytes, as the vectors write them."""
    if isinstance(value, dict):
        return value["repeat"].encode("latin-1") * value["times"]
    return value.encode("latin-1")


class SocketTestCase(unittest.TestCase):
    """With a directory for sockets, and servers that end with the test."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(self.directory, "s")

    def start(self, *command):
        """A process that has said "ready"; it ends with its standard input."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(end, process)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    def serve(self, mode, *argument):
        return self.start(sys.executable, BAD_SERVER, mode, self.path, *argument)


def end(process):
    process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
