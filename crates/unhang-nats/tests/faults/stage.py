"""Real processes: nodes of NATS, services, a door; and clients that keep what they were told."""

import collections
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
# No wait for readiness is longer: a machine may be slow.
PATIENCE = 60
# A call's own deadline, the door's --handler-deadline and what unhang adds to it.
HANDLER = 10


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def await_true(what, done):
    until = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"waited in vain until {what}")
        time.sleep(0.02)


class Process:
    def __init__(self, command, log):
        self.command, self.log = command, log
        self.start()

    def start(self):
        self.seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def said(self, text):
        """How often since its start."""
        return self.log.read_bytes()[self.seen :].count(text.encode())

    def signal(self, number):
        if self.popen.poll() is None:
            self.popen.send_signal(number)

    def end(self, number=9):
        self.signal(signal.SIGCONT)
        self.signal(number)
        return self.popen.wait(PATIENCE)


Told = collections.namedtuple("Told", "call begun took reply")


class Stage:
    def __init__(self, unhang, server, payload=1 << 20, nodes=3):
        self.unhang, self.server = unhang, server
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = tuple(int(part) for part in said.strip().rsplit("v", 1)[1].split(".")[:2])
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="unhang-faults-"))
        self.notes = self.directory / "notes"
        self.notes.touch()
        self.next_call, self.lock = 0, threading.Lock()
        self.told, self.processes, self.services = [], [], []
        ports, routes = free_ports(nodes), free_ports(nodes)
        peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.address = "nats://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/app"
        self.nodes = []
        for at, (port, route) in enumerate(zip(ports, routes)):
            config = self.directory / f"node{at}.conf"
            config.write_text(
                f'server_name: n{at}\nlisten: "127.0.0.1:{port}"\nmax_payload: {payload}\n'
                'ping_interval: "1s"\nping_max: 2\nwrite_deadline: "2s"\n'
                'lame_duck_grace_period: "10s"\nlame_duck_duration: "30s"\n'
                f'cluster {{ name: c, listen: "127.0.0.1:{route}", routes: [{peers}] }}\n'
            )
            self.nodes.append(self.process([server, "-c", str(config)], f"node{at}"))
        for node in self.nodes:
            await_true("a node is ready", lambda: node.said("Server is ready"))
        await_true("the nodes know each other", lambda: all(n.said("Route connection created") >= nodes - 1 for n in self.nodes))

    def process(self, command, name):
        process = Process(command, self.directory / f"{name}.log")
        self.processes.append(process)
        return process

    def service(self, places=64, workers=16):
        name = f"service{len(self.processes)}"
        worker = [sys.executable, "-S", "-u", str(HERE / "worker.py"), str(self.notes)]
        command = [self.unhang, "serve", self.address, "--log", "json", "--places", str(places)]
        command += ["--workers", str(workers), "--", *worker]
        service = self.process(command, name)
        await_true("a service is connected", lambda: service.said('"nats_connected"') >= 2)
        self.services.append(service)
        return service

    def time_service(self):
        """One whose answer is the time of day, and costs next to nothing."""
        service = self.process([self.unhang, "serve", self.address, "--quiet"], "service")
        self.services.append(service)

    def answers(self, path):
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(path)
                client.sendall(b"x")
                client.shutdown(socket.SHUT_WR)
                return client.recv(1 << 16).startswith(b"OK")
        except OSError:
            return False

    def open_door(self, *flags):
        self.socket = str(self.directory / "door.sock")
        command = [self.unhang, "serve", self.socket, "--log", "json", "--to", self.address]
        command += ["--handler-deadline", f"{HANDLER}s", *flags]
        self.door = self.process(command, "door")
        await_true("the door is connected", lambda: self.door.said('"nats_connected"') >= 2)

    def call(self, milliseconds=0, *more):
        """One call. What came of it is kept, and given."""
        with self.lock:
            self.next_call += 1
            call = f"c{self.next_call}"
        text = " ".join([call, str(milliseconds), *map(str, more)])
        begun, reply = time.monotonic(), b""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(HANDLER + 20)
                client.connect(self.socket)
                client.sendall(text.encode())
                client.shutdown(socket.SHUT_WR)
                while piece := client.recv(1 << 16):
                    reply += piece
        except OSError as error:
            reply = f"HUNG {error}".encode()
        told = Told(call, begun, time.monotonic() - begun, reply.decode().rstrip("\n"))
        with self.lock:
            self.told.append(told)
        return told

    def load(self, clients, until, milliseconds=2):
        """Clients that call one after another until `until()`; threads to be joined."""

        def go():
            while not until():
                self.call(milliseconds)

        threads = [threading.Thread(target=go) for _ in range(clients)]
        for thread in threads:
            thread.start()
        return threads

    def runs(self):
        """How often each call was begun."""
        return collections.Counter(line.split()[0] for line in self.notes.read_text().splitlines())

    def close(self):
        for process in self.processes:
            process.end()
        shutil.rmtree(self.directory, ignore_errors=True)
