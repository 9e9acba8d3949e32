<?php

/*
 * A server of lines that keeps its connections: php server.php PATH. It answers "N LINE", with N the number of the
 * connection, so that a test sees which one was used. Some lines ask for more:
 *
 *     hold LINE      the answer comes just before the next line that anybody sends is answered
 *     never          no answer comes
 *     meet N         the answer comes once N connections have said so
 *     deaf           after the answer, the server reads no more, as `unhang serve` ends an idle connection
 *     refuse         answers ERR
 *     endless        begins an answer and sends until the client has had enough
 *
 * It prints "ready" when it listens, and ends when its stdin does or after LIFE seconds.
 */

declare(strict_types=1);

const LIFE = 60;

$listener = stream_socket_server("unix://$argv[1]") ?: exit(1);
echo "ready\n";

/** @var array<int, resource> $peers by number */
$peers = [];
$buffers = [];
$accepted = 0;
$held = [];

/** They stay open, and nobody looks at them: to a reader they would have ended. */
$deaf = [];
$met = [];

$answer = static function (int $number, string $line) use (&$peers): void {
    if (isset($peers[$number])) {
        @fwrite($peers[$number], "$line\n");
    }
};

$handle = static function (int $number, string $line) use (&$peers, &$held, &$met, &$deaf, $answer): void {
    $words = explode(' ', $line);
    switch ($words[0]) {
        case 'hold':
            $held[$number] = "$number $line";
            break;
        case 'never':
            break;
        case 'meet':
            $met[] = $number;
            if (count($met) === (int) $words[1]) {
                array_map(static fn (int $one) => $answer($one, "$one $line"), $met);
                $met = [];
            }
            break;
        case 'deaf':
            // Before the answer: else the next request may be in the queue by then, and nobody reads it.
            stream_socket_shutdown($peers[$number], STREAM_SHUT_RD);
            $answer($number, "$number $line");
            $deaf[] = $peers[$number];
            unset($peers[$number]);
            break;
        case 'refuse':
            $answer($number, 'ERR no');
            break;
        case 'endless':
            stream_set_blocking($peers[$number], true);
            while (@fwrite($peers[$number], str_repeat('x', 65_536)) > 0);
            break;
        default:
            $answer($number, "$number $line");
    }
};

for ($end = time() + LIFE; time() < $end;) {
    $read = [...array_values($peers), $listener, STDIN];
    $none = null;
    stream_select($read, $none, $none, 1);
    if (in_array(STDIN, $read, true)) {
        exit;
    }
    if (in_array($listener, $read, true)) {
        $peers[++$accepted] = stream_socket_accept($listener);
        $buffers[$accepted] = '';
        stream_set_blocking($peers[$accepted], false);
    }
    foreach ($peers as $number => $peer) {
        if (!in_array($peer, $read, true)) {
            continue;
        }
        $bytes = fread($peer, 65_536);
        if (($bytes === '' || $bytes === false) && feof($peer)) {
            unset($peers[$number]);
            continue;
        }
        $lines = explode("\n", $buffers[$number] . $bytes);
        $buffers[$number] = array_pop($lines);
        foreach ($lines as $line) {
            array_map($answer, array_keys($held), $held);
            $held = [];
            $handle($number, $line);
        }
    }
}
