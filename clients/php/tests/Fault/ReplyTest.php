<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\Phase;
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
        self::assertSame('', $e->partialReply);
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
        $client = $this->client(replyEnds: ReplyEnds::AtNewline);
        self::assertSame("one\n", $client->call("hello\n"));
        self::assertSame("one\n", $client->call("hello\n"), 'A second call must not see the rest of the first');
    }

    public function testALineBeforeTheRequestIsRead(): void
    {
        $this->serve('answers-a-line-before-it-reads');
        $client = $this->client(replyEnds: ReplyEnds::AtNewline);
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
        $client = $this->impatientClient(replyEnds: ReplyEnds::AtNewline);
        $e = self::thrown(TimeoutException::class, fn () => $client->call('hello'));
        self::assertSame(Phase::Receive, $e->phase);
        self::assertMatchesRegularExpression('/^x+$/', $e->partialReply);
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
        self::assertSame('', $e->partialReply);
        self::assertSame(0, $e->errno);
        self::assertStringContainsString('without a reply', $e->getMessage());
    }

    public function testClosesInMidLine(): void
    {
        $this->serve('closes-in-mid-line');
        $client = $this->client(replyEnds: ReplyEnds::AtNewline);
        $e = self::thrown(ConnectionLostException::class, fn () => $client->call('hello'));
        self::assertSame('half a l', $e->partialReply);
        self::assertStringContainsString('before the newline', $e->getMessage());
    }

    public function testResetsInMidReply(): void
    {
        $this->serve('resets-in-mid-reply');
        $e = self::thrown(ConnectionLostException::class, fn () => $this->client()->call('hello'));
        self::assertTrue($e->requestMayHaveRun);
        self::assertSame('half a r', $e->partialReply);
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
        $client = $this->client(replyEnds: ReplyEnds::AtNewline);
        self::thrown(ServerErrorException::class, fn () => $client->call(str_repeat('x', 1 << 20)));
    }
}
