"""Clients of any server: `client.py ROLE PATH [ARGUMENT…]`. They run until they are ended."""

import http.client
import socket
import sys
import threading
import time


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def connected(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(path)
    return client


def http_kept(path, target="/"):
    """One request, and its connection kept for the next, that does not come."""
    connection = Connection(path)
    connection.request("GET", target)
    connection.getresponse().read()
    time.sleep(1e6)


def http_load(path, target="/", threads="8", keeps="yes"):
    """Requests without a pause; each of them is answered."""

    def ask():
        connection = None
        while True:
            try:
                if connection is None or keeps != "yes":
                    connection = Connection(path)
                connection.request("GET", target)
                response = connection.getresponse()
                response.read()
                if response.will_close:
                    connection = None
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(0.01)

    for _ in range(int(threads)):
        threading.Thread(target=ask, daemon=True).start()
    time.sleep(1e6)


def http_stream(path, target="/stream"):
    """Reads a reply that goes on, and of which nothing comes for now."""
    connection = Connection(path)
    connection.request("GET", target)
    response = connection.getresponse()
    while response.read1(100):
        pass


def line(path, *words):
    """Sends a line, and reads whatever comes for as long as it comes."""
    client = connected(path)
    client.sendall(" ".join(words).encode() + b"\r\n")
    while client.recv(4096):
        pass


def lines_load(path, words, end, threads="8"):
    """The same line again and again, each answered by something that ends with `end`."""

    def ask():
        client = connected(path)
        while True:
            client.sendall(words.encode() + b"\r\n")
            answer = b""
            while not answer.endswith(end.encode() + b"\r\n"):
                answer += client.recv(65536)

    for _ in range(int(threads)):
        threading.Thread(target=ask, daemon=True).start()
    time.sleep(1e6)


def silent(path):
    """Connects, and says nothing."""
    client = connected(path)
    while client.recv(4096):
        pass


def half_closed(path):
    """Asks, says that this is all, and waits for the answer."""
    client = connected(path)
    client.sendall(b"ask\n")
    client.shutdown(socket.SHUT_WR)
    while client.recv(4096):
        pass


def listen(path, database="postgres"):
    """LISTEN of PostgreSQL's."""
    import select

    import psycopg2

    connection = psycopg2.connect(host=path, user="postgres", dbname=database)
    connection.autocommit = True
    connection.cursor().execute("LISTEN news")
    while True:
        select.select([connection], [], [])
        connection.poll()


def query(path, statement, threads="8"):
    """A statement again and again, each on a connection that is kept."""
    import psycopg2

    def ask():
        connection = psycopg2.connect(host=path, user="postgres", dbname="postgres")
        connection.autocommit = True
        while True:
            connection.cursor().execute(statement)

    for _ in range(int(threads)):
        threading.Thread(target=ask, daemon=True).start()
    time.sleep(1e6)


def datagrams(path):
    """A line to a log, and a little pause."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.connect(path)
    while True:
        client.send(b"<13>real: a line")
        time.sleep(0.01)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
