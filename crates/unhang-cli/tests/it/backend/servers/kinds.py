"""Servers behind a front, each with a manner of its own: kinds.py KIND PATH [one-by-one|forks]. They say when they listen."""
import os, socket, sys, threading, time

kind, path = sys.argv[1:3]
kept = []


def rows(connection, pause, count=5):
    for nth in range(count):
        connection.sendall(b"row %d\n" % nth)
        time.sleep(pause)


def tick():
    while True:
        time.sleep(0.003)


def serve(connection):
    if kind == "ticks-and-needs-eof":
        threading.Thread(target=tick, daemon=True).start()
    if kind in ("needs-eof", "ticks-and-needs-eof"):
        request = b""
        while piece := connection.recv(65536):
            request += piece
        connection.sendall(request.upper())
        return connection.close()
    request = connection.recv(65536)
    if kind == "takes-eof-for-leaving":
        time.sleep(0.05)
        connection.setblocking(False)
        try:
            if connection.recv(1) == b"":
                return connection.close()
        except BlockingIOError:
            pass
        connection.setblocking(True)
        connection.sendall(request.upper())
    elif kind == "rows-close":
        rows(connection, 0.1)
        connection.close()
    elif kind == "rows":
        rows(connection, 0.1)
    elif kind == "quick-rows":
        rows(connection, 0.007, 12)
    elif kind == "json":
        connection.sendall(b'{"a": [1, "}')
        time.sleep(0.05)
        connection.sendall(b'"]}')
    elif kind == "http":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nKeep-Alive: timeout=60\r\n\r\nhel")
        time.sleep(0.05)
        connection.sendall(b"lo\n")
        connection.recv(65536)
    elif kind == "http-half":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel")
        tick()
    elif kind == "bursts":
        for _ in range(10):
            connection.sendall(b"0123456\n" * (1 << 17))
            time.sleep(0.02)
        connection.close()
    elif kind == "silent":
        time.sleep(600)
    elif kind == "dies-at-once":
        connection.close()
    elif kind == "stops-half-way":
        connection.sendall(b"half a re")
        # One long sleep would outlast the deadline of the reply: that is as good as its end.
        while True:
            time.sleep(1)
    elif kind in ("dies-half-way", "dies-half-way-at-once", "crashes-half-way"):
        connection.sendall(b"half a re")
        if kind != "dies-half-way-at-once":
            time.sleep(0.05)
        os.kill(os.getpid(), 11 if kind == "crashes-half-way" else 9)
    elif kind == "dies-after-a-mebibyte":
        connection.sendall(b"0123456\n" * (1 << 17))
        # By then all of it lies in pipes and sockets, or was read.
        time.sleep(0.05)
        os.kill(os.getpid(), 9)
    elif kind == "ends":
        connection.sendall(request.upper())
        os._exit(1)
    elif kind == "ticks":
        connection.sendall(request.upper())
        tick()
    elif kind == "closes":
        connection.sendall(request.upper())
        connection.close()
    else:
        sys.exit("no such kind")


listener = socket.socket(socket.AF_UNIX)
if os.path.exists(path):
    os.unlink(path)
listener.bind(path)
listener.listen(512)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    if sys.argv[3:] == ["forks"]:
        if os.fork() == 0:
            serve(connection)
            os._exit(1)
        connection.close()
        kept.clear()
    elif len(sys.argv) > 3:
        serve(connection)
    else:
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
