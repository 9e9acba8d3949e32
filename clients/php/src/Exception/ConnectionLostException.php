<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Advice;

/**
 * The server closed the connection before a whole reply. An empty reply counts as none: it looks the same as a server
 * that died.
 */
final class ConnectionLostException extends CallException
{
    /**
     * @param bool   $requestMayHaveRun false only if the server cannot have seen any of the request
     * @param string $missing           what would have ended the reply
     * @param bool   $halfClosed        the client had closed its sending side, which some servers take for the end
     */
    public function __construct(
        string $path,
        public readonly bool $requestMayHaveRun,
        #[\SensitiveParameter] string $reply = '',
        int $errno = 0,
        string $missing = 'a newline',
        bool $halfClosed = false,
    ) {
        $clean = $errno === 0;
        $how = match (true) {
            !$clean => 'ended, or closed the connection without having read the whole request',
            $reply === '' => 'closed the connection without a reply',
            default => "closed the connection before $missing",
        };
        $received = $reply === '' ? '' : ', after ' . strlen($reply) . ' bytes of reply';
        $advice = array_filter([
            match (true) {
                !$clean => '',
                $reply !== '' => Advice::onClose($reply),
                $halfClosed => 'If it takes the half-close after the request for the end, as Node.js, Python\'s asyncio'
                    . ' and Go\'s net/http do, use halfClose: false.',
                default => '',
            },
            $requestMayHaveRun
                ? 'The request may have run: repeat it only if that does no harm.'
                : 'The request has not run: repeating it is safe.',
        ]);
        parent::__construct(self::server($path) . " $how$received. " . implode(' ', $advice), $path, $reply, $errno);
    }

    public function isRetrySafe(): bool
    {
        return !$this->requestMayHaveRun;
    }

    protected function kind(): string
    {
        return 'connection_lost';
    }
}
