<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Exception\TimeoutException;

/**
 * @requires extension pcntl
 * @requires extension posix
 */
#[RequiresPhpExtension('pcntl')]
#[RequiresPhpExtension('posix')]
final class SignalTest extends FaultTestCase
{
    private int $signals = 0;
    private bool $async;

    protected function setUp(): void
    {
        parent::setUp();
        $this->async = pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, function (): void {
            $this->signals++;
        });
    }

    protected function tearDown(): void
    {
        pcntl_signal(SIGUSR1, SIG_IGN);
        pcntl_async_signals($this->async);
        parent::tearDown();
    }

    public function testSignalsDoNotCutTheWaitShort(): void
    {
        $this->serve('pesters-and-answers', argument: (string) getmypid());
        self::assertSame('at last', $this->client()->call('hello'));
        self::assertGreaterThan(1, $this->signals);
    }

    public function testSignalsDoNotPutTheDeadlineOff(): void
    {
        $this->serve('pesters', argument: (string) getmypid());
        self::thrown(TimeoutException::class, fn () => $this->impatientClient()->call('hello'));
        self::assertGreaterThan(1, $this->signals);
    }

    public function testAnExceptionFromASignalHandlerClosesTheConnection(): void
    {
        $this->serve('pesters', argument: (string) getmypid());
        pcntl_signal(SIGUSR1, static function (): void {
            pcntl_signal(SIGUSR1, SIG_IGN);
            throw new \DomainException('enough');
        });
        $before = count(get_resources('stream'));
        self::thrown(\DomainException::class, fn () => $this->client()->call('hello'));
        self::assertCount($before, get_resources('stream'));
    }
}
