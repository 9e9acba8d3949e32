<?php

declare(strict_types=1);

namespace Unhang\Tests\Kept;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\ReplyTooLargeException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\TimeoutException;
use Unhang\Keep;
use Unhang\Tests\Support\Process;

/**
 * No answer may ever reach another request.
 */
final class KeepTest extends KeptTestCase
{
    public function testAConnectionPerCall(): void
    {
        $this->serve();
        $client = $this->client(Keep::No);
        self::assertSame(['1 a', '2 b'], [$client->call('a'), $client->call('b')]);
    }

    public function testAConnectionPerClient(): void
    {
        $this->serve();
        [$one, $two] = [$this->client(Keep::Request), $this->client(Keep::Request)];
        self::assertSame(['1 a', '1 b'], [$one->call('a'), $one->call('b')]);
        self::assertSame(['2 c', '1 d'], [$two->call('c'), $one->call('d')]);
    }

    public function testAConnectionPerWorker(): void
    {
        $this->serve();
        $path = $this->path();
        $client = fn () => $this->client(Keep::Worker);
        self::assertSame(['1 a', '1 b', '1 c'], [$client()->call('a'), $client()->call('b'), $client()->call('c')]);
        // Another spelling of the same path is another connection to PHP.
        self::assertSame('2 d', $this->client(Keep::Worker, path: "$this->directory/./" . basename($path))->call('d'));
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testARefusalKeepsTheConnection(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep);
        self::assertSame('1 a', $client->call('a'));
        self::thrown(ServerErrorException::class, fn () => $client->call('refuse'));
        self::assertSame('1 b', $client->call('b'));
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testTwoLinesInOneMessageAreRefusedBeforeAnythingIsSent(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep);
        self::assertSame('1 a', $client->call("a\n"));
        self::thrown(InvalidArgumentException::class, fn () => $client->call("a\nb\n"));
        self::assertSame('1 b', $client->call('b'));
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testALateAnswerIsForNobody(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep);
        self::assertSame('1 a', $client->call('a'));
        self::thrown(TimeoutException::class, fn () => $client->call('hold alice', 0.1));
        self::assertSame('2 bob', $client->call('bob'));
        self::assertSame('2 carol', $client->call('carol'));
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testAReplyTooLargeClosesTheConnection(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep, maxReply: 1000);
        self::assertSame('1 a', $client->call('a'));
        self::thrown(ReplyTooLargeException::class, fn () => $client->call('endless'));
        self::assertSame('2 b', $client->call('b'));
    }

    /**
     * The server shuts its input: the send fails, so it has nothing of the request, and a new connection may carry it.
     *
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testAnIdleConnectionThatTheServerEndsLosesNoRequest(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep);
        self::assertSame('1 deaf', $client->call('deaf'));
        self::assertSame('2 a', $client->call('a'));
        self::assertSame('2 b', $client->call('b'));
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testTheServerRestarts(Keep $keep): void
    {
        $server = $this->serve();
        $client = $this->client($keep);
        self::assertSame('1 a', $client->call('a'));
        $server->signal(Process::SIGKILL);
        $server->exitCode();
        unlink($this->path());
        $this->serve();
        self::assertSame('1 b', $client->call('b'));
    }

    /**
     * @dataProvider kept
     * @requires extension pcntl
     * @requires extension posix
     */
    #[DataProvider('kept')]
    #[RequiresPhpExtension('pcntl')]
    #[RequiresPhpExtension('posix')]
    public function testAForkHasAConnectionOfItsOwn(Keep $keep): void
    {
        $this->serve();
        $script = <<<'PHP'
            require $argv[1];
            $client = new Unhang\Client(
                $argv[2],
                timeout: 20,
                wire: Unhang\Wire::lines(),
                keep: Unhang\Keep::from($argv[3]),
            );
            echo $client->call('before'), ',';
            $child = pcntl_fork();
            if ($child === 0) {
                echo $client->call('child'), ',';
                posix_kill(getmypid(), SIGKILL);
            }
            pcntl_waitpid($child, $status);
            echo $client->call('parent'), "\n";
            PHP;
        $process = $this->start(
            [PHP_BINARY, '-r', $script, dirname(__DIR__) . '/bootstrap.php', $this->path(), $keep->value],
            "\n",
        );
        self::assertSame("1 before,2 child,1 parent\n", $process->seen());
    }

    /**
     * PHP gives both the same persistent stream.
     *
     * @dataProvider kept
     * @requires extension pcntl
     * @requires extension posix
     */
    #[DataProvider('kept')]
    #[RequiresPhpExtension('pcntl')]
    #[RequiresPhpExtension('posix')]
    public function testACallInTheMiddleOfAnother(Keep $keep): void
    {
        $this->serve();
        $client = $this->client($keep);
        $other = $this->client($keep);
        $inner = [];
        $async = pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, static function () use ($client, $other, &$inner): void {
            $inner = [$client->call('inner'), $other->call('other')];
        });
        try {
            $alarm = proc_open(['sh', '-c', 'sleep 0.2; kill -USR1 ' . getmypid()], [], $pipes);
            self::assertSame('1 hold outer', $client->call('hold outer'));
            proc_close($alarm);
        } finally {
            pcntl_signal(SIGUSR1, SIG_IGN);
            pcntl_async_signals($async);
        }
        self::assertSame(['2 inner', '3 other'], $inner);
        self::assertContains($client->call('after'), ['1 after', '2 after']);
    }

    /**
     * @dataProvider kept
     */
    #[DataProvider('kept')]
    public function testAClientThatIsGoneClosesOnlyWhatIsItsOwn(Keep $keep): void
    {
        $this->serve();
        $this->client($keep)->call('a');
        $next = $this->client($keep)->call('b');
        self::assertSame($keep === Keep::Worker ? '1 b' : '2 b', $next);
    }

    /**
     * @return iterable<string, array{Keep}>
     */
    public static function kept(): iterable
    {
        yield 'per client' => [Keep::Request];
        yield 'per worker' => [Keep::Worker];
    }
}
