"""Bytes and their meaning, the same for the clients of all languages."""

import unittest

from support import MAX_REPLY, data, vectors
from unhang import InvalidArgument, ends
from unhang.address import Address
from unhang.ends import ErrorLine, Malformed, TooLarge, error_reason
from unhang.http import HttpScanner
from unhang.shown import one_line

KINDS = {Malformed: "malformed_reply", TooLarge: "reply_too_large", ErrorLine: "server_error"}


def rule(described):
    """The rule that a vector describes."""
    at = described["at"]
    if at == "delimiter":
        return ends.AtDelimiter(data(described["delimiter"]))
    if at == "length":
        return ends.AtLength(described["bytes"], described["order"])
    if at == "silence":
        return ends.AtSilence(described["seconds"])
    return {"close": ends.AtClose, "newline": ends.AtNewline, "json": ends.AtJson}[at]()


def fed(scanner, pieces, closed):
    """What a scanner makes of bytes that come in these pieces: Found, None, or the kind of an error."""
    buffer = bytearray()
    found = None
    try:
        for piece in pieces:
            buffer += piece
            found = found or scanner.look(buffer, False)
        if closed:
            found = found or scanner.look(buffer, True)
    except tuple(KINDS) as error:
        return buffer, KINDS[type(error)]
    return buffer, found


def cuts(whole):
    """In one piece, byte by byte, and cut in two at every place (of a long one: at some)."""
    yield [whole]
    if len(whole) > 1000:
        for at in (1, 17, len(whole) // 2, len(whole) - 1):
            yield [whole[:at], whole[at:]]
        return
    yield [whole[at : at + 1] for at in range(len(whole))]
    for at in range(1, len(whole)):
        yield [whole[:at], whole[at:]]


class VectorsTest(unittest.TestCase):
    def test_address(self):
        for case in vectors("address.json"):
            with self.subTest(case["name"]):
                if "kernel" in case:
                    self.assertEqual(Address(case["input"]).kernel_name, case["kernel"].encode())
                    continue
                with self.assertRaises(InvalidArgument) as caught:
                    Address(case["input"])
                for word in case["says"]:
                    self.assertIn(word, str(caught.exception))

    def test_error_line(self):
        for case in vectors("error_line.json"):
            with self.subTest(case["name"]):
                reason = error_reason(data(case["bytes"]))
                if case["reason"] is None:
                    self.assertIsNone(reason)
                    continue
                self.assertEqual(reason.decode("utf-8", "replace"), case["reason"])
                self.assertEqual(one_line(reason), case["shown"])

    def test_ends(self):
        for case in vectors("ends.json"):
            for pieces in cuts(data(case["bytes"])):
                with self.subTest(case["name"], pieces=pieces):
                    buffer, found = fed(rule(case["ends"]).scanner(MAX_REPLY), pieces, case["closed"])
                    if "error" in case:
                        self.assertEqual(found, case["error"])
                    elif "reply" not in case:
                        self.assertIsNone(found)
                    else:
                        self.assertEqual(found.reply, data(case["reply"]))
                        # Rest that had not come when the end was found is nobody's business.
                        self.assertEqual(found.used, len(data(case["bytes"])) - len(case["rest"]))

    def test_http(self):
        for case in vectors("http.json"):
            for pieces in cuts(data(case["bytes"])):
                with self.subTest(case["name"], pieces=pieces[:3]):
                    buffer, found = fed(HttpScanner(case["method"], MAX_REPLY), pieces, case["closed"])
                    if "error" in case:
                        self.assertEqual(found, case["error"])
                    elif "status" not in case:
                        self.assertIsNone(found)
                    else:
                        self.assertEqual(found.reply.status, case["status"])
                        self.assertEqual(found.reply.body, data(case["body"]))
                        self.assertEqual(found.keep, case["keep"])
                        self.assertEqual(found.used, len(data(case["bytes"])) - len(case["rest"]))
                        if "headers" in case:
                            self.assertEqual([list(pair) for pair in found.reply.headers], case["headers"])


if __name__ == "__main__":
    unittest.main()
