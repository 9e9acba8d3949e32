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
     * @param bool     $requestMayHaveRun false only if the server cannot have seen any of the request
     * @param string   $partialReply      what had come until then
     * @param string   $missing           what would have ended the reply
     * @param bool     $halfClosed        the client had closed its sending side, which some servers take for the end
     * @param int|null $taken             bytes of the request that were taken before the server read no more
     * @param int|null $length            bytes of the request
     */
    public function __construct(
        string $path,
        public readonly bool $requestMayHaveRun,
        #[\SensitiveParameter] public readonly string $partialReply = '',
        int $errno = 0,
        string $missing = 'a newline',
        bool $halfClosed = false,
        public readonly ?int $taken = null,
        ?int $length = null,
    ) {
        $clean = $errno === 0;
        $how = match (true) {
            $taken !== null => "ended its side when it had taken at most $taken of the $length bytes of the request",
            !$clean => 'ended, or closed the connection without having read the whole request',
            $partialReply === '' => 'closed the connection without a reply',
            default => "closed the connection before $missing",
        };
        $received = $partialReply === '' ? '' : ', after ' . strlen($partialReply) . ' bytes of reply';
        $advice = [
            match (true) {
                !$clean => '',
                $partialReply !== '' => Advice::onClose($partialReply),
                $halfClosed => 'If it takes the half-close after the request for the end, as Node.js, Python\'s asyncio'
                    . ' and Go\'s net/http do, use halfClose: false.',
                default => '',
            },
            $requestMayHaveRun
                ? 'The request may have run: repeat it only if that does no harm.'
                : 'The request has not run: repeating it is safe.',
        ];
        parent::__construct(
            'The server at ' . self::place($path) . " $how$received. " . implode(' ', array_filter($advice)),
            $path,
            $errno,
        );
    }

    public function isRetrySafe(): bool
    {
        return !$this->requestMayHaveRun;
    }

    protected function details(): array
    {
        return ['reply_bytes' => strlen($this->partialReply)]
            + ($this->taken === null ? [] : ['taken' => $this->taken]);
    }
}
