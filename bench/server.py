"""A server of the comparison: started, ready, and surely stopped."""

import os
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

from rivals import RIVALS


# Of a reply, to know that a server answers: some last for gigabytes.
ENOUGH = 1 << 20


class Failed(Exception):
    """It did not start, or did not answer."""


class Server:
    """Runs until `stop`. `name` is for its files; `under` is a program that it runs in."""

    def __init__(self, places, row, name, under=()):
        self.rival = RIVALS[row.rival]
        self.address = free_port() if self.rival.tcp else str(Path(places.directory, f"{name}.sock"))
        self.said = Path(places.directory, f"{name}.out")
        options = [option.format(directory=places.directory) for option in row.options]
        command = [*under, *places.command(self.rival, options, self.address, name)]
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                # Should this program be killed, the kernel ends the servers, too.
                ["setpriv", "--pdeathsig", "TERM", "--", *command], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        """Waits until it answers; whether as it should, the load generator sees."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode}: {self.last_words()}")
            reply = self.ask()
            if reply is None:
                time.sleep(0.02)
            elif reply:
                return self
            else:
                raise Failed("closed without an answer")
        raise Failed(f"did not answer within 10 s: {self.last_words()}")

    def ask(self):
        """Its reply, or the beginning of a long one; None while nobody listens."""
        try:
            client = self.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        with client:
            client.sendall(plain(self.rival.hello or self.rival.request))
            reply = b""
            while len(reply) < ENOUGH and (more := client.recv(65536)):
                reply += more
                if self.rival.kept:
                    break
            return reply

    def connect(self):
        """A client's socket."""
        if self.rival.tcp:
            _, host, port = self.address.split(":")
            family, name = socket.AF_INET, (host, int(port))
        else:
            family, name = socket.AF_UNIX, self.address
        client = socket.socket(family, socket.SOCK_STREAM)
        try:
            client.connect(name)
            client.settimeout(10)
        except OSError:
            client.close()
            raise
        return client

    def last_words(self):
        return self.said.read_text(errors="replace").strip()[-200:] or "it said nothing"

    def stop(self):
        """Whatever state it is in, also stopped in the middle of a drain."""
        for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.process.poll() is None:
                self.process.send_signal(number)
                self.process.send_signal(signal.SIGCONT)
                try:
                    self.process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue
        if not self.rival.tcp:
            Path(self.address).unlink(missing_ok=True)


def plain(text):
    """The bytes of a text with the escapes that the load generator takes."""
    return text.encode().decode("unicode_escape").encode()


def free_port():
    """A port that nobody has now; somebody else may take it before the server does, which then says so."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return f"tcp:127.0.0.1:{probe.getsockname()[1]}"


def tree(pid):
    """A process and its descendants: nginx works in children."""
    found = [pid]
    for at in found:
        try:
            for thread in os.listdir(f"/proc/{at}/task"):
                found += map(int, Path(f"/proc/{at}/task/{thread}/children").read_text().split())
        except OSError:
            continue
    return found
