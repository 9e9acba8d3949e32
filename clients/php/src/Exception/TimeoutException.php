<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The deadline passed before a whole reply. The server has the request, or a part of it, and may still act on it.
 */
final class TimeoutException extends CallException
{
    /**
     * @param float  $timeout      seconds allowed
     * @param float  $elapsed      seconds spent
     * @param string $partialReply what had come until then
     */
    public function __construct(
        string $path,
        public readonly Phase $phase,
        public readonly float $timeout,
        public readonly float $elapsed,
        public readonly string $partialReply = '',
    ) {
        $within = 'within ' . self::seconds($timeout);
        parent::__construct(match (true) {
            $phase === Phase::Send
                => "The server at $path did not take the whole request $within: it reads too slowly, or not at all.",
            $partialReply === ''
                => "The server at $path took the request and sent nothing $within."
                    . ' It is still working, or it waits for more than it was sent.',
            default
                => "The server at $path sent " . strlen($partialReply) . " bytes but no newline $within."
                    . ' If its replies end by closing the connection, use ReplyEnds::AtClose.',
        }, $path);
    }
}
