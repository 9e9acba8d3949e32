<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\TestCase;
use Unhang\Exception\Phase;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;
use Unhang\Testing\FakeClient;

final class FakeClientTest extends TestCase
{
    public function testFollowsItsScriptAndRemembersTheCalls(): void
    {
        $timeout = new TimeoutException('/run/test.sock', Phase::Receive, timeout: 2.0, elapsed: 2.0);
        $client = new FakeClient('first', $timeout, '');

        self::assertSame('first', $client->call('a'));
        try {
            $client->call('b');
            self::fail('Expected the scripted exception');
        } catch (TimeoutException $e) {
            self::assertSame($timeout, $e);
        }
        self::assertSame('', $client->call('c'));
        self::assertSame(['a', 'b', 'c'], $client->calls());
    }

    public function testFailsLoudlyBeyondItsScript(): void
    {
        $client = new FakeClient('only');
        $client->call('a');
        try {
            $client->call('b');
            self::fail('Expected an exception');
        } catch (\LogicException $e) {
            self::assertNotInstanceOf(UnhangException::class, $e);
            self::assertStringContainsString('script for 1 calls, but this is call 2, with "b"', $e->getMessage());
        }
        self::assertSame(['a', 'b'], $client->calls());
    }

    public function testAFunctionAnswersItsCallOrAll(): void
    {
        $client = new FakeClient('first', static fn (string $message): string => strtoupper($message), 'third');
        self::assertSame(['first', 'B', 'third'], [$client->call('a'), $client->call('b'), $client->call('c')]);

        $client = FakeClient::answering(static fn (string $message): string => match ($message) {
            'good' => 'ok',
            default => throw new TimeoutException('/run/test.sock', Phase::Receive, timeout: 2.0, elapsed: 2.0),
        });
        self::assertSame(['ok', 'ok'], [$client->call('good', 0.5), $client->call('good')]);
        $this->expectException(TimeoutException::class);
        $client->call('bad');
    }
}
