<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\Phase;
use Unhang\Exception\RequestNotTakenException;
use Unhang\Exception\TimeoutException;

final class RequestTest extends FaultTestCase
{
    public function testEveryByteArrives(): void
    {
        $this->serve('digests');
        foreach ([0, 1, 8192, 219_264, 262_144, 262_145, 1 << 20] as $bytes) {
            $message = $bytes === 0 ? '' : random_bytes($bytes);
            self::assertSame(md5($message), $this->client()->call($message), "$bytes bytes");
        }
    }

    public function testReadsSlowly(): void
    {
        $this->serve('digests-slowly');
        $message = random_bytes(1 << 20);
        self::assertSame(md5($message), $this->client()->call($message));
    }

    public function testNeverReads(): void
    {
        $this->serve('never-reads');
        $e = self::thrown(
            TimeoutException::class,
            fn () => $this->impatientClient()->call(str_repeat('x', 8 << 20)),
        );
        self::assertSame(Phase::Send, $e->phase);
    }

    public function testAnswersAndNeverReads(): void
    {
        $this->serve('answers-a-line-before-it-reads');
        $e = self::thrown(
            TimeoutException::class,
            fn () => $this->impatientClient()->call(str_repeat('x', 8 << 20)),
        );
        self::assertSame(Phase::Send, $e->phase);
        self::assertSame("one\n", $e->reply);
    }

    public function testAnswersWhileItReads(): void
    {
        $this->serve('echoes');
        $message = random_bytes(4 << 20);
        self::assertTrue($this->client()->call($message) === $message);
    }

    public function testTheWholeRequestIsSentAfterAnEarlyReply(): void
    {
        $this->serve('answers-and-half-closes-before-it-reads');
        self::assertSame('early', $this->client()->call(str_repeat('x', 4 << 20)));
    }

    public function testClosesInMidRequest(): void
    {
        $this->serve('resets-in-mid-reply');
        $e = self::thrown(
            RequestNotTakenException::class,
            fn () => $this->client()->call(str_repeat('x', 4 << 20)),
        );
        self::assertSame('half a r', $e->reply);
        self::assertContains($e->errno, [32, 104]);
    }

    /**
     * The reply looks whole, and the request was not: to pass it on would be a lie, to drop it a loss.
     */
    public function testTakesAPartAndAnswers(): void
    {
        $this->serve('takes-a-part-and-answers');
        $e = self::thrown(
            RequestNotTakenException::class,
            fn () => $this->client()->call(str_repeat('x', 6_000_000)),
        );
        self::assertSame('the reply', $e->reply);
        self::assertGreaterThanOrEqual(1000, $e->taken);
        self::assertStringContainsString("at most $e->taken of the 6000000 bytes", $e->getMessage());
    }

    public function testHalfClosesOnlyIfItMay(): void
    {
        $this->serve('takes-half-close-for-the-end');
        $e = self::thrown(ConnectionLostException::class, fn () => $this->client()->call("hello\n"));
        self::assertStringContainsString('use halfClose: false', $e->getMessage());
        self::assertSame('still there', $this->client(halfClose: false)->call("hello\n"));
    }

    /**
     * select() knows no descriptor above 1,023, and PHP's streams have no other way to wait for one or the other.
     */
    public function testManyOpenFiles(): void
    {
        // Before the files are opened, or the servers would inherit them.
        $this->serve('echoes', $this->path('echo.sock'));
        $this->serve('never-answers', $this->path('mute.sock'));
        $files = [];
        while (count($files) < 1100) {
            $file = @fopen('/dev/null', 'r');
            if ($file === false) {
                $this->takeWarnings();
                self::markTestSkipped('This process may not open 1,100 files');
            }
            $files[] = $file;
        }

        $message = random_bytes(1 << 20);
        self::assertTrue($this->client(path: $this->path('echo.sock'))->call($message) === $message);

        $client = $this->impatientClient(path: $this->path('mute.sock'));
        self::thrown(TimeoutException::class, static fn () => $client->call('hello'));
        array_map('fclose', $files);
    }
}
