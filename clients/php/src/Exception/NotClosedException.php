<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Advice;

/**
 * A reply came, but at the deadline the server had neither closed the connection nor sent what else ends a reply, so
 * nothing says that it is complete.
 */
final class NotClosedException extends CallException
{
    /** Of the timeout: silent for less than this, the server may have been sending still. */
    private const SHORT = 0.1;

    /** @internal what ends a reply by default */
    public const CLOSE = 'the end of the connection';

    /**
     * @param string $reply     what came; perhaps all of it
     * @param float  $silentFor seconds since its last byte: if this is short, the reply was still coming
     * @param float  $timeout   seconds allowed
     * @param string $missing   what would have ended the reply
     */
    public function __construct(
        string $path,
        #[\SensitiveParameter] public readonly string $reply,
        public readonly float $silentFor,
        public readonly float $timeout,
        string $missing = self::CLOSE,
    ) {
        $mayBeComing = $silentFor < self::SHORT * $timeout;
        $cure = $missing === self::CLOSE
            ? 'the server must close or half-close the connection after it, or the client must see another end.'
            : 'the server must show its end, or the client must see another one.';
        parent::__construct(sprintf(
            $mayBeComing
                ? 'The server at %s sent %d bytes, the last of them %s before the timeout of %s, without %s: its reply'
                    . ' may still have been coming, so raise the timeout. If the reply was whole, %s %s'
                : 'The server at %s sent %d bytes, then nothing for %s until the timeout of %s, without %s. If that was'
                    . ' its reply, %s %s',
            self::place($path),
            strlen($reply),
            self::about($silentFor, $timeout),
            self::seconds($timeout),
            $missing === self::CLOSE ? 'closing the connection' : "$missing, and without closing the connection",
            $cure,
            Advice::onEnd($reply),
        ), $path);
    }

    protected function details(): array
    {
        return [
            'reply_bytes' => strlen($this->reply),
            'silent_for' => round($this->silentFor, 3),
            'timeout' => $this->timeout,
        ];
    }
}
