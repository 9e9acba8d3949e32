<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\TestCase;
use Psr\Log\AbstractLogger;
use Psr\Log\LogLevel;
use Unhang\Exception\CircuitOpenException;
use Unhang\Exception\Phase;
use Unhang\Exception\TimeoutException;
use Unhang\LoggingClient;
use Unhang\Testing\FakeClient;

final class LoggingClientTest extends TestCase
{
    /** @var list<array{string, string, array<string, mixed>}> */
    private array $records = [];

    protected function setUp(): void
    {
        if (!class_exists(AbstractLogger::class) && is_file('/usr/share/php/Psr/Log/autoload.php')) {
            require_once '/usr/share/php/Psr/Log/autoload.php'; // Debian's package, without Composer.
        }
        if (!class_exists(AbstractLogger::class)) {
            self::markTestSkipped('psr/log is not installed');
        }
    }

    public function testAnAnswer(): void
    {
        $client = new LoggingClient(new FakeClient('my reply'), $this->logger(), 'stock', LogLevel::INFO);
        self::assertSame('my reply', $client->call('my secret'));
        [[$level, $message, $context]] = $this->records;
        self::assertSame(LogLevel::INFO, $level);
        self::assertSame('{server}: answered {reply_bytes} bytes in {seconds} s', $message);
        self::assertSame(['stock', 9, 8], [
            $context['server'],
            $context['request_bytes'],
            $context['reply_bytes'],
        ]);
        self::assertIsFloat($context['seconds']);
        self::assertStringNotContainsString('my ', print_r($this->records, true));
    }

    public function testAFailureIsLoggedAndThrown(): void
    {
        $late = new TimeoutException('/run/test.sock', Phase::Receive, 2.0, 2.001);
        $client = new LoggingClient(new FakeClient($late), $this->logger());
        try {
            $client->call('my secret', 2.0);
            self::fail('Expected an exception');
        } catch (TimeoutException $e) {
            self::assertSame($late, $e);
        }
        [[$level, $message, $context]] = $this->records;
        self::assertSame(LogLevel::ERROR, $level);
        self::assertStringContainsString('sent nothing within 2 s', $message);
        self::assertSame(['timeout', 'receive', $late], [$context['kind'], $context['phase'], $context['exception']]);
    }

    public function testASparedCallIsNoError(): void
    {
        $client = new LoggingClient(new FakeClient(new CircuitOpenException('stock', 1.0)), $this->logger());
        try {
            $client->call('hello');
        } catch (CircuitOpenException) {
        }
        self::assertSame(LogLevel::NOTICE, $this->records[0][0]);
    }

    private function logger(): AbstractLogger
    {
        $record = function (string $level, string $message, array $context): void {
            $this->records[] = [$level, $message, $context];
        };

        return new class ($record) extends AbstractLogger {
            public function __construct(private readonly \Closure $record)
            {
            }

            /** Untyped as in the oldest version of psr/log, so that it fits them all. */
            public function log($level, $message, array $context = []): void
            {
                ($this->record)((string) $level, (string) $message, $context);
            }
        };
    }
}
