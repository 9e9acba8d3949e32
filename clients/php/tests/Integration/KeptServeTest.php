<?php

declare(strict_types=1);

namespace Unhang\Tests\Integration;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Client;
use Unhang\Exception\TimeoutException;
use Unhang\Keep;
use Unhang\Tests\Support\Process;
use Unhang\Tests\Support\SocketTestCase;
use Unhang\Wire;

/**
 * Kept connections to the real server, which answers what it was asked, and takes a second if that begins with "hold".
 */
final class KeptServeTest extends SocketTestCase
{
    private const ANSWER = 'read -r asked; case $asked in hold*) sleep 1;; esac; echo "$asked"';

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testEachCallGetsItsOwnAnswer(string $wire, Keep $keep): void
    {
        $this->serve($wire);
        $client = $this->client($wire, $keep);
        for ($i = 0; $i < 50; $i++) {
            self::assertSame("call $i", rtrim($client->call("call $i")));
        }
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testALateAnswerIsForNobody(string $wire, Keep $keep): void
    {
        $this->serve($wire);
        $client = $this->client($wire, $keep);
        self::assertSame('alice', rtrim($client->call('alice')));
        self::thrown(TimeoutException::class, fn () => $client->call('hold alice', 0.2));
        self::assertSame('bob', rtrim($client->call('bob')));
        self::assertSame('carol', rtrim($client->call('carol')));
    }

    /**
     * The server shuts the input of a connection before it ends it: a call then is sent anew, and never twice.
     *
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testAConnectionThatTheServerEndsLosesNoCall(string $wire, Keep $keep): void
    {
        // Longer than a new connection waits for its first request, also on a busy machine.
        $this->serve($wire, '--idle', '50ms');
        $client = $this->client($wire, $keep);
        for ($i = 0; $i < 40; $i++) {
            self::assertSame("call $i", rtrim($client->call("call $i")));
            usleep(random_int(47_000, 53_000));
        }
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testAServerThatIsReplacedLosesNoCall(string $wire, Keep $keep): void
    {
        $this->serve($wire);
        $client = $this->client($wire, $keep);
        for ($round = 0; $round < 5; $round++) {
            self::assertSame("before $round", rtrim($client->call("before $round")));
            $this->serve($wire, '--replace');
            self::assertSame("after $round", rtrim($client->call("after $round")));
        }
    }

    /**
     * A worker of PHP outlives its scripts, and so does its connection.
     *
     * @requires extension pcntl
     * @dataProvider deaths
     */
    #[DataProvider('deaths')]
    #[RequiresPhpExtension('pcntl')]
    public function testTheAnswerOfADeadScriptIsForNobody(string $wire, string $death): void
    {
        $this->serve($wire);
        $process = $this->start(
            [
                'env', "SOCKET={$this->path()}", "WIRE=$wire", PHP_BINARY, '-d', 'display_errors=0',
                '-d', 'log_errors=0', '-S', '127.0.0.1:0', dirname(__DIR__) . '/Kept/web.php',
            ],
            'started',
            errors: true,
        );
        self::assertSame(1, preg_match('~\((http://127\.0\.0\.1:\d+)\)~', $process->seen(), $m), $process->seen());
        $ask = static fn (array $query): string => rtrim((string) file_get_contents(
            "$m[1]/?" . http_build_query($query),
            false,
            stream_context_create(['http' => ['ignore_errors' => true, 'timeout' => 30]]),
        ));
        self::assertSame('before', $ask(['q' => 'before']));
        for ($round = 0; $round < 2; $round++) {
            self::assertStringNotContainsString('alice', $ask(['q' => 'hold alice', 'die' => $death]));
            self::assertSame('bob', $ask(['q' => 'bob']));
            self::assertSame('carol', $ask(['q' => 'carol']));
        }
    }

    /**
     * @return iterable<string, array{string, Keep}>
     */
    public static function kept(): iterable
    {
        foreach (['lines', 'http'] as $wire) {
            yield "$wire, for a client" => [$wire, Keep::Request];
            yield "$wire, for a worker" => [$wire, Keep::Worker];
        }
    }

    /**
     * @return iterable<string, array{string, string}>
     */
    public static function deaths(): iterable
    {
        foreach (['lines', 'http'] as $wire) {
            foreach (['exit', 'throw', 'fatal'] as $death) {
                yield "$wire, $death" => [$wire, $death];
            }
        }
    }

    private function serve(string $wire, string ...$options): Process
    {
        $binary = getenv('UNHANG_BIN') ?: dirname(__DIR__, 4) . '/target/debug/unhang';
        if (!is_executable($binary)) {
            self::markTestSkipped("No unhang at $binary: run `cargo build`, or set UNHANG_BIN");
        }
        $command = [$binary, 'serve', $this->path(), '--quiet', '--wire', $wire, ...$options];

        return $this->start([...$command, '--', 'sh', '-c', self::ANSWER], 'listening on');
    }

    private function client(string $wire, Keep $keep): Client
    {
        $wire = $wire === 'http' ? Wire::http() : Wire::lines();

        return new Client($this->path(), timeout: 20.0, wire: $wire, keep: $keep);
    }
}
