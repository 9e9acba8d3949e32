<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Unhang\Circuit\ApcuStore;
use Unhang\Circuit\CircuitStore;
use Unhang\Circuit\ProcessStore;
use Unhang\CircuitBreaker;
use Unhang\Exception\CircuitOpenException;
use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectFailure;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\Phase;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;
use Unhang\Testing\FakeClient;

final class CircuitBreakerTest extends TestCase
{
    private string $name;

    protected function setUp(): void
    {
        $this->name = 'test-' . bin2hex(random_bytes(6));
    }

    /**
     * @dataProvider stores
     */
    #[DataProvider('stores')]
    public function testOpensAfterFailuresInARowAndClosesAfterAnAnswer(CircuitStore $store): void
    {
        $late = new TimeoutException('/s', Phase::Receive, 1.0, 1.0);
        $client = new FakeClient($late, 'ok', $late, $late, $late, 'ok again', 'and again');
        $breaker = new CircuitBreaker($client, $this->name, failures: 2, openFor: 0.2, store: $store);

        self::assertSame(['late', 'ok', 'late', 'late'], $this->outcomes($breaker, 4));
        self::assertSame(['open', 'open'], $this->outcomes($breaker, 2));
        // Another object of the same name knows, and one of another name does not.
        self::assertSame(['open'], $this->outcomes(new CircuitBreaker($client, $this->name, store: $store), 1));
        self::assertCount(4, $client->calls());

        usleep(250_000);
        self::assertSame(['late', 'open'], $this->outcomes($breaker, 2));
        usleep(250_000);
        self::assertSame(['ok again', 'and again'], $this->outcomes($breaker, 2));
    }

    /**
     * @dataProvider stores
     */
    #[DataProvider('stores')]
    public function testLetsOneThroughAtATime(CircuitStore $store): void
    {
        $store->open($this->name, hrtime(true) - 1);
        $second = new CircuitBreaker(new FakeClient(), $this->name, store: $store);
        $first = new CircuitBreaker(
            FakeClient::answering(function () use ($second): string {
                self::assertSame(['open'], $this->outcomes($second, 1));
                return 'ok';
            }),
            $this->name,
            store: $store,
        );
        self::assertSame(['ok'], $this->outcomes($first, 1));
        self::assertSame(0, $store->openUntil($this->name));
    }

    public function testAnAnswerIsNoFailureAndNoCallIsNeither(): void
    {
        $store = new ProcessStore();
        $late = new TimeoutException('/s', Phase::Receive, 1.0, 1.0);
        $script = [
            $late,
            new InvalidArgumentException('mine'),
            new TimeoutException('/s', Phase::Connect, 1.0, 1.0),
            new ServerErrorException('/s', 'no'),
            $late,
            new ConnectException('/s', ConnectFailure::NobodyListens),
        ];
        $breaker = new CircuitBreaker(new FakeClient(...$script), $this->name, failures: 2, store: $store);
        $this->outcomes($breaker, 5);
        self::assertSame(0, $store->openUntil($this->name));
        $this->outcomes($breaker, 1);
        self::assertGreaterThan(hrtime(true), $store->openUntil($this->name));
        try {
            $breaker->call('hello');
            self::fail('Expected an exception');
        } catch (CircuitOpenException $e) {
            self::assertTrue($e->isRetrySafe());
            self::assertSame('circuit_open', $e->context()['kind']);
            self::assertGreaterThan(0.0, $e->retryAfter);
            self::assertLessThanOrEqual(5.0, $e->retryAfter);
            self::assertStringContainsString($this->name, $e->getMessage());
        }
    }

    public function testTheServersExceptionsPassUnchanged(): void
    {
        $late = new TimeoutException('/s', Phase::Receive, 1.0, 1.0);
        try {
            (new CircuitBreaker(new FakeClient($late), $this->name, store: new ProcessStore()))->call('hello');
            self::fail('Expected an exception');
        } catch (TimeoutException $e) {
            self::assertSame($late, $e);
        }
    }

    public function testRefusesWhatCannotWork(): void
    {
        foreach ([['failures' => 0], ['openFor' => 0.0], ['openFor' => NAN], ['openFor' => 5000.0]] as $bad) {
            try {
                new CircuitBreaker(new FakeClient(), 'test', ...$bad);
                self::fail('Expected an exception');
            } catch (InvalidArgumentException $e) {
                self::assertStringContainsString('circuit breaker', $e->getMessage());
            }
        }
    }

    public function testApcuIsSharedAmongProcesses(): void
    {
        if (!extension_loaded('apcu') || !function_exists('pcntl_fork')) {
            self::markTestSkipped('Needs APCu and pcntl');
        }
        $script = <<<'PHP'
            require $argv[1];
            $store = new Unhang\Circuit\ApcuStore();
            for ($i = 0; $i < 4; $i++) {
                if (pcntl_fork() === 0) {
                    for ($j = 0; $j < 50; $j++) {
                        $store->failed('test');
                    }
                    exit;
                }
            }
            while (pcntl_wait($status) > 0);
            echo $store->failed('test'), "\n";
            PHP;
        $command = [PHP_BINARY, '-d', 'apc.enable_cli=1', '-r', $script, dirname(__DIR__) . '/bootstrap.php'];
        $process = proc_open($command, [1 => ['pipe', 'w']], $pipes);
        self::assertSame("201\n", stream_get_contents($pipes[1]));
        self::assertSame(0, proc_close($process));
    }

    /**
     * @return iterable<string, array{CircuitStore}>
     */
    public static function stores(): iterable
    {
        yield 'process' => [new ProcessStore()];
        if (ApcuStore::isUsable()) {
            yield 'APCu' => [new ApcuStore()];
        }
    }

    /**
     * @return list<string>
     */
    private function outcomes(CircuitBreaker $breaker, int $calls): array
    {
        $outcomes = [];
        for ($i = 0; $i < $calls; $i++) {
            try {
                $outcomes[] = $breaker->call('hello');
            } catch (CircuitOpenException) {
                $outcomes[] = 'open';
            } catch (UnhangException $e) {
                $outcomes[] = 'late';
            }
        }

        return $outcomes;
    }
}
