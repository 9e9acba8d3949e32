<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The deadline passed, and nothing of a reply had come, or the request was not taken whole. Unless the phase is
 * Connect, the server has the request or a part of it, and may still act on it.
 */
final class TimeoutException extends CallException
{
    /**
     * @param float  $timeout      seconds allowed
     * @param float  $elapsed      seconds spent
     * @param string $partialReply what had come until then, if the request was not taken whole
     */
    public function __construct(
        string $path,
        public readonly Phase $phase,
        public readonly float $timeout,
        public readonly float $elapsed,
        #[\SensitiveParameter] public readonly string $partialReply = '',
    ) {
        $server = 'The server at ' . self::place($path);
        $within = 'within ' . self::seconds($timeout);
        parent::__construct(match ($phase) {
            Phase::Connect
                => "$server was not called: earlier calls used up all of the " . self::seconds($timeout)
                    . ' that they shared with this one.',
            Phase::Send
                => "$server did not take the whole request $within: it reads too slowly, or not at all.",
            Phase::Receive
                => "$server took the request and sent nothing $within."
                    . ' It is still working, or it waits for more than it was sent.',
        }, $path);
    }

    public function isRetrySafe(): bool
    {
        return $this->phase === Phase::Connect;
    }

    protected function details(): array
    {
        return [
            'phase' => $this->phase->value,
            'timeout' => $this->timeout,
            'elapsed' => round($this->elapsed, 3),
            'reply_bytes' => strlen($this->partialReply),
        ];
    }
}
