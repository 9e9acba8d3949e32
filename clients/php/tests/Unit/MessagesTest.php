<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Unhang\Exception\CallException;
use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectFailure;
use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\Phase;
use Unhang\Exception\ReplyTooLargeException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;

final class MessagesTest extends TestCase
{
    private const PATH = '/run/test.sock';

    /**
     * @dataProvider exceptions
     */
    #[DataProvider('exceptions')]
    public function testSaysWhereWhatAndWhatNext(CallException $e, int $errno, string $what, string $next): void
    {
        self::assertInstanceOf(UnhangException::class, $e);
        self::assertSame(self::PATH, $e->path);
        self::assertSame($errno, $e->errno);
        self::assertSame($errno, $e->getCode());
        self::assertStringContainsString(self::PATH, $e->getMessage());
        self::assertStringContainsString($what, $e->getMessage());
        self::assertStringContainsString($next, $e->getMessage());
    }

    public function testAnAbstractNameHasNoFileThatCouldStayBehind(): void
    {
        $e = new ConnectException('@name', ConnectFailure::NobodyListens, 111);
        self::assertStringContainsString('Nobody listens', $e->getMessage());
        self::assertStringNotContainsString('file', $e->getMessage());
    }

    /**
     * @return iterable<string, array{CallException, int, string, string}>
     */
    public static function exceptions(): iterable
    {
        $path = self::PATH;
        $error = 'No such file or directory';
        yield 'no file' => [
            new ConnectException($path, ConnectFailure::NoSuchFile, 2, $error), 2, "($error)", 'correct the path',
        ];
        yield 'queue full' => [
            new ConnectException($path, ConnectFailure::QueueFull, 11, elapsed: 1.5), 11, 'for 1.5 s', 'overloaded',
        ];
        yield 'not read' => [
            new TimeoutException($path, Phase::Send, 2.0, 2.001), 0, 'within 2 s', 'reads too slowly',
        ];
        yield 'not answered' => [
            new TimeoutException($path, Phase::Receive, 2.0, 2.001), 0, 'sent nothing', 'still working',
        ];
        yield 'no newline' => [
            new TimeoutException($path, Phase::Receive, 2.0, 2.001, 'abc'), 0, '3 bytes but no newline', 'AtClose',
        ];
        yield 'nobody listens' => [
            new ConnectException($path, ConnectFailure::NobodyListens, 111), 111, 'Nobody listens', 'stays behind',
        ];
        yield 'still coming' => [
            new NotClosedException($path, 'abc', 0.001, 2.0), 0, '0.001 s before', 'raise the timeout',
        ];
        yield 'not closed' => [
            new NotClosedException($path, 'abc', 1.9996, 2.0), 0, 'nothing for 2 s', 'AtNewline',
        ];
        yield 'closed' => [
            new ConnectionLostException($path, true), 0, 'without a reply', 'only if that does no harm',
        ];
        yield 'reset' => [
            new ConnectionLostException($path, true, 'abc', 104), 104, 'after 3 bytes of reply', 'may have run',
        ];
        yield 'not taken' => [
            new ConnectionLostException($path, false, '', 32), 32, 'without having read', 'repeating it is safe',
        ];
        yield 'too large' => [
            new ReplyTooLargeException($path, 10), 0, 'more than the 10 bytes', 'maxReply',
        ];
        yield 'error' => [
            new ServerErrorException($path, 'too busy'), 0, 'with an error', 'too busy',
        ];
    }
}
