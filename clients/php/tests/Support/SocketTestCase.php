<?php

declare(strict_types=1);

namespace Unhang\Tests\Support;

use PHPUnit\Framework\TestCase;

/**
 * A test with a directory of its own for sockets, and with the promise that no warning reaches the application.
 */
abstract class SocketTestCase extends TestCase
{
    protected string $directory;

    /** @var list<Process> */
    private array $processes = [];

    /** @var list<string> */
    private array $warnings = [];

    protected function setUp(): void
    {
        $this->directory = sys_get_temp_dir() . '/unhang-' . bin2hex(random_bytes(6));
        mkdir($this->directory);
        set_error_handler(function (int $level, string $message): bool {
            $this->warnings[] = $message;
            return true;
        });
    }

    protected function tearDown(): void
    {
        restore_error_handler();
        foreach ($this->processes as $process) {
            $process->end();
        }
        foreach (glob($this->directory . '/*') ?: [] as $file) {
            is_dir($file) ? rmdir($file) : unlink($file);
        }
        rmdir($this->directory);
        self::assertSame([], $this->warnings, 'PHP warnings reached the error handler');
    }

    protected function path(string $name = 'test.sock'): string
    {
        return "$this->directory/$name";
    }

    /**
     * @return list<string> the warnings so far; the test that asks for them expects them
     */
    protected function takeWarnings(): array
    {
        $warnings = $this->warnings;
        $this->warnings = [];

        return $warnings;
    }

    /**
     * @param list<string> $command
     * @param bool         $errors  look for it in what comes on stderr, too
     */
    protected function start(array $command, string $readyWhen, bool $errors = false): Process
    {
        $process = new Process($command, $errors);
        $this->processes[] = $process;
        $process->await($readyWhen);

        return $process;
    }

    /**
     * Runs the call, which must throw the given exception long before anyone would say that it hangs.
     *
     * @template T of \Throwable
     * @param class-string<T> $class
     * @return T
     */
    protected static function thrown(string $class, \Closure $call): \Throwable
    {
        $start = hrtime(true);
        try {
            $reply = $call();
        } catch (\Throwable $e) {
            self::assertInstanceOf($class, $e, (string) $e);
            self::assertLessThan(5.0, (hrtime(true) - $start) / 1e9, 'The call took too long');
            return $e;
        }
        self::fail("Expected $class, but the call returned " . substr(var_export($reply, true), 0, 100));
    }
}
