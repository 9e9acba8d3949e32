<?php

declare(strict_types=1);

namespace Unhang\Tests\Fuzz;

use PHPUnit\Framework\TestCase;
use Unhang\Address;
use Unhang\Connect\Connections;
use Unhang\Connect\Connector;
use Unhang\Connect\Opened;
use Unhang\Deadline;
use Unhang\ErrorLine;
use Unhang\Exception\Phase;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;
use Unhang\Exchange;
use Unhang\Loop;
use Unhang\Printable;
use Unhang\Reader\HttpReader;
use Unhang\Reader\Malformed;
use Unhang\Reader\ReplyReader;
use Unhang\ReplyEnds;
use Unhang\Wire;

/**
 * What a stranger may send. Each case comes from a seed of its own, which a failure names: UNHANG_SEED tells that one
 * again, and UNHANG_CASES asks for more of them.
 */
final class ReplyFuzzTest extends TestCase
{
    private const CASES = 3000;
    private const MAX_REPLY = 200;

    /** What the readers look for, and what breaks them. */
    private const PIECES = [
        "\n", "\r\n", "\r\n\r\n", "\0", "\0\0\0\x05", "\x05\0", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", '{', '}', '[', ']',
        '"', '\\', '\\"', ':', ',', ' ', '1', '-1.5e3', 'true', 'null', 'nul', 'ERR ', "ERR busy\n", 'x', 'é', "\xFF",
        'HTTP/1.1 200 OK', "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", 'Content-Length: 5',
        'content-length:5', 'Transfer-Encoding: chunked', 'Connection: close', "5\r\nhello\r\n", "0\r\n\r\n", "5;a\r\n",
        'fffffffffffffffff', 'END', "\u{202E}", "\e[2J",
    ];

    public function testHowTheBytesAreCutChangesNothing(): void
    {
        $this->eachCase(function (): void {
            $kind = array_rand(self::readers());
            $bytes = self::bytes();
            $closed = mt_rand(0, 1) === 1;
            $whole = self::read(self::readers()[$kind], [$bytes], $closed);
            $cut = self::read(self::readers()[$kind], self::cut($bytes), $closed);
            self::assertSame($whole, $cut, "$kind: " . Printable::text($bytes, 2000));
            if (is_string($whole)) {
                self::assertLessThanOrEqual(self::MAX_REPLY + 8, strlen($whole));
            }
        });
    }

    public function testJsonEndsWhereItsWriterEndedIt(): void
    {
        $this->eachCase(static function (): void {
            $flags = [0, JSON_PRETTY_PRINT, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES];
            $json = json_encode(self::value(4), $flags[array_rand($flags)] | JSON_INVALID_UTF8_SUBSTITUTE);
            $behind = [' ', "\n", "\t{"][mt_rand(0, 2)];
            $read = self::read(ReplyEnds::json()->reader(1 << 20), self::cut($json . $behind), false);
            self::assertSame($json, $read);
        });
    }

    public function testHttpIsReadAsItWasWritten(): void
    {
        $this->eachCase(static function (): void {
            $body = self::bytes();
            $chunked = mt_rand(0, 1) === 1;
            $head = str_repeat("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", mt_rand(0, 2)) . "HTTP/1.1 200 OK\r\n";
            $written = $head . ($chunked
                ? "Transfer-Encoding: chunked\r\n\r\n" . self::chunks($body)
                : 'Content-Length: ' . strlen($body) . "\r\n\r\n$body");
            $reader = new HttpReader('GET', 1 << 20);
            self::assertSame($body, self::read($reader, self::cut("{$written}HTTP/1.1"), false, $length));
            self::assertSame(strlen($written), $length);
            self::assertTrue($reader->reusable());
        });
    }

    /**
     * The whole exchange on a real connection: it ends in its time, with a reply or with one of ours, and no warning.
     */
    public function testAnExchangeAlwaysEnds(): void
    {
        $warnings = [];
        set_error_handler(static function (int $level, string $message) use (&$warnings): bool {
            $warnings[] = $message;
            return true;
        });
        try {
            $this->eachCase(static function (): void {
                [$ours, $theirs] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
                stream_set_blocking($ours, false);
                stream_set_read_buffer($ours, 0);
                $bytes = self::bytes();
                fwrite($theirs, $bytes);
                $end = mt_rand(0, 2);
                if ($end === 0) {
                    stream_socket_shutdown($theirs, STREAM_SHUT_WR);
                } elseif ($end === 1) {
                    fclose($theirs);
                }
                $wires = self::wires();
                $wire = $wires[array_rand($wires)];
                $exchange = new Exchange(self::connection($ours), $wire, new Deadline(0.002), 'hello', self::MAX_REPLY);
                Loop::run([$exchange]);
                $result = $exchange->result();
                self::assertTrue(is_string($result) || $result instanceof UnhangException);
                $wasOpened = !($result instanceof TimeoutException && $result->phase === Phase::Connect);
                self::assertSame(!$wasOpened, is_resource($ours), 'The connection must be closed');
                if ($result instanceof UnhangException) {
                    $printable = '/\A[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{1,1500}\z/u';
                    self::assertSame(1, preg_match($printable, $result->getMessage()));
                }
            });
        } finally {
            restore_error_handler();
        }
        self::assertSame([], $warnings);
    }

    private function eachCase(\Closure $case): void
    {
        $seed = getenv('UNHANG_SEED');
        $seeds = $seed === false ? range(1, (int) (getenv('UNHANG_CASES') ?: self::CASES)) : [(int) $seed];
        foreach ($seeds as $seed) {
            mt_srand($seed);
            try {
                $case();
            } catch (\Throwable $e) {
                throw new \RuntimeException("With UNHANG_SEED=$seed: {$e->getMessage()}", previous: $e);
            }
        }
        $this->addToAssertionCount(count($seeds));
    }

    private static function bytes(): string
    {
        $bytes = '';
        for ($i = mt_rand(0, 12); $i > 0; $i--) {
            $bytes .= mt_rand(0, 9) === 0
                ? str_repeat(chr(mt_rand(0, 255)), mt_rand(1, 80))
                : self::PIECES[array_rand(self::PIECES)];
        }

        return $bytes;
    }

    /**
     * @return list<string>
     */
    private static function cut(string $bytes): array
    {
        for ($pieces = []; $bytes !== ''; $bytes = substr($bytes, strlen(end($pieces)))) {
            $pieces[] = substr($bytes, 0, mt_rand(1, mt_rand(1, 20)));
        }

        return $pieces;
    }

    private static function chunks(string $body): string
    {
        $chunks = array_map(
            static fn (string $piece): string => sprintf("%0*x\r\n%s\r\n", mt_rand(1, 4), strlen($piece), $piece),
            self::cut($body),
        );

        return implode('', $chunks) . "0\r\n" . str_repeat("X: y\r\n", mt_rand(0, 2)) . "\r\n";
    }

    private static function value(int $depth): mixed
    {
        // Numbers by themselves are not among the outermost: they end with what follows.
        return match (mt_rand($depth === 4 ? 3 : 0, $depth > 0 ? 5 : 3)) {
            0 => mt_rand(-1000, 1000) / 8,
            1 => null,
            2 => mt_rand(0, 1) === 1,
            3 => self::bytes(),
            4 => array_map(static fn () => self::value($depth - 1), range(0, mt_rand(0, 4))),
            5 => (object) [self::bytes() . '-' => self::value($depth - 1), 'b' => self::value($depth - 1)],
        };
    }

    /**
     * @return array<string, ReplyReader>
     */
    private static function readers(): array
    {
        $readers = array_map(static fn (Wire $wire) => $wire->reader(self::MAX_REPLY), self::wires());

        return $readers + ['http head' => new HttpReader('HEAD', self::MAX_REPLY)];
    }

    /**
     * @return array<string, Wire>
     */
    private static function wires(): array
    {
        $ends = [
            'close' => ReplyEnds::close(),
            'newline' => ReplyEnds::newline(),
            'delimiter' => ReplyEnds::delimiter("\r\n\r\n"),
            'length 4' => ReplyEnds::lengthPrefix(),
            'length 2' => ReplyEnds::lengthPrefix(2, littleEndian: true),
            'length 8' => ReplyEnds::lengthPrefix(8),
            'json' => ReplyEnds::json(),
            'silence' => ReplyEnds::silence(0.001),
        ];
        $wires = array_map(static fn (ReplyEnds $one) => Wire::oneShot($one, halfClose: true), $ends);

        return $wires + ['lines' => Wire::lines(), 'http' => Wire::http()];
    }

    /**
     * What an exchange makes of it: the reply, what was wrong, or null if the end has not come.
     *
     * @param list<string> $pieces
     *
     * @return string|array{string}|null
     */
    private static function read(
        ReplyReader $reader,
        array $pieces,
        bool $closed,
        ?int &$length = null,
    ): string|array|null {
        $bytes = '';
        $length = null;
        try {
            foreach ($pieces as $piece) {
                $known = strlen($bytes);
                $bytes .= $piece;
                $length = $reader->length($bytes, $known);
                if (($length ?? strlen($bytes)) > $reader->limit()) {
                    return ['too long'];
                }
                if ($length !== null) {
                    break;
                }
            }
            if ($length === null && $closed && $reader->wholeAtClose($bytes)) {
                $length = strlen($bytes);
            }

            return $length === null ? null : $reader->reply(substr($bytes, 0, $length), '/');
        } catch (ServerErrorException $e) {
            return [$e->reason];
        } catch (Malformed) {
            // Which of two mistakes is found first depends on what has come.
            return ['malformed'];
        }
    }

    /**
     * @param resource $stream
     */
    private static function connection($stream): Connections
    {
        return new class (new Connector(new Address('@fuzz')), $stream) extends Connections {
            public function __construct(Connector $connector, private readonly mixed $stream)
            {
                parent::__construct($connector);
            }

            public function open(bool $anew): ?Opened
            {
                return new Opened($this->stream);
            }

            public function giveBack(Opened $connection): void
            {
                $this->close($connection);
            }
        };
    }
}
