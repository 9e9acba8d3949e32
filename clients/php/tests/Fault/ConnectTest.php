<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Exception\ConnectException;
use Unhang\Exception\ConnectFailure;

final class ConnectTest extends FaultTestCase
{
    public function testNoFile(): void
    {
        $this->assertRefused(ConnectFailure::NoSuchFile, 2, 'correct the path');
    }

    public function testAFileInPlaceOfADirectory(): void
    {
        touch($this->path('file'));
        $this->assertRefused(ConnectFailure::NoSuchFile, 20, 'Not a directory', $this->path('file/test.sock'));
    }

    public function testStaleFile(): void
    {
        fclose(stream_socket_server('unix://' . $this->path()));
        $this->assertRefused(ConnectFailure::NobodyListens, 111, 'start the server');
    }

    public function testAbstractNameNobodyHas(): void
    {
        $this->assertRefused(ConnectFailure::NobodyListens, 111, '@unhang-', '@unhang-' . bin2hex(random_bytes(8)));
    }

    public function testRegularFile(): void
    {
        touch($this->path());
        $this->assertRefused(ConnectFailure::NotAStreamSocket, 111, 'it is a regular file');
    }

    public function testDirectory(): void
    {
        $this->assertRefused(ConnectFailure::NotAStreamSocket, 111, 'it is a directory', $this->directory);
    }

    public function testDatagramSocket(): void
    {
        $socket = stream_socket_server('udg://' . $this->path(), $errno, $error, STREAM_SERVER_BIND);
        $this->assertRefused(ConnectFailure::NotAStreamSocket, 91, 'Only a stream socket');
        fclose($socket);
    }

    /**
     * @requires extension posix
     */
    #[RequiresPhpExtension('posix')]
    public function testPermissionDenied(): void
    {
        $this->assertRefused(ConnectFailure::NoSuchFile, 2, 'path'); // Loads all the classes while they may be read.
        $socket = stream_socket_server('unix://' . $this->path());
        chmod($this->path(), 0);
        $user = posix_geteuid();
        posix_seteuid($user === 0 ? 65_534 : $user);
        try {
            $this->assertRefused(ConnectFailure::PermissionDenied, 13, 'write permission');
        } finally {
            posix_seteuid($user);
            fclose($socket);
        }
    }

    /**
     * @requires extension posix
     */
    #[RequiresPhpExtension('posix')]
    public function testNoDescriptorLeft(): void
    {
        $script = <<<'PHP'
            require $argv[1];
            class_exists(Unhang\Exception\ConnectException::class);
            class_exists(Unhang\Exception\CallException::class);
            class_exists(Unhang\Exception\ConnectFailure::class);
            $client = new Unhang\Client($argv[2]);
            try {
                $client->call('');
            } catch (Unhang\Exception\ConnectException) {
            }
            posix_setrlimit(POSIX_RLIMIT_NOFILE, 32, 32);
            while ($files[] = @fopen('/dev/null', 'r'));
            try {
                $client->call('');
            } catch (Unhang\Exception\ConnectException $e) {
                echo $e->reason->name, ' ', $e->errno, ': ', $e->getMessage(), "\n";
            }
            PHP;
        // With ext/sockets, if it is there, and by streams alone.
        foreach ([[], ['-d', 'disable_functions=socket_create']] as $settings) {
            $command = [PHP_BINARY, ...$settings, '-r', $script, dirname(__DIR__) . '/bootstrap.php', $this->path()];
            $this->start($command, "NoDescriptorLeft 24: Cannot connect to {$this->path()}");
            $this->addToAssertionCount(1);
        }
    }

    public function testOpenBasedirForbidsToLook(): void
    {
        touch($this->path());
        $script = <<<'PHP'
            set_error_handler(static fn ($level, $message) => exit("Escaped: $message\n"));
            require $argv[1];
            try {
                (new Unhang\Client($argv[2]))->call('');
            } catch (Unhang\Exception\ConnectException $e) {
                echo $e->reason->name, "\n";
            }
            PHP;
        $package = dirname(__DIR__, 2);
        $command = [PHP_BINARY, '-d', "open_basedir=$package", '-r', $script];

        // The best that can be said without looking.
        $this->start([...$command, "$package/tests/bootstrap.php", $this->path()], "NobodyListens\n");
        $this->addToAssertionCount(1);
    }

    /**
     * A function that is missing is an Error of PHP, and no application would catch that.
     *
     * @dataProvider functions
     */
    #[DataProvider('functions')]
    public function testDisabledFunctionIsToldOrNotMissed(string $function): void
    {
        $this->serve('digests');
        $script = <<<'PHP'
            require $argv[1];
            try {
                echo (new Unhang\Client($argv[2], timeout: 20))->call('hello'), "\n";
            } catch (Unhang\Exception\UnsupportedException $e) {
                echo $e->getMessage(), "\n";
            }
            PHP;
        $settings = ['-d', "disable_functions=$function", '-d', 'display_errors=stderr'];
        $process = $this->start(
            [PHP_BINARY, ...$settings, '-r', $script, dirname(__DIR__) . '/bootstrap.php', $this->path()],
            "\n",
        );
        self::assertMatchesRegularExpression(
            '/\A(' . md5('hello') . "|PHP here has no function \w+\(\), .* disable_functions .*)\n\z/",
            $process->seen(),
        );
    }

    /**
     * Every function that the package calls on the way of a call and that an administrator might take away.
     *
     * @return iterable<string, array{string}>
     */
    public static function functions(): iterable
    {
        $functions = [];
        foreach (self::sources() as $file) {
            preg_match_all(
                '/\b((?:stream|socket)_\w+|fopen|fread|fwrite|fclose|stat|usleep|getmypid|hrtime|clearstatcache)\(/',
                (string) file_get_contents($file),
                $m,
            );
            $functions += array_flip($m[1]);
        }
        self::assertGreaterThan(15, count($functions));
        foreach (array_keys($functions) as $function) {
            yield $function => [$function];
        }
    }

    /**
     * A container that has the socket mounted, not its directory, keeps the file that the server has deleted.
     */
    public function testAMountOfADeletedFile(): void
    {
        fclose(stream_socket_server('unix://' . $this->path()));
        $script = <<<'PHP'
            require $argv[1];
            try {
                (new Unhang\Client($argv[2]))->call('');
            } catch (Unhang\Exception\ConnectException $e) {
                echo $e->reason->name, ': ', $e->getMessage(), "\n";
            }
            PHP;
        touch($this->path('mount'));
        $shell = 'mount --bind "$1" "$2" && rm "$1" && exec "$3" -r "$4" "$5" "$2" || echo cannot mount';
        $process = $this->start(
            [
                'unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', $shell, 'sh',
                $this->path(), $this->path('mount'), PHP_BINARY, $script, dirname(__DIR__) . '/bootstrap.php',
            ],
            "\n",
        );
        if ($process->seen() === "cannot mount\n") {
            self::markTestSkipped('This user may not mount');
        }
        self::assertStringContainsString('NobodyListens', $process->seen());
        self::assertStringContainsString('Mount the directory, not the socket', $process->seen());
    }

    public function testFullQueueUntilTheDeadline(): void
    {
        $socket = $this->listenWithShortQueue();
        $waiting = $this->fillQueue();
        $e = $this->assertRefused(ConnectFailure::QueueFull, 11, 'stayed full');
        self::assertGreaterThanOrEqual(0.3, $e->elapsed);
        array_map('fclose', $waiting);
        fclose($socket);
    }

    public function testFullQueueThatMovesOn(): void
    {
        $server = $this->serve('accepts-when-told');
        $waiting = $this->fillQueue();
        $server->tell('go on');
        array_map(static fn ($stream) => stream_socket_shutdown($stream, STREAM_SHUT_WR), $waiting);

        self::assertSame('accepted', $this->client()->call('hello'));
        array_map('fclose', $waiting);
    }

    public function testAbstractName(): void
    {
        $name = '@unhang-' . bin2hex(random_bytes(8));
        $this->serve('digests', $name);
        self::assertSame(md5('hello'), $this->client(path: $name)->call('hello'));
    }

    public function testLongestAbstractName(): void
    {
        $name = '@' . str_pad(bin2hex(random_bytes(8)), 107, 'x');
        $this->serve('digests', $name);
        self::assertSame(md5('hello'), $this->client(path: $name)->call('hello'));
    }

    public function testRelativePath(): void
    {
        $this->serve('digests');
        $before = getcwd();
        chdir($this->directory);
        try {
            self::assertSame(md5('hello'), $this->client(path: 'test.sock')->call('hello'));
        } finally {
            chdir($before);
        }
    }

    /**
     * @return iterable<string>
     */
    private static function sources(): iterable
    {
        $directory = new \RecursiveDirectoryIterator(dirname(__DIR__, 2) . '/src', \FilesystemIterator::SKIP_DOTS);
        foreach (new \RecursiveIteratorIterator($directory) as $file) {
            yield (string) $file;
        }
    }

    private function assertRefused(
        ConnectFailure $reason,
        int $errno,
        string $message,
        ?string $path = null,
    ): ConnectException {
        $path ??= $this->path();
        // Only a full queue is worth waiting for, so nothing else may use up the time of a patient client.
        $timeout = $reason === ConnectFailure::QueueFull ? 0.3 : 20.0;
        $client = $this->client(path: $path, timeout: $timeout);
        $e = self::thrown(ConnectException::class, static fn () => $client->call('hello'));
        self::assertSame($reason, $e->reason);
        self::assertSame($errno, $e->errno);
        self::assertSame($path, $e->path);
        self::assertStringContainsString($message, $e->getMessage());

        return $e;
    }

    /**
     * @return resource
     */
    private function listenWithShortQueue()
    {
        $context = stream_context_create(['socket' => ['backlog' => 1]]);
        $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;

        return stream_socket_server('unix://' . $this->path(), $errno, $error, $flags, $context);
    }

    /**
     * @return list<resource>
     */
    private function fillQueue(): array
    {
        $waiting = [];
        while ($stream = @stream_socket_client('unix://' . $this->path(), $errno)) {
            $waiting[] = $stream;
        }
        self::assertSame(11, $errno);
        $this->takeWarnings();

        return $waiting;
    }
}
