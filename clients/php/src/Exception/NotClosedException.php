<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Advice;

/**
 * A reply came, but the server had not closed the connection at the deadline, so nothing says that it is complete.
 */
final class NotClosedException extends CallException
{
    /** Of the timeout: silent for less than this, the server may have been sending still. */
    private const SHORT = 0.1;

    /**
     * @param string $reply     what came; perhaps all of it
     * @param float  $silentFor seconds since its last byte: if this is short, the reply was still coming
     * @param float  $timeout   seconds allowed
     */
    public function __construct(
        string $path,
        #[\SensitiveParameter] string $reply,
        public readonly float $silentFor,
        public readonly float $timeout,
    ) {
        parent::__construct(sprintf(
            $silentFor < self::SHORT * $timeout
                ? '%s sent %d bytes, the last of them %s before the timeout of %s, and never closed the connection: its'
                    . ' reply may still have been coming, so raise the timeout. If the reply was whole, the server must'
                    . ' close or half-close the connection after it, or the client must see another end. %s'
                : '%s sent %d bytes, then nothing for %s within the timeout of %s, and never closed the connection.'
                    . ' It must close or half-close the connection after its reply, or the client must see another end.'
                    . ' %s',
            self::server($path),
            strlen($reply),
            self::about($silentFor, $timeout),
            self::seconds($timeout),
            Advice::onEnd($reply),
        ), $path, $reply);
    }

    protected function kind(): string
    {
        return 'not_closed';
    }

    protected function details(): array
    {
        return ['silent_for' => round($this->silentFor, 3), 'timeout' => $this->timeout];
    }
}
