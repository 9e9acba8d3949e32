<?php

/*
 * A small bad server: php server.php BEHAVIOUR PATH [ARGUMENT]. It prints "ready" when it listens, and ends when its
 * stdin does or after LIFE seconds.
 */

declare(strict_types=1);

const LIFE = 30;

[, $behaviour, $path] = $argv;
$argument = $argv[3] ?? '';

/** Waits for the next line from the test; ends the server if there is none. */
function told(): void
{
    $read = [STDIN];
    $none = null;
    if (stream_select($read, $none, $none, LIFE) !== 1 || fgets(STDIN) === false) {
        exit;
    }
}

/** Waits until the client has sent something, and leaves it unread. */
function untilSomethingCame($peer): void
{
    stream_set_timeout($peer, LIFE);
    stream_socket_recvfrom($peer, 1, STREAM_PEEK);
}

/** Keeps a connection open although its handler has returned. */
function keep($peer): void
{
    static $kept = [];
    $kept[] = $peer;
}

/** Writes bit by bit until the client has had enough. */
function drip($peer, string $bit, int $microseconds, int $times): void
{
    while ($times-- > 0 && @fwrite($peer, $bit) !== false) {
        usleep($microseconds);
    }
}

/**
 * A TCP connection whose last close() takes four seconds: nobody reads what it has still to send.
 *
 * @return resource
 */
function lingering()
{
    $listener = stream_socket_server('tcp://127.0.0.1:0');
    $stream = stream_socket_client('tcp://' . stream_socket_get_name($listener, false));
    socket_set_option(socket_import_stream($stream), SOL_SOCKET, SO_LINGER, ['l_onoff' => 1, 'l_linger' => 4]);
    keep(stream_socket_accept($listener));
    stream_set_blocking($stream, false);
    while (@fwrite($stream, str_repeat('x', 65_536)) > 0);

    return $stream;
}

$behaviours = [
    'digests' => static function ($peer): void {
        @fwrite($peer, md5(stream_get_contents($peer)));
    },
    'digests-slowly' => static function ($peer): void {
        $digest = hash_init('md5');
        while (($bytes = fread($peer, 8192)) !== '') {
            hash_update($digest, $bytes);
            usleep(500);
        }
        fwrite($peer, hash_final($digest));
    },
    'echoes' => static function ($peer): void {
        while (($bytes = fread($peer, 8192)) !== '') {
            fwrite($peer, $bytes);
        }
    },
    'never-answers' => static function ($peer): void {
        stream_get_contents($peer);
        keep($peer);
    },
    'never-reads' => static function ($peer): void {
        keep($peer);
    },
    'never-closes' => static function ($peer): void {
        stream_get_contents($peer);
        fwrite($peer, 'the reply');
        keep($peer);
    },
    'answers-a-line-and-never-closes' => static function ($peer): void {
        fgets($peer);
        fwrite($peer, "one\ntwo\n");
        keep($peer);
    },
    'answers-a-line-before-it-reads' => static function ($peer): void {
        fwrite($peer, "one\n");
        keep($peer);
    },
    'answers-and-half-closes-before-it-reads' => static function ($peer): void {
        fwrite($peer, 'early');
        stream_socket_shutdown($peer, STREAM_SHUT_WR);
        usleep(100_000);
        stream_get_contents($peer);
    },
    'drips' => static function ($peer): void {
        drip($peer, 'x', 20_000, LIFE * 50);
    },
    'drips-and-closes' => static function ($peer): void {
        stream_get_contents($peer);
        drip($peer, 'x', 2_000, 40);
    },
    'floods' => static function ($peer): void {
        drip($peer, str_repeat('x', 65_536), 0, 10_000);
    },
    'closes' => static function ($peer): void {
        stream_get_contents($peer);
    },
    'closes-in-mid-line' => static function ($peer): void {
        stream_get_contents($peer);
        fwrite($peer, 'half a l');
    },
    'resets-in-mid-reply' => static function ($peer): void {
        untilSomethingCame($peer);
        fwrite($peer, 'half a r');
    },
    'refuses-in-mid-request' => static function ($peer): void {
        fread($peer, 1000);
        fwrite($peer, "ERR the request is longer than 1000 bytes\n");
    },
    'refuses-and-reads-no-more' => static function ($peer): void {
        fread($peer, 1000);
        fwrite($peer, "ERR the request is longer than 1000 bytes\n");
        stream_socket_shutdown($peer, STREAM_SHUT_WR);
        keep($peer);
    },
    'takes-a-part-and-answers' => static function ($peer): void {
        fread($peer, 1000);
        stream_socket_shutdown($peer, STREAM_SHUT_RD);
        fwrite($peer, 'the reply');
    },
    'passes-lingering-sockets' => static function ($peer): void {
        untilSomethingCame($peer);
        for ($i = 0; $i < 5; $i++) {
            $passed = lingering();
            $control = ['level' => SOL_SOCKET, 'type' => SCM_RIGHTS, 'data' => [$passed]];
            if (!@socket_sendmsg(socket_import_stream($peer), ['iov' => ['x'], 'control' => [$control]], 0)) {
                // Refused, as a good client sees to. Closing it would hold this server.
                keep($passed);
                @fwrite($peer, 'x');
            }
        }
        stream_get_contents($peer);
    },
    'answers-and-passes-lingering-sockets' => static function ($peer): void {
        untilSomethingCame($peer);
        [$go, $wait] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $passed = lingering();
        // The client's copy must be the last, and this server must not wait for its own. So a child sends and ends: the
        // kernel does not linger for a process that ends.
        pcntl_signal(SIGCHLD, SIG_IGN);
        if (pcntl_fork() === 0) {
            fgets($wait);
            $control = ['level' => SOL_SOCKET, 'type' => SCM_RIGHTS, 'data' => [$passed]];
            socket_sendmsg(socket_import_stream($peer), ['iov' => ["one\nx"], 'control' => [$control]], 0);
            posix_kill(getmypid(), SIGKILL);
        }
        unset($passed);
        fwrite($go, "\n");
    },
    'sends-this-and-keeps' => static function ($peer) use ($argument): void {
        stream_get_contents($peer);
        fwrite($peer, base64_decode($argument));
        keep($peer);
    },
    'sends-this-and-closes' => static function ($peer) use ($argument): void {
        stream_get_contents($peer);
        fwrite($peer, base64_decode($argument));
    },
    'sends-this-byte-by-byte' => static function ($peer) use ($argument): void {
        stream_get_contents($peer);
        foreach (str_split(base64_decode($argument)) as $byte) {
            fwrite($peer, $byte);
            usleep(1000);
        }
        keep($peer);
    },
    'quotes-an-error' => static function ($peer): void {
        fwrite($peer, "ERR is how an error begins,\nbut this is a reply\n");
        stream_get_contents($peer);
    },
    'takes-half-close-for-the-end' => static function ($peer): void {
        fgets($peer);
        $read = [$peer];
        $none = null;
        if (stream_select($read, $none, $none, 0, 100_000) === 0) {
            fwrite($peer, 'still there');
        }
    },
    'pesters-and-answers' => static function ($peer) use ($argument): void {
        stream_get_contents($peer);
        for ($i = 0; $i < 20; $i++) {
            posix_kill((int) $argument, SIGUSR1);
            usleep(10_000);
        }
        fwrite($peer, 'at last');
    },
    'pesters' => static function ($peer) use ($argument): void {
        untilSomethingCame($peer);
        for ($i = 0; $i < 200; $i++) {
            posix_kill((int) $argument, SIGUSR1);
            usleep(10_000);
        }
    },
    'accepts-when-told' => static function ($peer): void {
        stream_get_contents($peer);
        fwrite($peer, 'accepted');
    },
];

$socket = stream_socket_server(
    'unix://' . (str_starts_with($path, '@') ? "\0" . substr($path, 1) : $path),
    $errno,
    $error,
    STREAM_SERVER_BIND | STREAM_SERVER_LISTEN,
    stream_context_create(['socket' => ['backlog' => $behaviour === 'accepts-when-told' ? 1 : 64]]),
);
if ($socket === false) {
    exit(1);
}
echo "ready\n";

if ($behaviour === 'accepts-when-told') {
    told();
    // Long enough that a client which is called right after telling finds the queue still full.
    usleep(300_000);
}

// One descriptor to wait on besides the socket: the end of stdin means that the test is over.
for ($end = time() + LIFE; time() < $end;) {
    $read = [$socket, STDIN];
    $none = null;
    stream_select($read, $none, $none, 1);
    if (in_array(STDIN, $read, true)) {
        exit;
    }
    if (in_array($socket, $read, true) && ($peer = stream_socket_accept($socket, 0)) !== false) {
        stream_set_timeout($peer, LIFE);
        $behaviours[$behaviour]($peer);
        unset($peer);
    }
}
