<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\Phase;
use Unhang\Exception\ProtocolException;
use Unhang\Exception\ReplyTooLargeException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\ReplyEnds;

final class ReplyTest extends FaultTestCase
{
    public function testNeverAnswers(): void
    {
        $this->serve('never-answers');
        $e = self::thrown(TimeoutException::class, fn () => $this->impatientClient()->call('hello'));
        self::assertSame(Phase::Receive, $e->phase);
        self::assertSame(0.3, $e->timeout);
        self::assertGreaterThanOrEqual(0.3, $e->elapsed);
        self::assertSame('', $e->reply);
        self::assertSame($this->path(), $e->path);
    }

    public function testAnswersAndNeverCloses(): void
    {
        $this->serve('never-closes');
        $e = self::thrown(NotClosedException::class, fn () => $this->impatientClient()->call('hello'));
        self::assertSame('the reply', $e->reply);
        self::assertGreaterThan(0.0, $e->silentFor);
        self::assertLessThan($e->timeout + 5.0, $e->silentFor);
        self::assertStringContainsString('close or half-close', $e->getMessage());
    }

    public function testAnswersALineAndNeverCloses(): void
    {
        $this->serve('answers-a-line-and-never-closes');
        $client = $this->client(replyEnds: ReplyEnds::newline());
        self::assertSame("one\n", $client->call("hello\n"));
        self::assertSame("one\n", $client->call("hello\n"), 'A second call must not see the rest of the first');
    }

    public function testALineBeforeTheRequestIsRead(): void
    {
        $this->serve('answers-a-line-before-it-reads');
        $client = $this->client(replyEnds: ReplyEnds::newline());
        self::assertSame("one\n", $client->call(str_repeat('x', 4 << 20)));
    }

    public function testOneByteAtATimeForEver(): void
    {
        $this->serve('drips');
        $e = self::thrown(NotClosedException::class, fn () => $this->impatientClient()->call('hello'));
        self::assertMatchesRegularExpression('/^x+$/', $e->reply);
    }

    public function testOneByteAtATimeWithoutANewline(): void
    {
        $this->serve('drips');
        $client = $this->impatientClient(replyEnds: ReplyEnds::newline());
        $e = self::thrown(TimeoutException::class, fn () => $client->call('hello'));
        self::assertSame(Phase::Receive, $e->phase);
        self::assertMatchesRegularExpression('/^x+$/', $e->reply);
    }

    public function testOneByteAtATimeUntilTheEnd(): void
    {
        $this->serve('drips-and-closes');
        self::assertSame(str_repeat('x', 40), $this->client()->call('hello'));
    }

    public function testClosesWithoutAReply(): void
    {
        $this->serve('closes');
        $e = self::thrown(ConnectionLostException::class, fn () => $this->client()->call('hello'));
        self::assertTrue($e->requestMayHaveRun);
        self::assertSame('', $e->reply);
        self::assertSame(0, $e->errno);
        self::assertStringContainsString('without a reply', $e->getMessage());
    }

    public function testClosesInMidLine(): void
    {
        $this->serve('closes-in-mid-line');
        $client = $this->client(replyEnds: ReplyEnds::newline());
        $e = self::thrown(ConnectionLostException::class, fn () => $client->call('hello'));
        self::assertSame('half a l', $e->reply);
        self::assertStringContainsString('before a newline', $e->getMessage());
    }

    public function testResetsInMidReply(): void
    {
        $this->serve('resets-in-mid-reply');
        $e = self::thrown(ConnectionLostException::class, fn () => $this->client()->call('hello'));
        self::assertTrue($e->requestMayHaveRun);
        self::assertSame('half a r', $e->reply);
        self::assertSame(104, $e->errno);
        self::assertSame(104, $e->getCode());
    }

    public function testFloods(): void
    {
        $this->serve('floods');
        $e = self::thrown(ReplyTooLargeException::class, fn () => $this->client(maxReply: 100_000)->call('hello'));
        self::assertSame(100_000, $e->limit);
    }

    public function testAsLongAsAllowed(): void
    {
        $this->serve('drips-and-closes');
        self::assertSame(str_repeat('x', 40), $this->client(maxReply: 40)->call('hello'));
        self::thrown(ReplyTooLargeException::class, fn () => $this->client(maxReply: 39)->call('hello'));
    }

    public function testErrorInMidRequest(): void
    {
        $this->serve('refuses-in-mid-request');
        $this->assertRefusal();
    }

    public function testErrorAndReadsNoMore(): void
    {
        $this->serve('refuses-and-reads-no-more');
        $this->assertRefusal();
    }

    public function testReplyThatOnlyBeginsLikeAnError(): void
    {
        $this->serve('quotes-an-error');
        self::assertSame(
            "ERR is how an error begins,\nbut this is a reply\n",
            $this->client()->call('hello'),
        );
    }

    public function testAnErrorOfManyBytesAndControlCharacters(): void
    {
        $reason = "\e[2J\r\0 \u{202E}txt.exe \xFF é " . str_repeat('x', 2_000_000);
        $this->serve('sends-this-and-closes', argument: base64_encode("ERR " . substr($reason, 0, 80_000) . "\n"));
        $e = self::thrown(ServerErrorException::class, fn () => $this->client()->call('hello'));
        self::assertSame(substr($reason, 0, 80_000), $e->reason);
        self::assertLessThan(500, strlen($e->getMessage()));
        self::assertStringContainsString('\x1b[2J\r\x00 \u{202e}txt.exe \xff é xxx', $e->getMessage());
        self::assertDoesNotMatchRegularExpression('/[\x00-\x1F\x7F]|\x{202E}/u', $e->getMessage());
    }

    /**
     * The classic hang with no close and no newline: one way to see the end must work, and the others must name it.
     */
    public function testJsonWithoutNewlineAndNeverCloses(): void
    {
        $this->serve('sends-this-and-keeps', argument: base64_encode('{"ok":true}'));
        self::assertSame('{"ok":true}', $this->client(replyEnds: ReplyEnds::json())->call('hello'));
        $e = self::thrown(NotClosedException::class, fn () => $this->impatientClient()->call('hello'));
        self::assertStringContainsString('ReplyEnds::json()', $e->getMessage());
        $client = $this->impatientClient(replyEnds: ReplyEnds::newline());
        $e = self::thrown(TimeoutException::class, fn () => $client->call('hello'));
        self::assertSame('{"ok":true}', $e->reply);
        self::assertStringContainsString('without a newline', $e->getMessage());
        self::assertStringContainsString('ReplyEnds::json()', $e->getMessage());
        self::assertStringNotContainsString('ReplyEnds::close()', $e->getMessage());
    }

    /**
     * @dataProvider ends
     */
    #[DataProvider('ends')]
    public function testSeesTheEndInBytes(ReplyEnds $ends, string $sent, string $reply): void
    {
        $this->serve('sends-this-and-keeps', $this->path('whole'), base64_encode($sent));
        $this->serve('sends-this-byte-by-byte', $this->path('bytes'), base64_encode($sent));
        foreach (['whole', 'bytes'] as $server) {
            self::assertSame($reply, $this->client(path: $this->path($server), replyEnds: $ends)->call('hello'));
        }
    }

    /**
     * @return iterable<string, array{ReplyEnds, string, string}>
     */
    public static function ends(): iterable
    {
        yield 'newline' => [ReplyEnds::newline(), "one\n", "one\n"];
        yield 'delimiter' => [ReplyEnds::delimiter("\r\n.\r\n"), "a\r\n.\r\r\n.\r\n", "a\r\n.\r\r\n.\r\n"];
        yield 'NUL' => [ReplyEnds::delimiter("\0"), "one\ntwo\0", "one\ntwo\0"];
        yield 'length' => [ReplyEnds::lengthPrefix(), "\0\0\0\x05a\nb\0c", "a\nb\0c"];
        yield 'length of nothing' => [ReplyEnds::lengthPrefix(2), "\0\0", ''];
        yield 'little length' => [ReplyEnds::lengthPrefix(8, littleEndian: true), "\x02\0\0\0\0\0\0\0ab", 'ab'];
        yield 'object' => [ReplyEnds::json(), '{"a":"}\\"","b":[{}]}', '{"a":"}\\"","b":[{}]}'];
        yield 'string' => [ReplyEnds::json(), ' "a\\\\"', ' "a\\\\"'];
        yield 'null' => [ReplyEnds::json(), 'null', 'null'];
        yield 'number' => [ReplyEnds::json(), "-1.5e3\n", '-1.5e3'];
        $isWhole = static fn (string $soFar): bool => str_ends_with($soFar, 'END');
        yield 'predicate' => [ReplyEnds::when($isWhole), 'one END', 'one END'];
        yield 'silence' => [ReplyEnds::silence(0.5), 'one', 'one'];
    }

    public function testSilenceEndsWithTheCloseToo(): void
    {
        $this->serve('drips-and-closes');
        self::assertSame(str_repeat('x', 40), $this->client(replyEnds: ReplyEnds::silence(20.0))->call('hello'));
    }

    public function testSilenceBeforeTheFirstByteIsNoReply(): void
    {
        $this->serve('never-answers');
        $client = $this->impatientClient(replyEnds: ReplyEnds::silence(0.01));
        self::thrown(TimeoutException::class, fn () => $client->call('hello'));
    }

    public function testAnErrorLineIsSeenWhateverEndWasExpected(): void
    {
        $this->serve('sends-this-and-keeps', argument: base64_encode("ERR busy: try again\n"));
        $all = [ReplyEnds::json(), ReplyEnds::lengthPrefix(), ReplyEnds::lengthPrefix(8), ReplyEnds::newline()];
        foreach ($all as $ends) {
            $client = $this->client(replyEnds: $ends);
            $e = self::thrown(ServerErrorException::class, fn () => $client->call('hello'));
            self::assertSame('busy: try again', $e->reason);
        }
    }

    public function testSomethingElseThanJson(): void
    {
        $this->serve('sends-this-and-keeps', argument: base64_encode("<html>\e"));
        $client = $this->client(replyEnds: ReplyEnds::json());
        $e = self::thrown(ProtocolException::class, fn () => $client->call('hello'));
        self::assertSame('JSON', $e->expected);
        self::assertStringContainsString('begins with "<html>\x1b"', $e->getMessage());
    }

    public function testALengthBeyondTheLimitIsNotWaitedFor(): void
    {
        $this->serve('sends-this-and-keeps', argument: base64_encode("\x7F\0\0\0"));
        $client = $this->client(replyEnds: ReplyEnds::lengthPrefix());
        self::thrown(ReplyTooLargeException::class, fn () => $client->call('hello'));
    }

    public function testThePredicateMayThrow(): void
    {
        $this->serve('never-closes');
        $client = $this->client(replyEnds: ReplyEnds::when(static fn () => throw new \DomainException('mine')));
        $before = count(get_resources('stream'));
        self::thrown(\DomainException::class, fn () => $client->call('hello'));
        self::assertCount($before, get_resources('stream'));
    }

    public function testTheRequestIsInNoStackTrace(): void
    {
        $this->serve('closes');
        $ignored = ini_set('zend.exception_ignore_args', '0');
        try {
            $e = self::thrown(ConnectionLostException::class, fn () => $this->client()->call('my secret'));
        } finally {
            ini_set('zend.exception_ignore_args', (string) $ignored);
        }
        $arguments = array_merge(...array_map(static fn (array $frame): array => $frame['args'] ?? [], $e->getTrace()));
        self::assertNotEmpty(array_filter($arguments, static fn ($one) => $one instanceof \SensitiveParameterValue));
        self::assertNotContains('my secret', $arguments);
        self::assertStringNotContainsString('my secret', print_r($e->context(), true));
    }

    private function assertRefusal(): void
    {
        // Often, since closing races with sending: whichever the client notices first, the reason must come out.
        for ($i = 0; $i < 20; $i++) {
            $e = self::thrown(
                ServerErrorException::class,
                fn () => $this->client()->call(str_repeat('x', 1 << 20)),
            );
            self::assertSame('the request is longer than 1000 bytes', $e->reason);
        }
        $client = $this->client(replyEnds: ReplyEnds::newline());
        self::thrown(ServerErrorException::class, fn () => $client->call(str_repeat('x', 1 << 20)));
    }
}
