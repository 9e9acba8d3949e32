<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Connect\PassedDescriptors;
use Unhang\Exception\ConnectionLostException;
use Unhang\Exception\DescriptorsPassedException;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\TimeoutException;
use Unhang\Keep;
use Unhang\ReplyEnds;
use Unhang\Wire;

/**
 * Servers that pass sockets whose close takes four seconds each. The process that closes the last copy waits.
 *
 * @requires extension sockets
 * @requires extension pcntl
 * @requires extension posix
 */
#[RequiresPhpExtension('sockets')]
#[RequiresPhpExtension('pcntl')]
#[RequiresPhpExtension('posix')]
final class PassedDescriptorsTest extends FaultTestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        if (!function_exists('socket_create')) {
            self::markTestSkipped('These tests run as if ext/sockets were missing');
        }
    }

    protected function tearDown(): void
    {
        self::pretend(83, null);
        parent::tearDown();
    }

    public function testTheKernelRefusesThem(): void
    {
        if (!@socket_set_option(socket_create(AF_UNIX, SOCK_STREAM, 0), SOL_SOCKET, 83, 0)) {
            $this->takeWarnings();
            self::markTestSkipped('This kernel has no SO_PASSRIGHTS, it came with Linux 6.16');
        }
        $this->serve('passes-lingering-sockets');
        $start = hrtime(true);
        self::assertSame('xxxxx', $this->client()->call('hello'));
        self::assertLessThan(20.0, (hrtime(true) - $start) / 1e9);
    }

    public function testAnOlderKernel(): void
    {
        self::pretend(9999, null);
        $this->serve('passes-lingering-sockets');
        $before = count(get_resources('stream'));
        $e = self::thrown(DescriptorsPassedException::class, fn () => $this->client()->call('hello'));
        self::assertSame('descriptors_passed', $e->context()['kind']);
        self::assertCount($before, get_resources('stream'));
    }

    public function testAnOlderKernelAndDescriptorsBehindTheReply(): void
    {
        self::pretend(9999, null);
        $this->serve('answers-and-passes-lingering-sockets');
        $client = $this->client(replyEnds: ReplyEnds::newline());
        for ($i = 0; $i < 3; $i++) {
            $start = hrtime(true);
            self::assertSame("one\n", $client->call('hello'));
            self::assertLessThan(3.0, (hrtime(true) - $start) / 1e9, 'The close was waited for');
        }
    }

    public function testAnOlderKernelAndAConnectionOfTheWorker(): void
    {
        self::pretend(9999, null);
        $this->serve('answers-and-passes-lingering-sockets');
        $client = $this->client(wire: Wire::lines(), keep: Keep::Worker);
        for ($i = 0; $i < 3; $i++) {
            $start = hrtime(true);
            self::assertSame('one', $client->call('hello'));
            self::assertLessThan(3.0, (hrtime(true) - $start) / 1e9, 'The close was waited for');
        }
    }

    /**
     * To look before it reads must change nothing else.
     *
     * @dataProvider others
     * @param class-string<\Throwable>|null $exception
     */
    #[DataProvider('others')]
    public function testAnOlderKernelAndOtherServers(string $behaviour, ?string $exception, string $reply): void
    {
        self::pretend(9999, null);
        $this->serve($behaviour);
        if ($exception === null) {
            self::assertTrue($reply === $this->client()->call($reply));
            return;
        }
        $e = self::thrown($exception, fn () => $this->client(timeout: 0.5)->call('hello'));
        self::assertSame($reply, $e->reply);
    }

    /**
     * @return iterable<string, array{string, class-string<\Throwable>|null, string}>
     */
    public static function others(): iterable
    {
        yield 'long' => ['echoes', null, str_repeat('0123456789', 100_000)];
        yield 'never closes' => ['never-closes', NotClosedException::class, 'the reply'];
        yield 'never answers' => ['never-answers', TimeoutException::class, ''];
        yield 'closes' => ['closes', ConnectionLostException::class, ''];
        yield 'resets' => ['resets-in-mid-reply', ConnectionLostException::class, 'half a r'];
    }

    private static function pretend(int $option, ?bool $refuses): void
    {
        foreach (['option' => $option, 'kernelRefuses' => $refuses] as $name => $value) {
            (new \ReflectionProperty(PassedDescriptors::class, $name))->setValue(null, $value);
        }
    }
}
