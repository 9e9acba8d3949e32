<?php

declare(strict_types=1);

namespace Unhang\Tests\Support;

/**
 * A child process that says on its stdout when it is ready, and ends with the test.
 */
final class Process
{
    /** PHP names the signals only where ext/pcntl is installed. */
    public const SIGKILL = 9;
    public const SIGTERM = 15;

    /** Seconds; far more than any machine needs to start one. */
    private const PATIENCE = 20;

    /** @var resource */
    private $handle;

    /** @var array<int, resource> */
    private array $pipes = [];

    private ?int $exitCode = null;
    private string $seen = '';

    /**
     * @param list<string> $command
     */
    public function __construct(array $command, bool $errors = false)
    {
        $streams = [['pipe', 'r'], ['pipe', 'w'], $errors ? ['redirect', 1] : STDERR];
        $handle = proc_open($command, $streams, $this->pipes);
        if ($handle === false) {
            throw new \RuntimeException('Cannot start ' . implode(' ', $command));
        }
        $this->handle = $handle;
    }

    /**
     * Reads its output until a line contains the text.
     */
    public function await(string $text): void
    {
        $end = hrtime(true) + self::PATIENCE * 1e9;
        while (!str_contains($this->seen, $text)) {
            $read = [$this->pipes[1]];
            $none = null;
            $bytes = stream_select($read, $none, $none, 1) === 1 ? (string) fread($this->pipes[1], 8192) : null;
            if ($bytes === '' || hrtime(true) > $end) {
                throw new \RuntimeException("Waited for \"$text\" from the process, but got \"$this->seen\"");
            }
            $this->seen .= $bytes;
        }
    }

    /**
     * All of its output so far.
     */
    public function seen(): string
    {
        return $this->seen;
    }

    public function tell(string $line): void
    {
        fwrite($this->pipes[0], "$line\n");
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->handle, $signal);
    }

    public function exitCode(): int
    {
        $end = hrtime(true) + self::PATIENCE * 1e9;
        while ($this->exitCode === null) {
            $status = proc_get_status($this->handle);
            if (!$status['running']) {
                $this->exitCode = $status['exitcode'];
            } elseif (hrtime(true) > $end) {
                throw new \RuntimeException('The process does not end');
            } else {
                usleep(5000);
            }
        }

        return $this->exitCode;
    }

    public function end(): void
    {
        $this->signal(self::SIGKILL);
        array_map('fclose', $this->pipes);
        proc_close($this->handle);
    }
}
