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
use Unhang\Exception\ProtocolException;
use Unhang\Exception\ReplyTooLargeException;
use Unhang\Exception\RequestNotTakenException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Exception\UnhangException;
use Unhang\Keep;

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

    public function testEnumsHaveValuesThatALogCanHold(): void
    {
        self::assertSame(ConnectFailure::QueueFull, ConnectFailure::from('queue_full'));
        self::assertSame(Phase::Receive, Phase::from('receive'));
        self::assertSame(Keep::Worker, Keep::from('worker'));
    }

    public function testContextIsPlainAndSaysWhetherARetryIsSafe(): void
    {
        $refused = new ConnectException("/run/\e.sock", ConnectFailure::QueueFull, 11, elapsed: 1.23456);
        self::assertSame(
            [
                'kind' => 'queue_full',
                'path' => '/run/\x1b.sock',
                'errno' => 11,
                'elapsed' => 1.235,
                'reply_bytes' => 0,
                'retry_safe' => true,
            ],
            $refused->context(),
        );
        $late = new TimeoutException(self::PATH, Phase::Receive, 2.0, 2.0, 'secret');
        self::assertFalse($late->isRetrySafe());
        self::assertSame(6, $late->context()['reply_bytes']);
        self::assertStringNotContainsString('secret', print_r($late->context(), true));
        self::assertTrue((new TimeoutException(self::PATH, Phase::Connect, 2.0, 2.0))->isRetrySafe());
        self::assertTrue((new ConnectionLostException(self::PATH, false))->isRetrySafe());
        self::assertFalse((new ConnectionLostException(self::PATH, true))->isRetrySafe());
        self::assertFalse((new ServerErrorException(self::PATH, 'busy'))->isRetrySafe());
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
            new TimeoutException($path, Phase::Receive, 2.0, 2.001, 'abc'), 0, '3 bytes without a newline', '::when()',
        ];
        yield 'no time left' => [
            new TimeoutException($path, Phase::Connect, 2.0, 2.001), 0, 'was not called', 'shared',
        ];
        yield 'a mount' => [
            new ConnectException($path, ConnectFailure::NobodyListens, 111, deletedFile: true),
            111,
            'link count is 0',
            'Mount the directory',
        ];
        yield 'nobody listens' => [
            new ConnectException($path, ConnectFailure::NobodyListens, 111), 111, 'Nobody listens', 'stays behind',
        ];
        yield 'still coming' => [
            new NotClosedException($path, 'abc', 0.001, 2.0), 0, '0.001 s before', 'raise the timeout',
        ];
        yield 'not closed' => [
            new NotClosedException($path, "abc\n", 2.003, 2.0), 0, 'for 2 s within the timeout of 2 s', '::newline()',
        ];
        yield 'not closed in JSON' => [
            new NotClosedException($path, '{"ok":true}', 1.957, 2.0), 0, 'nothing for 2.0 s', 'ReplyEnds::json()',
        ];
        yield 'not closed in HTTP' => [
            new NotClosedException($path, "HTTP/1.1 200 OK\r\n", 0.4567, 2.0), 0, 'nothing for 0.46 s', 'Wire::http()',
        ];
        yield 'not closed after a length' => [
            new NotClosedException($path, "\0\0\0\x02ab", 1.0, 2.0), 0, 'its own length', 'ReplyEnds::lengthPrefix()',
        ];
        yield 'not closed after NUL' => [
            new NotClosedException($path, "ab\0", 1.0, 2.0), 0, 'NUL', 'ReplyEnds::delimiter("\0")',
        ];
        yield 'closed' => [
            new ConnectionLostException($path, true), 0, 'without a reply', 'only if that does no harm',
        ];
        yield 'reset' => [
            new ConnectionLostException($path, true, 'abc', 104), 104, 'after 3 bytes of reply', 'may have run',
        ];
        yield 'took a half-close for the end' => [
            new ConnectionLostException($path, true, halfClosed: true), 0, 'Node.js', 'halfClose: false',
        ];
        yield 'took a part' => [
            new RequestNotTakenException($path, 'abc', 10, 20, 32), 32, '10 of the 20 bytes', 'read to the end first',
        ];
        yield 'closed without a newline' => [
            new ConnectionLostException($path, true, 'abc'), 0, 'before a newline', 'ReplyEnds::close()',
        ];
        yield 'something else' => [
            new ProtocolException($path, 'JSON', "\e<html>"), 0, 'else than JSON', 'begins with "\x1b<html>"',
        ];
        yield 'not taken' => [
            new ConnectionLostException($path, false, '', 32), 32, 'without having read', 'repeating it is safe',
        ];
        yield 'too large' => [
            new ReplyTooLargeException($path, 10), 0, 'more than the 10 bytes', 'maxReply',
        ];
        yield 'HTTP error' => [
            new ServerErrorException($path, 'no such page', 404), 0, 'the error 404', 'no such page',
        ];
        yield 'error' => [
            new ServerErrorException($path, 'too busy'), 0, 'with an error', 'too busy',
        ];
    }
}
