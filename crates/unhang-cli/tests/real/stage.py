"""Where one situation is played: a directory of its own, and the programs in it, each ended by its id."""

import os
import pty
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# In the environment of every program of a stage: its directory. By this a daemon is found that has a session of its own.
MARK = "UNHANG_REAL_STAGE"
# Generous: the machine is shared.
PATIENCE = 60


class Missing(Exception):
    """A program that is not installed: its situations are skipped, and it is named."""


class Stage:
    """Programs of one situation. Used with `with`: at the end all of them are ended, the last first."""

    def __init__(self):
        # Short: a socket's path has 107 bytes.
        self.directory = tempfile.mkdtemp(prefix="real-")
        os.chmod(self.directory, 0o755)
        self.processes = []
        self.terminals = []
        self.ends = []

    def __enter__(self):
        return self

    def at_end(self, before, after):
        """What is to be done before its programs are ended, and after."""
        self.ends.append((before, after))

    def __exit__(self, *_):
        for before, _after in self.ends:
            before()
        for process in reversed(self.processes):
            end(process)
        for pid in self.left():
            kill(pid)
        for terminal in self.terminals:
            os.close(terminal)
        for _before, after in self.ends:
            after()
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def start(self, *command, **options):
        """Starts a program; its output goes to a file in the stage's directory."""
        command = [program(command[0]), *command[1:]]
        # Read again if the program does not come up.
        with open(self.path("log"), "ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            options["env"] = self.marked(options.get("env"))
            process = subprocess.Popen(
                command, cwd=options.pop("cwd", self.directory), start_new_session=True, **options
            )
        self.processes.append(process)
        return process

    def at_a_terminal(self, *command, **options):
        """Starts a program at a terminal of its own, and gives the other end of that."""
        ours, its = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", **options.pop("env", {})}
        self.start(*command, stdin=its, stdout=its, stderr=its, env=environment, **options)
        os.close(its)
        self.terminals.append(ours)
        # Its output has to go somewhere, or it would wait to write more.
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        return ours

    def python(self, script, *arguments):
        """Starts a script that lies beside this file, with the system's Python."""
        return self.start("/usr/bin/python3", "-u", os.path.join(HERE, script), *arguments)

    def run(self, *command, **options):
        """Runs a program to its end."""
        command = [program(command[0]), *command[1:]]
        options["env"] = self.marked(options.get("env"))
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, **options)

    def said(self, *command, timeout=PATIENCE):
        """What a program prints that runs to its end."""
        done = subprocess.run(
            [program(command[0]), *command[1:]], check=True, capture_output=True, text=True, timeout=timeout, env=self.marked(None)
        )
        return done.stdout.strip()

    def marked(self, environment):
        return {**(os.environ if environment is None else environment), MARK: self.directory}

    def left(self):
        """The daemons that its programs have started, as tmux its server: they left the session, and have the mark."""
        mark = f"{MARK}={self.directory}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        yield int(pid)
            except OSError:
                # It has ended, or is another user's.
                continue

    def await_socket(self, path, is_there=None):
        """Waits until somebody listens at a path; a program that has ended meanwhile is an error."""
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE:
            if accepts(path):
                return path
            for process in self.processes:
                if process.poll() not in (None, 0):
                    raise RuntimeError(f"{process.args} ended with {process.returncode}: {self.log()}")
            time.sleep(0.05)
        raise RuntimeError(f"nobody listens at {path}: {self.log()}")

    def await_file(self, name):
        self.await_that(f"there is {name}", lambda: os.path.exists(self.path(name)))

    def await_accepted(self, path, clients):
        """Waits until so many clients have connected to a path, and all of them were accepted."""

        def all_are():
            listener, *others = sorted(sockets_at(path), key=lambda words: words[1] != "LISTEN")
            return listener[1] == "LISTEN" and listener[2] == "0" and len(others) == clients

        self.await_that(f"{clients} clients were accepted at {path}", all_are)

    def await_that(self, what, is_so):
        began = time.monotonic()
        while not is_so():
            if time.monotonic() > began + PATIENCE:
                raise RuntimeError(f"waited in vain until {what}: {self.log()}")
            time.sleep(0.05)

    def log(self):
        try:
            with open(self.path("log"), "rb") as file:
                return file.read()[-800:].decode("utf-8", "replace")
        except OSError:
            return ""


def program(name):
    """The path of a program that is installed, also of those that only root has in its path."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(name)
    return found


def accepts(path):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.settimeout(1)
            try:
                client.connect(path)
                return True
            except OSError:
                continue
    return False


def sockets_at(path):
    """The listener and the servers' ends of all connections: type, state, bytes or clients that wait, and more."""
    listed = subprocess.run(["ss", "-xaHn", "src", path], check=True, capture_output=True, text=True, timeout=PATIENCE)
    return [line.split() for line in listed.stdout.splitlines()]


def drain(terminal):
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def end(process):
    """A process and all that it has started, as they are of one session."""
    for which in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, which)
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
        if which == signal.SIGKILL:
            return
