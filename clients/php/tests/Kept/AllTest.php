<?php

declare(strict_types=1);

namespace Unhang\Tests\Kept;

use PHPUnit\Framework\Attributes\DataProvider;
use Unhang\Client;
use Unhang\Deadline;
use Unhang\Exception\ConnectException;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\Phase;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Keep;
use Unhang\Testing\FakeClient;

final class AllTest extends KeptTestCase
{
    /**
     * None is answered before all three have asked.
     *
     * @dataProvider keeps
     */
    #[DataProvider('keeps')]
    public function testCallsRunAtTheSameTime(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep);
        $replies = Client::all(
            ['x' => [$client, 'meet 3'], 7 => [$client, 'meet 3'], 'y' => [$this->client($keep), 'meet 3']],
            timeout: 20.0,
        );
        self::assertSame(['x', 7, 'y'], array_keys($replies));
        sort($replies);
        self::assertSame(['1 meet 3', '2 meet 3', '3 meet 3'], $replies);
        self::assertStringEndsWith(' after', $client->call('after'));
    }

    public function testOneThatFailsHasItsExceptionAndTheOthersTheirReplies(): void
    {
        $this->serve();
        $client = $this->client(Keep::No);
        $replies = Client::all([
            'nowhere' => [$this->client(Keep::No, path: $this->path('nowhere')), 'hello'],
            'refused' => [$client, 'refuse'],
            'late' => [$client, 'never'],
            'fake' => [new FakeClient('of course'), 'hello'],
            'answered' => [$client, 'hello'],
        ], timeout: 3.0);
        self::assertInstanceOf(ConnectException::class, $replies['nowhere']);
        self::assertInstanceOf(ServerErrorException::class, $replies['refused']);
        self::assertInstanceOf(TimeoutException::class, $replies['late']);
        self::assertSame('of course', $replies['fake']);
        self::assertStringEndsWith(' hello', $replies['answered']);
        self::assertSame(['nowhere', 'refused', 'late', 'fake', 'answered'], array_keys($replies));
    }

    public function testADeadlineThatIsSharedIsUsedUp(): void
    {
        $this->serve();
        $client = $this->client(Keep::No);
        $deadline = new Deadline(0.3);
        self::thrown(TimeoutException::class, fn () => $client->call('never', $deadline));
        $e = self::thrown(TimeoutException::class, fn () => $client->call('hello', $deadline));
        self::assertSame(Phase::Connect, $e->phase);
        self::assertTrue($e->isRetrySafe());
        foreach (Client::all([[$client, 'a'], [$client, 'b']], $deadline) as $e) {
            self::assertInstanceOf(TimeoutException::class, $e);
            self::assertSame(Phase::Connect, $e->phase);
        }
        self::assertSame('2 hello', $client->call('hello'));
    }

    public function testATimeoutOfOneCall(): void
    {
        $this->serve();
        $client = $this->client(Keep::No);
        $e = self::thrown(TimeoutException::class, fn () => $client->call('never', 0.1));
        self::assertSame(0.1, $e->timeout);
        self::thrown(InvalidArgumentException::class, fn () => $client->call('hello', 5000));
        self::assertSame('2 hello', $client->call('hello'));
    }

    public function testNothingToCall(): void
    {
        self::assertSame([], Client::all([], 1.0));
    }

    public function testSomethingElseThanCalls(): void
    {
        $this->serve();
        $client = $this->client(Keep::No);
        foreach (['hello', [$client], ['hello', $client], [$client, 5]] as $bad) {
            $e = self::thrown(
                InvalidArgumentException::class,
                fn () => Client::all(['good' => [$client, 'never sent'], 'bad' => $bad], 1.0),
            );
            self::assertStringContainsString('"bad"', $e->getMessage());
        }
        self::assertSame('1 hello', $client->call('hello'));
    }

    /**
     * @return iterable<string, array{Keep}>
     */
    public static function keeps(): iterable
    {
        foreach (Keep::cases() as $keep) {
            yield $keep->value => [$keep];
        }
    }
}
