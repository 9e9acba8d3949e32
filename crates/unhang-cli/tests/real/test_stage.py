"""Tests of the stage itself, without `unhang`."""

import os
import shutil
import time
import unittest

from stage import PATIENCE, Stage


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TheEnd(unittest.TestCase):
    def ends(self, pid):
        began = time.monotonic()
        while is_running(pid):
            self.assertLess(time.monotonic(), began + PATIENCE, f"process {pid} is left")
            time.sleep(0.01)

    def test_a_daemon_that_left_the_session_was_left_running(self):
        with Stage() as stage:
            stage.start("sh", "-c", "setsid sh -c 'echo $$ > new; mv new pid; exec sleep 100000' &")
            stage.await_file("pid")
            with open(stage.path("pid"), encoding="utf-8") as file:
                pid = int(file.read())
            self.assertTrue(is_running(pid))
        self.ends(pid)

    @unittest.skipIf(shutil.which("tmux") is None, "tmux is not installed")
    def test_the_server_of_tmux_was_left_running(self):
        with Stage() as stage:
            path = stage.path("tmux")
            stage.at_a_terminal("tmux", "-S", path, "new-session", "echo $PPID > new; mv new pid; exec cat")
            stage.await_socket(path)
            stage.await_file("pid")
            with open(stage.path("pid"), encoding="utf-8") as file:
                pid = int(file.read())
            self.assertTrue(is_running(pid))
        self.ends(pid)

    def test_programs_of_others_are_left_alone(self):
        with Stage() as stage:
            stage.start("sleep", "100000")
            self.assertNotIn(os.getpid(), list(stage.left()))


if __name__ == "__main__":
    unittest.main()
