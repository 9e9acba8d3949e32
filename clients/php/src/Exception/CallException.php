<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Printable;

/**
 * A call that brought no whole reply.
 */
abstract class CallException extends \RuntimeException implements UnhangException
{
    /**
     * @param string $path  where the server was called
     * @param string $reply what had come of the reply, as it came; perhaps all of it
     * @param int    $errno the system's error number, also given by getCode(); 0 if there is none
     */
    public function __construct(
        string $message,
        public readonly string $path,
        #[\SensitiveParameter] public readonly string $reply = '',
        public readonly int $errno = 0,
    ) {
        parent::__construct($message, $errno);
    }

    public function isRetrySafe(): bool
    {
        return false;
    }

    public function fault(): Fault
    {
        return Fault::Server;
    }

    final public function context(): array
    {
        return ['kind' => $this->kind(), 'path' => Printable::text($this->path)]
            + ($this->errno === 0 ? [] : ['errno' => $this->errno])
            + $this->details()
            + ['reply_bytes' => strlen($this->reply), 'retry_safe' => $this->isRetrySafe()];
    }

    /**
     * One word for it, the same in all of unhang's clients.
     */
    abstract protected function kind(): string;

    /**
     * @return array<string, scalar|null>
     */
    protected function details(): array
    {
        return [];
    }

    /** The path of a socket can hold anything that a file's name can. */
    final protected static function server(string $path): string
    {
        return 'The server at ' . Printable::text($path);
    }

    final protected static function seconds(float $seconds): string
    {
        return round($seconds, 3) . ' s';
    }

    /** What was measured: two digits of it mean something, and more than was allowed would only puzzle. */
    final protected static function about(float $seconds, float $allowed): string
    {
        if ($seconds >= $allowed) {
            return self::seconds($allowed);
        }

        return sprintf($seconds < 0.95 ? '%.2g s' : ($seconds < 9.95 ? '%.1f s' : '%.0f s'), max($seconds, 0.001));
    }
}
