"""Python's socketserver, with a thread per connection, as its documentation writes it. Only the queue is longer than its 5."""

import socketserver
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"pong:" + self.request.recv(1024))


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 4096
    daemon_threads = True


with Server(sys.argv[1], Handler) as server:
    server.serve_forever()
