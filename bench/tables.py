"""What is measured: for each table its rows, and what load they get."""

from dataclasses import dataclass

CROWD = 10_000
DRAIN = 2_000
CLIENTS = (1, 8, 64, 512, 1_000, CROWD)
MIB = 1 << 20
GIB = 1 << 30
# Room for the crowd and the load beside it.
ROOM = ("--max-connections", "19000")
# What a service that streams hands over at once, and what C does.
PIECE = 1 << 16
# The crowd must outlast the run.
PATIENT = (*ROOM, "--read-deadline", "600")


@dataclass(frozen=True)
class Row:
    """A server with its options; `load` is for its load generator alone."""

    key: str
    rival: str
    label: str = ""
    options: tuple = ()
    load: tuple = ()


@dataclass(frozen=True)
class Table:
    """`again` is `base` once more. `rounds` are those of a full run and of a quick one."""

    name: str
    rows: tuple
    load: tuple
    rounds: tuple
    base: str = "c"
    again: str = "c-again"
    measure: str = "load"
    # With replies of another kind than the rival's own.
    reply_bytes: int = 0


# A handler that computes, in µs: what two workers do is then seen beside the load, which has a core of its own.
BUSY = ("--spin", "100")

C = (Row("c", "c"), Row("c-again", "c", "C, epoll, again"))
QUIET = Row("serve", "serve", "`unhang serve --quiet`", ("--quiet",))
# C has one thread: beside it, what a worker costs, without what two cost each other in the kernel.
ALONE = ("--threads", "1")
# The command as another build has it, with `--base PATH`: the version before.
BEFORE = Row("serve-before", "before", "`serve --quiet`, the version before", ("--quiet",))
BEFORE_ALONE = Row("serve-1-before", "before", "`serve --quiet`, the version before, one worker", ("--quiet", *ALONE))
BEFORE_LOG = Row("serve-log-before", "before", "`serve`, the version before, one worker, its log in a file", ALONE)
MAIN = (*C, Row("unhang", "unhang"), QUIET, BEFORE, Row("tokio", "tokio"), Row("go", "go"))
OTHERS = tuple(
    Row(name, name) for name in ("go-tuned", "axum", "nginx", "node", "asyncio", "threads", "php", "c-tcp", "tokio-tcp")
)


def closed_loop(clients):
    """Each client asks again as soon as it has its reply. A crowd takes a while to get going."""
    crowd = clients == CROWD
    return Table(
        f"clients-{clients}",
        (*MAIN, Row("c-yield", "c", "C, epoll, yielding once", ("-y",))) + (OTHERS if clients == 64 else ()),
        ("--clients", str(clients), "--for", "1500ms" if crowd else "500ms", "--warm-up", "500ms" if crowd else "100ms"),
        (5, 2) if crowd else (9, 3),
    )


def kept(name, clients, load=()):
    """Connections that are kept, beside our own that are not; `load` is for those that are."""
    lines, http = ("--wire", "lines", *load), ("--wire", "http", *load)
    return Table(
        name,
        (
            Row("oneshot", "unhang", "unhang, one-shot", ALONE),
            Row("oneshot-again", "unhang", "unhang, one-shot, again", ALONE),
            Row("lines", "lines", "", ALONE, lines),
            Row("c-lines", "c-lines", "", (), lines),
            Row("http", "http", "", ALONE, http),
            Row("c-http", "c-http", "", (), http),
            Row("hyper", "hyper", "", ("1",), http),
        ),
        ("--clients", str(clients), "--for", "500ms", "--warm-up", "100ms"),
        (15, 3),
        base="oneshot",
        again="oneshot-again",
    )


TABLES = (
    Table(
        "drain",
        MAIN
        + (
            Row("unhang-1", "unhang", "unhang, the library, one worker", ALONE),
            Row("serve-1", "serve", "`unhang serve --quiet`, one worker", ("--quiet", *ALONE)),
            Row("unhang-log", "unhang", "unhang, the library, one worker, with a log", ("--log", "{directory}/unhang.log", *ALONE)),
            Row("serve-log", "serve", "`unhang serve`, one worker, its log in a file", ALONE),
            BEFORE_ALONE,
            BEFORE_LOG,
            Row("c-registered", "c", "C, epoll, registered first", ("-g",)),
            Row("c-shut", "c", "C, epoll, closing as unhang does", ("-s",)),
        )
        + OTHERS,
        ("--drain", str(DRAIN), "--rounds", "1", "--warm-up", "0s"),
        (51, 5),
    ),
    *map(closed_loop, CLIENTS),
    Table(
        "threads",
        (
            *C,
            Row("c-2", "c", "C, epoll, 2 threads", ("-t", "2")),
            *(Row(f"workers-{n}", "unhang", f"unhang, workers: {n}", ("--threads", str(n))) for n in (1, 2, 8)),
        ),
        ("--drain", str(DRAIN), "--rounds", "1", "--warm-up", "0s"),
        (51, 5),
    ),
    Table(
        "slow",
        (
            Row("tokio", "tokio", "", ("--sleep", "1")),
            Row("tokio-again", "tokio", "tokio, again", ("--sleep", "1")),
            Row("unhang", "unhang", "", ("--sleep", "1")),
            Row("go", "go", "", ("--sleep", "1ms")),
        ),
        ("--clients", "1000", "--for", "500ms", "--warm-up", "200ms"),
        (9, 3),
        base="tokio",
        again="tokio-again",
    ),
    Table(
        "large",
        (
            Row("c", "c", "", ("-r", str(MIB))),
            Row("c-again", "c", "C, epoll, again", ("-r", str(MIB))),
            Row("unhang", "unhang", "", ("--reply-bytes", str(MIB))),
            Row("tokio", "tokio", "", ("--reply-bytes", str(MIB))),
            Row("c-tcp", "c-tcp", "", ("-r", str(MIB))),
            Row("tokio-tcp", "tokio-tcp", "", ("--reply-bytes", str(MIB))),
        ),
        ("--clients", "4", "--for", "500ms", "--warm-up", "100ms"),
        (9, 3),
        reply_bytes=MIB,
    ),
    Table(
        "stream",
        (
            Row("c", "c", "C, one piece again and again", ("-l", str(GIB))),
            Row("c-again", "c", "C, one piece again and again, again", ("-l", str(GIB))),
            Row("unhang", "unhang", "", ("--stream-bytes", str(GIB), "--stream-piece", str(PIECE))),
        ),
        (),
        (5, 1),
        measure="stream",
    ),
    Table(
        "beside",
        (
            Row("unhang", "unhang", "", PATIENT),
            Row("unhang-again", "unhang", "unhang, the library, again", PATIENT),
            Row("unhang-beside", "unhang", "unhang, beside the idle", PATIENT, ("--idle", str(CROWD))),
            Row("c", "c"),
            Row("c-beside", "c", "C, epoll, beside the idle", (), ("--idle", str(CROWD))),
        ),
        ("--clients", "64", "--for", "500ms", "--warm-up", "100ms"),
        (9, 3),
        base="unhang",
        again="unhang-again",
    ),
    kept("kept-16", 16),
    kept("kept-64", 64),
    kept("kept-deep", 16, ("--depth", "16")),
    Table(
        "kept-workers",
        (
            Row("lines-1", "lines", "unhang, lines, one worker", (*ALONE, *BUSY)),
            Row("lines-1-again", "lines", "unhang, lines, one worker, again", (*ALONE, *BUSY)),
            Row("lines-2", "lines", "unhang, lines, 2 workers", ("--threads", "2", *BUSY)),
        ),
        ("--clients", "64", "--for", "500ms", "--warm-up", "200ms", "--wire", "lines"),
        (15, 3),
        base="lines-1",
        again="lines-1-again",
    ),
    Table(
        "memory",
        (
            *C,
            Row("unhang", "unhang", "", PATIENT),
            *(Row(name, name) for name in ("tokio", "go", "go-tuned", "axum", "nginx", "node", "asyncio")),
        ),
        (),
        (3, 1),
        measure="memory",
    ),
)
