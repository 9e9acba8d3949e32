<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The server closed the connection before a whole reply. An empty reply counts as none: it looks the same as a server
 * that died.
 */
final class ConnectionLostException extends CallException
{
    /**
     * @param bool   $requestMayHaveRun false only if the server cannot have seen any of the request
     * @param string $partialReply      what had come until then
     */
    public function __construct(
        string $path,
        public readonly bool $requestMayHaveRun,
        public readonly string $partialReply = '',
        int $errno = 0,
    ) {
        $how = match (true) {
            $errno !== 0 => 'ended, or closed the connection without having read the whole request',
            $partialReply === '' => 'closed the connection without a reply',
            default => 'closed the connection before the newline that ends a reply',
        };
        $received = $partialReply === '' ? '' : ', after ' . strlen($partialReply) . ' bytes of reply';
        $advice = $requestMayHaveRun
            ? 'The request may have run: repeat it only if that does no harm.'
            : 'The request has not run: repeating it is safe.';
        parent::__construct("The server at $path $how$received. $advice", $path, $errno);
    }
}
