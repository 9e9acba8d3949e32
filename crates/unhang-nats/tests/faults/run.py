"""The faults of docs/many-machines.md, one after another. `script/nats-faults` starts it."""

import argparse
import collections
import signal
import socket
import sys
import threading
import time

from stage import HANDLER, Stage, await_true

KILL, STOP, CONT, TERM, LAME = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM, signal.SIGUSR2

LOST = "the connection to NATS was lost after"
NOT_ACCEPTED = "no worker said within"
WORKER_LOST = "was lost after it accepted"
SILENT = "is stopped or cut off"
NO_WORKER = "no worker for"
NOT_CONNECTED = "not connected to NATS"
NOT_OFFERED = "no worker said that it is free"


class Fault(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Fault(what)


def under_load(stage, do, clients=8, after=1.0, milliseconds=2):
    """Does it while clients call, and lets them go on for a moment."""
    over = threading.Event()
    threads = stage.load(clients, over.is_set, milliseconds)
    try:
        time.sleep(0.5)
        do()
        time.sleep(after)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def no_worker(stage):
    stage.open_door()
    told = stage.call()
    expect(NO_WORKER in told.reply, told)
    expect(told.took < 1, told)
    return [NO_WORKER]


def calls_at_work(stage, count, millis):
    """So many calls that run for so long, and have been accepted; gives the threads that wait for them."""
    threads = [threading.Thread(target=stage.call, args=(millis,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    await_true("all calls run", lambda: len(stage.runs()) == count)
    time.sleep(0.3)
    return threads


def worker_killed(stage):
    service = stage.service()
    stage.open_door()
    threads = calls_at_work(stage, 8, 8000)
    killed = time.monotonic()
    service.end(KILL)
    for thread in threads:
        thread.join()
    for told in stage.told:
        expect(WORKER_LOST in told.reply, told)
        expect(told.begun + told.took - killed < 2, told)
    return [WORKER_LOST]


def worker_stopped(stage):
    service = stage.service()
    stage.open_door()
    threads = calls_at_work(stage, 4, 5000)
    stopped = time.monotonic()
    service.signal(STOP)
    for thread in threads:
        thread.join()
    for told in stage.told:
        expect(SILENT in told.reply, told)
        expect(told.begun + told.took - stopped < 3, told)
    # A call that comes while it is stopped is not accepted, and does not run when it goes on.
    late = [stage.call(0) for _ in range(3)]
    time.sleep(1)
    service.signal(CONT)
    time.sleep(1)
    for told in late:
        expect(any(words in told.reply for words in (NOT_ACCEPTED, NO_WORKER, NOT_OFFERED)), told)
        expect(stage.runs()[told.call] == 0, f"{told.call} ran after its caller had gone")
    return [SILENT, NOT_ACCEPTED, NO_WORKER, NOT_OFFERED]


def worker_deaf(stage):
    for _ in range(2):
        stage.service()
    stage.open_door()
    host, port = stage.address.removeprefix("nats://").split(",")[0].split(":")
    deaf = socket.create_connection((host, int(port)))
    deaf.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nPING\r\n')
    deaf.sendall(b"SUB unhang.v1.app unhang 1\r\n")
    under_load(stage, lambda: time.sleep(2))
    deaf.close()
    swallowed = [told for told in stage.told if NOT_ACCEPTED in told.reply]
    expect(swallowed, "nothing went to the deaf worker")
    slow = [told for told in stage.told if told.took > 2]
    expect(not slow, slow[:3])
    # The calls that were under way when the first was swallowed; those behind it ask first who is free.
    first = min(told.begun + told.took for told in swallowed)
    later = [told for told in swallowed if told.begun > first + 0.5]
    expect(not later, f"calls were swallowed after the door had learnt of it: {later[:3]}")
    return [NOT_ACCEPTED]


def workers_of_three_killed(stage):
    services = [stage.service() for _ in range(3)]
    stage.open_door()
    under_load(stage, lambda: [service.end(KILL) for service in services[:2]], after=3)
    return [WORKER_LOST, NOT_ACCEPTED, LOST, NO_WORKER]


def node_killed(stage):
    for _ in range(3):
        stage.service()
    stage.open_door()
    under_load(stage, lambda: stage.nodes[0].end(KILL), after=3)
    recovered(stage)
    return [LOST, NOT_ACCEPTED, WORKER_LOST, NO_WORKER, NOT_CONNECTED]


def nodes_in_turn(stage):
    for _ in range(3):
        stage.service()
    stage.open_door()

    def roll():
        for node in stage.nodes:
            node.end(KILL)
            time.sleep(1)
            node.start()
            await_true("the node is back", lambda: node.said("Server is ready"))
            time.sleep(3)

    under_load(stage, roll, after=3)
    recovered(stage)
    return [LOST, NOT_ACCEPTED, WORKER_LOST, NO_WORKER, NOT_CONNECTED]


def node_hangs(stage):
    for _ in range(3):
        stage.service()
    stage.open_door()
    hung = []

    def hang():
        hung.append(time.monotonic())
        stage.nodes[0].signal(STOP)
        time.sleep(8)
        stage.nodes[0].signal(CONT)
        time.sleep(3)

    under_load(stage, hang, after=1)
    recovered(stage)
    bad = [told for told in stage.told if not told.reply.startswith("done-")]
    for told in bad:
        expect(told.took < 4, f"told after {told.took:.1f} s: {told}")
    # Nodes of 2.9.10 pass calls to it for as long as it hangs, others until their pings tell: the door finds out.
    ends = [told.begun + told.took - hung[0] for told in bad]
    while_hung, behind = [end for end in ends if end < 8], [end for end in ends if end >= 8]
    last = max(while_hung, default=0)
    print(f"    {len(while_hung)} of {len(stage.told)} not answered, the last was told {last:.1f} s after the hang; "
          f"{len(behind)} more after it went on {[round(end, 1) for end in behind[:5]]}")
    expect(last < 4, f"a caller was told so {last:.1f} s after the hang")
    # As it goes on, a call may still be on a way that has just ended.
    expect(len(behind) <= 8, "calls were lost after it went on")
    return [LOST, NOT_ACCEPTED, WORKER_LOST, SILENT, NO_WORKER, NOT_CONNECTED, NOT_OFFERED]


def lame_duck(stage):
    for _ in range(3):
        stage.service()
    stage.open_door()

    def leave():
        stage.nodes[0].signal(LAME)
        await_true("the door has left it", lambda: "n0" not in nodes_of(stage.door))
        for service in stage.services:
            await_true("a service has left it", lambda: "n0" not in nodes_of(service))

    under_load(stage, leave)
    return []


def nodes_of(process):
    """The last node that each of its connections told of."""
    last = {}
    for line in process.log.read_text().splitlines():
        for number in "1", "2":
            if '"nats_connected"' in line and f'"connection":{number}' in line:
                last[number] = line.split('"node":"')[1].split('"')[0].split("(")[-1].rstrip(")")
    return set(last.values())


def drain(stage, calls):
    """Services come and go by SIGTERM, and no call is lost."""
    for _ in range(4):
        stage.service(workers=4)
    stage.open_door()
    over = threading.Event()
    threads = stage.load(16, lambda: over.is_set() or stage.next_call >= calls)
    try:
        while stage.next_call < calls and any(thread.is_alive() for thread in threads):
            stage.service(workers=4)
            expect(stage.services.pop(0).end(TERM) == 0, "a service that was stopped did not end well")
            time.sleep(0.2)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    lost = [told for told in stage.told if NOT_ACCEPTED in told.reply]
    runs = stage.runs()
    print(f"    {len(lost)} not accepted in time, of which {sum(runs[told.call] for told in lost)} ran")
    return []


def too_large(stage):
    stage.service()
    stage.open_door()
    told = stage.call(0, 8000)
    expect("reply of 8001 bytes is larger" in told.reply and told.took < 2, told)
    told = stage.call(0, "1" + " " * 8000)
    expect("request is larger than NATS takes" in told.reply and told.took < 2, told)
    expect(stage.runs()[told.call] == 0, told)
    return ["larger than NATS takes"]


def all_gone(stage):
    stage.service()
    stage.open_door()
    for node in stage.nodes:
        node.end(KILL)
    time.sleep(1)
    for told in [stage.call() for _ in range(5)]:
        expect(NOT_CONNECTED in told.reply and told.took < 2, told)
    for node in stage.nodes:
        node.start()
    await_true("calls are answered again", lambda: stage.call().reply.startswith("done-"))
    return [NOT_CONNECTED, NO_WORKER, NOT_ACCEPTED]


def recovered(stage):
    """It is as before, and nobody has to do anything for that."""
    good = 0
    for _ in range(200):
        good = good + 1 if stage.call().reply.startswith("done-") else 0
        if good == 20:
            return
        time.sleep(0.05)
    raise Fault("it did not recover")


FAULTS = [
    no_worker, worker_killed, worker_stopped, worker_deaf, workers_of_three_killed, node_killed, nodes_in_turn, node_hangs,
    lame_duck, drain, too_large, all_gone,
]


def judge(stage, allowed):
    """What holds whatever breaks."""
    runs = stage.runs()
    twice = {call: count for call, count in runs.items() if count > 1}
    expect(not twice, f"run twice: {twice}")
    for told in stage.told:
        is_answer = told.reply == f"done-{told.call}" or set(told.reply) == {"x"}
        is_told = told.reply.startswith("ERR ") and any(part in told.reply for part in allowed)
        expect(is_answer or is_told, f"not an answer and not in the table: {told}")
        expect(told.took < HANDLER + 2, f"later than its deadline: {told}")
        expect(not is_answer or runs[told.call] == 1, f"answered and not run: {told}")
        if "did not run" in told.reply:
            expect(runs[told.call] == 0, f"it did run: {told}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--unhang", required=True)
    arguments.add_argument("--server", required=True)
    arguments.add_argument("--calls", type=int, default=10_000)
    arguments.add_argument("--only", action="append", choices=[fault.__name__ for fault in FAULTS])
    given = arguments.parse_args()
    failed = 0
    for fault in FAULTS:
        if given.only and fault.__name__ not in given.only:
            continue
        stage = Stage(given.unhang, given.server, payload=4096 if fault is too_large else 1 << 20)
        begun = time.monotonic()
        try:
            allowed = fault(stage, given.calls) if fault is drain else fault(stage)
            judge(stage, allowed)
            verdict = "ok"
        except Fault as what:
            failed += 1
            verdict = f"FAILED: {what}"
        finally:
            kinds = collections.Counter(kind(told.reply) for told in stage.told)
            stage.close()
        slowest = max((told.took for told in stage.told), default=0)
        print(f"  {fault.__name__:<24} {len(stage.told):>6} calls, slowest {slowest:.2f} s, "
              f"{time.monotonic() - begun:.0f} s: {verdict}", flush=True)
        for words, count in kinds.most_common():
            print(f"      {count:>6} {words}", flush=True)
    sys.exit(1 if failed else 0)


def kind(reply):
    if reply.startswith("done-") or set(reply) == {"x"}:
        return "answered"
    for words in (LOST, NOT_ACCEPTED, WORKER_LOST, SILENT, NO_WORKER, NOT_CONNECTED, NOT_OFFERED):
        if words in reply:
            return words
    return reply.strip()[:100]


main()
