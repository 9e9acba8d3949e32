<?php

declare(strict_types=1);

namespace Unhang\Tests\Integration;

use Unhang\Client;
use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectFailure;
use Unhang\Exception\ServerErrorException;
use Unhang\ReplyEnds;
use Unhang\Tests\Support\Process;
use Unhang\Tests\Support\SocketTestCase;

/**
 * Against the real server. UNHANG_BIN names its binary; without it, the one that `cargo build` makes is taken.
 */
final class ServeTest extends SocketTestCase
{
    private const ANSWER = '/\AOK\+ at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)\n\z/';

    public function testAnswers(): void
    {
        $this->serve();
        self::assertMatchesRegularExpression(self::ANSWER, $this->client()->call('hello'));
    }

    public function testAnswersWithoutAHalfClose(): void
    {
        $this->serve();
        self::assertMatchesRegularExpression(self::ANSWER, $this->client(halfClose: false)->call('hello'));
    }

    public function testAnswersALine(): void
    {
        $this->serve('--until', 'newline');
        $client = $this->client(replyEnds: ReplyEnds::newline(), halfClose: false);
        self::assertMatchesRegularExpression(self::ANSWER, $client->call("hello\n"));
    }

    public function testAnswersManyCalls(): void
    {
        $this->serve();
        for ($i = 0; $i < 200; $i++) {
            self::assertMatchesRegularExpression(self::ANSWER, $this->client()->call("call $i"));
        }
    }

    public function testTakesALongRequest(): void
    {
        $this->serve('--until', 'half-close');
        self::assertMatchesRegularExpression(self::ANSWER, $this->client()->call(str_repeat('x', 1 << 20)));
    }

    public function testSaysWhyItDoesNotAnswer(): void
    {
        $this->serve('--until', 'half-close', '--max-request', '1KiB');
        foreach ([1025, 1 << 20, 8 << 20] as $bytes) {
            $e = self::thrown(
                ServerErrorException::class,
                fn () => $this->client()->call(str_repeat('x', $bytes)),
            );
            self::assertNotSame('', $e->reason);
        }
    }

    public function testKilledServer(): void
    {
        $server = $this->serve();
        $server->signal(Process::SIGKILL);
        $server->exitCode();

        $e = self::thrown(ConnectException::class, fn () => $this->client()->call('hello'));
        self::assertSame(ConnectFailure::NobodyListens, $e->reason);
    }

    public function testStoppedServer(): void
    {
        $server = $this->serve();
        $this->client()->call('hello');
        $server->signal(Process::SIGTERM);
        self::assertSame(0, $server->exitCode());

        $e = self::thrown(ConnectException::class, fn () => $this->client()->call('hello'));
        self::assertSame(ConnectFailure::NoSuchFile, $e->reason);
    }

    private function serve(string ...$options): Process
    {
        $binary = getenv('UNHANG_BIN') ?: dirname(__DIR__, 4) . '/target/debug/unhang';
        if (!is_executable($binary)) {
            self::markTestSkipped("No unhang at $binary: run `cargo build`, or set UNHANG_BIN");
        }

        return $this->start([$binary, 'serve', $this->path(), '--quiet', ...$options], 'listening on');
    }

    private function client(mixed ...$arguments): Client
    {
        return new Client(...$arguments + ['path' => $this->path(), 'timeout' => 20.0]);
    }
}
