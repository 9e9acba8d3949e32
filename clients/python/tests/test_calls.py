"""Every case of spec/vectors/calls.json against the bad server, blocking and with asyncio."""

import asyncio
import os
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import unhang
from support import BAD_SERVER, CALLS, SocketTestCase, data, vectors
from test_vectors import rule
from unhang import aio

# Beside its timeout, on a machine with much else to do. A hang takes for ever.
SLACK = 40


def client(module, case, path):
    options = dict(case["options"])
    if "ends" in options:
        options["ends"] = rule(options["ends"])
    kind = {"lines": module.LineClient, "http": module.HttpClient}.get(case.get("via"), module.Client)
    return kind(path, **options)


def ask(target, case, request):
    """Calls; with asyncio this is a coroutine."""
    if case.get("via") == "http":
        body = data(request["body"]) if "body" in request else None
        return target.request(request["method"], request["target"], headers=request.get("headers"), body=body)
    return target.call(data(request))


class CallsTest(SocketTestCase):
    def test_blocking(self):
        def run(case, path):
            target = client(unhang, case, path)
            for number, (request, expected) in enumerate(zip(case["requests"], case["expect"])):
                if number:
                    time.sleep(case.get("pause", 0))
                start = time.monotonic()
                try:
                    outcome = ask(target, case, request)
                except unhang.UnhangError as error:
                    outcome = error
                self.check(case, expected, outcome, time.monotonic() - start)
            getattr(target, "close", lambda: None)()

        self.start(sys.executable, BAD_SERVER, "--cases", CALLS, self.directory)
        with ThreadPoolExecutor(12) as pool:
            for case, future in [(case, pool.submit(run, case, path)) for case, path in self.cases()]:
                with self.subTest(case["name"]):
                    future.result()

    def test_asyncio(self):
        async def run(case, path, places):
            async with places:
                target = client(aio, case, path)
                for number, (request, expected) in enumerate(zip(case["requests"], case["expect"])):
                    if number:
                        await asyncio.sleep(case.get("pause", 0))
                    start = time.monotonic()
                    try:
                        outcome = await ask(target, case, request)
                    except unhang.UnhangError as error:
                        outcome = error
                    self.check(case, expected, outcome, time.monotonic() - start)
                getattr(target, "close", lambda: None)()

        async def run_all():
            places = asyncio.Semaphore(12)
            tasks = [(case, asyncio.ensure_future(run(case, path, places))) for case, path in self.cases()]
            for case, task in tasks:
                with self.subTest(case["name"]):
                    await task

        self.start(sys.executable, BAD_SERVER, "--cases", CALLS, self.directory)
        asyncio.run(run_all())

    def cases(self):
        for number, case in enumerate(vectors("calls.json")):
            yield case, os.path.join(self.directory, f"{number}.sock")

    def check(self, case, expected, outcome, elapsed):
        self.assertLess(elapsed, case["options"]["timeout"] + SLACK)
        if "error" in expected:
            self.check_error(expected, outcome)
        elif "status" in expected:
            self.assertIsInstance(outcome, unhang.Response, outcome)
            self.assertEqual((outcome.status, outcome.body), (expected["status"], data(expected["body"])))
        else:
            self.assertEqual(outcome, data(expected["reply"]))

    def check_error(self, expected, error):
        self.assertIsInstance(error, unhang.UnhangError)
        self.assertEqual(error.kind, expected["error"], error)
        if "may_have_run" in expected:
            self.assertEqual(error.may_have_run, expected["may_have_run"])
        if "reply" in expected:
            self.assertEqual(error.reply, data(expected["reply"]))
        if "reason" in expected:
            self.assertEqual(error.reason, expected["reason"])
        for word in expected.get("says", []):
            self.assertIn(word, str(error))
        self.assertLessEqual(len(str(error).encode()), expected.get("shown_at_most", 2000))
        self.assertTrue(str(error).isprintable(), repr(str(error)))
        self.assertIn(error.fault, ("caller", "setup", "server", "unclear"))
        self.assertIn(error.advice, str(error))


if __name__ == "__main__":
    unittest.main()
