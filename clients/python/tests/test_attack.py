"""What is not in the vectors: the kernel, signals, threads, forks, cancelled tasks, a blocked event loop, real servers."""

import asyncio
import errno
import http.server
import os
import pathlib
import pickle
import random
import resource
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import unhang
from support import PATIENCE, SocketTestCase
from unhang import aio, connect, ends

# Seconds that closing a passed descriptor blocks, as bad_server.py has it; a call that it blocks takes longer than half.
LINGER = 30


class ConnectTest(SocketTestCase):
    def fails(self, kind, path=None):
        with self.assertRaises(unhang.ConnectError) as caught:
            unhang.Client(path or self.path, timeout=PATIENCE).call("hello")
        self.assertEqual(caught.exception.kind, kind)
        self.assertFalse(caught.exception.may_have_run)
        return caught.exception

    def test_no_file(self):
        self.fails("no_such_file")
        self.fails("no_such_file", self.path + "/below")

    def test_no_directory_but_a_file(self):
        open(self.path, "w").close()
        self.fails("no_such_file", self.path + "/below")

    def test_no_server(self):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.path)
        self.assertIn("stays behind", str(self.fails("nobody_listens")))

    def test_no_server_of_an_abstract_name(self):
        self.assertNotIn("stays behind", str(self.fails("nobody_listens", f"@unhang-none-{os.getpid()}")))

    def test_a_file_and_a_directory(self):
        open(self.path, "w").close()
        self.assertIn("regular file", str(self.fails("not_a_stream_socket")))
        self.assertIn("a directory", str(self.fails("not_a_stream_socket", self.directory)))

    def test_a_datagram_socket(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(self.path)
            self.fails("not_a_stream_socket")

    def test_a_name_that_is_no_text(self):
        """Its message must be printable: to print what os.fsdecode() makes of such a name is an error."""
        error = self.fails("no_such_file", os.fsencode(self.directory) + b"/\xff\x1b[2J")
        self.assertIn("\\xff\\x1b[2J", str(error).encode().decode())

    def test_an_abstract_name(self):
        self.path = f"@unhang-test-{os.getpid()}-{time.monotonic_ns()}"
        self.serve("echo")
        self.assertEqual(unhang.Client(self.path, timeout=PATIENCE).call("hello"), b"hello")

    @unittest.skipIf(os.getuid() != 0, "only root can become somebody who may not connect")
    def test_no_permission(self):
        self.serve("echo")
        os.chmod(self.path, 0o600)
        os.chmod(self.directory, 0o755)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setuid(65534)
                self.fails("permission_denied")
                code = 0
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_a_full_queue(self):
        self.serve("queue-full")
        with self.assertRaises(unhang.ConnectError) as caught:
            unhang.Client(self.path, timeout=0.3).call("hello")
        self.assertEqual(caught.exception.kind, "queue_full")
        self.assertGreaterEqual(caught.exception.elapsed, 0.3)

    def test_a_full_queue_that_is_worked_off(self):
        server = self.serve("queue-full-until-told")
        server.stdin.write(b"go\n")
        server.stdin.flush()
        self.assertEqual(unhang.Client(self.path, timeout=PATIENCE).call("hello"), b"accepted")

    def test_a_full_queue_that_is_worked_off_asyncio(self):
        server = self.serve("queue-full-until-told")
        server.stdin.write(b"go\n")
        server.stdin.flush()
        self.assertEqual(asyncio.run(aio.Client(self.path, timeout=PATIENCE).call("hello")), b"accepted")

    def test_no_descriptor_left(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            with self.assertRaises(OSError):
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            self.fails("no_descriptors")
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_descriptors_beyond_1024(self):
        self.serve("echo")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2048:
            self.skipTest("not so many descriptors allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
        taken = []
        try:
            while not taken or taken[-1] < 1100:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            self.assertEqual(unhang.Client(self.path, timeout=PATIENCE).call("hello"), b"hello")
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ArgumentsTest(SocketTestCase):
    def refused(self, *words, **arguments):
        with self.assertRaises(ValueError) as caught:
            unhang.Client("/run/s", **arguments)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual(caught.exception.fault, "caller")

    def test_refused(self):
        for timeout in (0, -1, float("nan"), float("inf"), 5000, "5", None, True):
            self.refused("milliseconds", timeout=timeout)
        for size in (0, -1, 1.5, "1", True):
            self.refused("max_reply", max_reply=size)
        self.refused("ends", ends="newline")
        for wrong in (lambda: ends.AtDelimiter(b""), lambda: ends.AtDelimiter("\n"), lambda: ends.AtLength(3),
                      lambda: ends.AtLength(4, "middle"), lambda: ends.AtSilence(0), lambda: ends.AtPredicate(5)):
            with self.assertRaises(unhang.InvalidArgument):
                wrong()
        with self.assertRaises(unhang.InvalidArgument):
            unhang.Client("/run/s").call(5)

    def test_a_path_of_any_kind(self):
        self.serve("echo")
        for path in (pathlib.Path(self.path), os.fsencode(self.path), os.path.relpath(self.path)):
            self.assertEqual(unhang.Client(path, timeout=PATIENCE).call(bytearray(b"hello")), b"hello")

    def test_errors_survive_multiprocessing(self):
        """A pool of multiprocessing hangs for ever on an exception that cannot be rebuilt."""
        try:
            unhang.Client(self.path).call("hello")
        except unhang.UnhangError as error:
            again = pickle.loads(pickle.dumps(error))
        self.assertIsInstance(again, unhang.ConnectError)
        self.assertEqual((again.kind, again.errno, again.address), ("no_such_file", errno.ENOENT, self.path))
        self.assertIn("Start the server", str(again))


class PredicateTest(SocketTestCase):
    def test_a_predicate(self):
        self.serve("drips-pieces", "abc;def")

        def whole(reply):
            return reply.find(b";") + 1 or None

        self.assertEqual(unhang.Client(self.path, timeout=PATIENCE, ends=ends.AtPredicate(whole)).call("x"), b"abc;")

    def test_a_predicate_that_raises(self):
        self.serve("answer-and-stay", "abc")
        with self.assertRaises(ZeroDivisionError):
            unhang.Client(self.path, timeout=PATIENCE, ends=ends.AtPredicate(lambda reply: 1 // 0)).call("x")

    def test_a_predicate_of_too_much(self):
        self.serve("answer-and-stay", "abc")
        with self.assertRaises(unhang.InvalidArgument):
            unhang.Client(self.path, timeout=PATIENCE, ends=ends.AtPredicate(lambda reply: 99)).call("x")


class DescriptorsTest(SocketTestCase):
    """A server passes a socket whose close blocks for 30 s."""

    def timed(self, call):
        start = time.monotonic()
        try:
            return call()
        except unhang.UnhangError as error:
            return error
        finally:
            self.assertLess(time.monotonic() - start, LINGER / 2)

    def test_passed_descriptors_do_not_block(self):
        self.serve("passes-descriptors")
        client = unhang.Client(self.path, timeout=PATIENCE, ends=ends.AtNewline())
        outcome = self.timed(lambda: client.call("hello"))
        if isinstance(outcome, bytes):
            self.assertEqual(outcome, b"not passed\n")
        else:
            self.assertEqual(outcome.kind, "descriptors_passed")

    def test_nor_on_a_kernel_that_cannot_refuse_them(self):
        self.serve("passes-descriptors")
        with mock.patch.object(connect, "SO_PASSRIGHTS", 9999):
            client = unhang.Client(self.path, timeout=PATIENCE, ends=ends.AtNewline())
            outcome = self.timed(lambda: client.call("hello"))
        self.assertEqual(outcome.kind, "descriptors_passed")

    def test_nor_those_that_lie_unread_at_the_close(self):
        self.serve("passes-descriptors")
        with mock.patch.object(connect, "SO_PASSRIGHTS", 9999):
            # The request is never taken whole, so the reply lies unread when a signal ends the call.
            client = unhang.Client(self.path, timeout=PATIENCE)

            def given_up(steps):
                next(steps)
                time.sleep(1)
                steps.close()
                return b"closed"

            outcome = self.timed(lambda: given_up(client._calls.steps("hello", None)))
        self.assertEqual(outcome, b"closed")

    def test_nor_on_such_a_kernel_with_a_server_that_passes_none(self):
        self.serve("echo-as-it-reads")
        with mock.patch.object(connect, "SO_PASSRIGHTS", 9999):
            request = os.urandom(1_000_000)
            self.assertEqual(unhang.Client(self.path, timeout=PATIENCE).call(request), request)


class SignalTest(SocketTestCase):
    def test_signals_do_not_put_the_deadline_off(self):
        self.serve("never-answers")
        heard = []
        before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            start = time.monotonic()
            with self.assertRaises(unhang.Timeout):
                unhang.Client(self.path, timeout=0.5).call("hello")
            self.assertLess(time.monotonic() - start, PATIENCE)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.assertTrue(heard)

    def test_a_handler_that_raises_closes_the_connection(self):
        self.serve("lines-late", "5")

        class Enough(Exception):
            pass

        def enough(*_):
            raise Enough

        client = unhang.LineClient(self.path, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.call("first")
        before = signal.signal(signal.SIGALRM, enough)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with self.assertRaises(Enough):
                client.call("slow")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.assertEqual(client.call("second"), b"second")

    def test_sigpipe_does_not_end_the_process(self):
        self.serve("closes-before-reading")
        code = (
            "import signal, sys, unhang\n"
            "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
            "for _ in range(20):\n"
            "    try: unhang.Client(sys.argv[1]).call(b'x' * 3000000)\n"
            "    except unhang.UnhangError: pass\n"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code, self.path], timeout=PATIENCE).returncode, 0)


class SharedTest(SocketTestCase):
    def test_threads_get_their_own_answers(self):
        self.serve("lines")
        client = unhang.LineClient(self.path, timeout=PATIENCE)
        self.addCleanup(client.close)
        wrong = []

        def ask(name):
            for number in range(100):
                line = f"{name}-{number}".encode()
                if client.call(line) != line:
                    wrong.append(line)

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertLessEqual(len(client._calls.idle), 8)

    def test_a_fork_shares_no_connection(self):
        self.serve("lines-late", "0.3")
        client = unhang.LineClient(self.path, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.call("before")
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    line = f"slow-{number}".encode()
                    code = 0 if client.call(line) == line else 2
                finally:
                    os._exit(code)
            children.append(child)
        self.assertEqual(client.call("slow-parent"), b"slow-parent")
        for child in children:
            self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_a_forked_child_does_not_hide_the_close_from_the_server(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            client = unhang.LineClient(self.path, timeout=PATIENCE)
            asked = threading.Thread(target=client.call, args=("a",))
            asked.start()
            server, _ = listener.accept()
            self.addCleanup(server.close)
            server.recv(100)
            server.sendall(b"a\n")
            asked.join()
            held, release = os.pipe()
            child = os.fork()
            if child == 0:  # it has the idle connection, too, and lives on
                os.close(release)
                os.read(held, 1)
                os._exit(0)
            client.close()
            server.settimeout(PATIENCE)
            self.assertEqual(server.recv(100), b"")
            os.close(release)
            os.close(held)
            os.waitpid(child, 0)

    def test_a_child_does_not_keep_the_connection_open(self):
        """The server's end must see the close, although a child that was started meanwhile lives on."""
        self.serve("lines-late", "3")
        client = unhang.LineClient(self.path, timeout=PATIENCE)
        client.call("first")
        inheritable = [connection.sock.get_inheritable() for connection in client._calls.idle]
        client.close()
        self.assertEqual(inheritable, [False])


class ChaosTest(SocketTestCase):
    """A server that does everything wrong but answer twice, and impatient callers: no answer reaches another call."""

    def impatient(self, ask):
        """`ask(name, timeout)` gives what should be the name. Gives how many answers came."""
        answered = []

        def caller(number):
            for count in range(60):
                name = f"{number}-{count}"
                try:
                    if ask(name, random.choice([0.02, 0.1, 1])) == name:
                        answered.append(name)
                    else:
                        crossed.append(name)
                except unhang.UnhangError as error:
                    self.assertIn(error.kind, ("timeout", "connection_lost", "server_error"))

        crossed = []
        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(caller, number) for number in range(8)]:
                future.result()
        self.assertEqual(crossed, [])
        self.assertGreater(len(answered), 0)

    def test_lines(self):
        self.serve("lines-chaos")
        with unhang.LineClient(self.path) as client:
            self.impatient(lambda name, timeout: client.call(name, timeout=timeout).decode())

    def test_http(self):
        self.serve("http-chaos")

        def ask(name, timeout):
            response = client.request("POST", "/", body=name, timeout=timeout)
            return name if response.status == 503 else response.body.decode()[len("POST / ") :]

        with unhang.HttpClient(self.path) as client:
            self.impatient(ask)

    def test_asyncio_cancelled_at_random(self):
        self.serve("lines-chaos")

        async def caller(client, number):
            for count in range(60):
                name = f"{number}-{count}".encode()
                call = asyncio.ensure_future(client.call(name, timeout=1))
                done, _ = await asyncio.wait([call], timeout=random.choice([0.02, 0.1, 1]))
                if not done:
                    call.cancel()
                try:
                    self.assertEqual(await call, name)
                except (asyncio.CancelledError, unhang.UnhangError):
                    pass

        async def all_callers():
            async with aio.LineClient(self.path) as client:
                await asyncio.gather(*(caller(client, number) for number in range(8)))

        asyncio.run(all_callers())


class AsyncioTest(SocketTestCase):
    def test_many_at_a_time(self):
        self.serve("lines-late", "0.1")

        async def ask():
            async with aio.LineClient(self.path, timeout=PATIENCE) as client:
                names = [f"{'slow' if number % 3 == 0 else 'quick'}-{number}".encode() for number in range(60)]
                self.assertEqual(await asyncio.gather(*(client.call(name) for name in names)), names)

        asyncio.run(ask())

    def test_a_cancelled_task_closes_its_connection(self):
        self.serve("lines-late", "5")

        async def ask():
            async with aio.LineClient(self.path, timeout=PATIENCE) as client:
                await client.call("first")
                task = asyncio.ensure_future(client.call("slow"))
                await asyncio.sleep(0.1)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual(len(client._calls.idle), 0)
                self.assertEqual(await client.call("second"), b"second")

        asyncio.run(ask())

    def test_wait_for_may_end_it_first(self):
        self.serve("never-answers")

        async def ask():
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(aio.Client(self.path, timeout=PATIENCE).call("hello"), 0.2)

        asyncio.run(ask())

    def test_a_blocked_event_loop_loses_no_reply(self):
        """The reply lies in the socket when the loop comes back, long after the deadline."""
        self.serve("echo")

        async def ask():
            task = asyncio.ensure_future(aio.Client(self.path, timeout=0.5).call("hello"))
            await asyncio.sleep(0)
            time.sleep(1.5)
            return await task

        self.assertEqual(asyncio.run(ask()), b"hello")

    def test_the_loop_runs_on_while_a_server_hangs(self):
        self.serve("never-answers")

        async def ask():
            turns = 0
            task = asyncio.ensure_future(aio.Client(self.path, timeout=1).call("hello"))
            while not task.done():
                await asyncio.sleep(0.01)
                turns += 1
            with self.assertRaises(unhang.Timeout):
                await task
            self.assertGreater(turns, 5)

        asyncio.run(ask())


class KeptTest(SocketTestCase):
    def test_connections_are_kept(self):
        self.serve("lines")
        with unhang.LineClient(self.path, timeout=PATIENCE) as client:
            client.call("a")
            first = client._calls.idle[0]
            client.call("b")
            self.assertIs(client._calls.idle[0], first)
        self.assertEqual(len(client._calls.idle), 0)
        self.assertEqual(client.call("after the close"), b"after the close")
        client.close()

    def test_a_server_that_was_restarted(self):
        first = self.serve("lines")
        client = unhang.LineClient(self.path, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.call("a")
        first.stdin.close()
        first.wait()
        os.unlink(self.path)
        self.serve("lines")
        self.assertEqual(client.call("b"), b"b")

    def test_an_idle_end_that_comes_with_the_request_is_asked_again(self):
        """The server shuts its input after the look and before the send: EPIPE, and nothing was delivered."""
        self.serve("lines")
        client = unhang.LineClient(self.path, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.call("a")
        idle = client._calls.idle[0]
        with mock.patch.object(idle, "is_quiet", lambda: True):
            idle.sock.shutdown(socket.SHUT_WR)  # what the server's SHUT_RD looks like from here: sends fail by EPIPE
            self.assertEqual(client.call("b"), b"b")

    def test_a_line_said_before_any_request_is_no_answer(self):
        self.serve("lines-unasked")
        client = unhang.LineClient(self.path, timeout=PATIENCE)
        self.addCleanup(client.close)
        quiet = connect.Connection.is_quiet

        def looked_at_late(connection):
            time.sleep(0.5)
            return quiet(connection)

        with mock.patch.object(connect.Connection, "is_quiet", looked_at_late):
            with self.assertRaises(unhang.MalformedReply) as caught:
                client.call("a")
        self.assertFalse(caught.exception.may_have_run)
        self.assertEqual(caught.exception.reply, b"welcome\n")


class HttpServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class HttpHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def address_string(self):
        return "client"


class RealServersTest(SocketTestCase):
    def exchange(self, count=20):
        with unhang.HttpClient(self.path, timeout=PATIENCE) as client:
            for number in range(count):
                body = bytes([number]) * (number * 1000)
                response = client.request("POST", f"/{number}", body=body)
                self.assertEqual((response.status, response.body), (200, body))

    def test_unhang_serve(self):
        program = os.environ.get("UNHANG_BIN")
        if not program:
            self.skipTest("UNHANG_BIN does not say where unhang is")
        command = [program, "serve", self.path, "--max-request", "100B"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.assertIn(b"listening", process.stdout.readline())
        client = unhang.Client(self.path, timeout=PATIENCE)
        self.assertTrue(client.call("hello").startswith(b"OK"))
        for size in (101, 3_000_000):
            with self.assertRaises(unhang.ServerError) as caught:
                client.call(b"x" * size)
            self.assertEqual(caught.exception.reason, "the request is longer than 100 bytes")

    def test_http_server_of_python(self):
        server = HttpServer(self.path, HttpHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.exchange()

    def test_node(self):
        self.need("node")
        self.start(
            "node",
            "-e",
            "const server = require('http').createServer((request, reply) => request.pipe(reply));"
            "server.listen(process.argv[1], () => console.log('ready'));"
            "process.stdin.resume().on('end', () => process.exit());",
            self.path,
        )
        self.exchange()

    def test_gunicorn(self):
        self.need("gunicorn")
        with open(os.path.join(self.directory, "app.py"), "w") as app:
            app.write(
                "def app(environ, start_response):\n"
                "    body = environ['wsgi.input'].read()\n"
                "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
                "    return [body]\n"
            )
        command = ["gunicorn", "--chdir", self.directory, "--bind", f"unix:{self.path}", "app:app"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        while b"Listening at" not in process.stderr.readline():
            self.assertIsNone(process.poll())
        threading.Thread(target=process.stderr.read, daemon=True).start()
        self.exchange()

    def need(self, program):
        if shutil.which(program) is None:
            if os.environ.get("UNHANG_REQUIRE_ALL"):
                self.fail(f"{program} is missing")
            self.skipTest(f"{program} is missing")


if __name__ == "__main__":
    unittest.main()
