<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\InvalidArgumentException;

/**
 * Calls a server on a Unix stream socket: one connection per call, one deadline for the whole call.
 */
final readonly class Client implements ClientInterface
{
    /** An eighth of PHP's default memory_limit (128 MiB): a reply this long can still be worked on. */
    public const MAX_REPLY = 16 * 1024 * 1024;

    /** Seconds in a day. Waiting longer is hanging; more likely the number was meant as milliseconds. */
    private const LONGEST_TIMEOUT = 86_400.0;

    private Address $address;

    /**
     * @param string    $path      the socket file, or "@name" for an abstract socket
     * @param float     $timeout   seconds for connecting, sending and receiving together
     * @param ReplyEnds $replyEnds how the server shows that its reply is complete
     * @param int       $maxReply  bytes; a longer reply is refused, not cut
     * @param bool      $halfClose tell the server that the request is complete by closing the sending side; switch it
     *                             off for a server that takes this for the end of the conversation, as Node.js does
     *                             by default
     *
     * @throws InvalidArgumentException
     */
    public function __construct(
        string $path,
        private float $timeout = 5.0,
        private ReplyEnds $replyEnds = ReplyEnds::AtClose,
        private int $maxReply = self::MAX_REPLY,
        private bool $halfClose = true,
    ) {
        $this->address = new Address($path);

        // Written so that NAN, which is neither greater nor smaller than anything, is refused too.
        if (!($timeout > 0 && $timeout <= self::LONGEST_TIMEOUT)) {
            throw new InvalidArgumentException(sprintf(
                'The timeout must be more than 0 and at most %d seconds, but it is %s. It is not in milliseconds.',
                self::LONGEST_TIMEOUT,
                $timeout,
            ));
        }
        if ($maxReply < 1) {
            throw new InvalidArgumentException(sprintf(
                'The longest allowed reply must be at least 1 byte, but it is %d. Leave maxReply out for %d.',
                $maxReply,
                self::MAX_REPLY,
            ));
        }
    }

    public function call(string $message): string
    {
        $deadline = new Deadline($this->timeout);
        $stream = (new Connector($this->address, $deadline))->connect();
        try {
            return (new Connection(
                $stream,
                $this->address->path,
                $deadline,
                $message,
                $this->halfClose,
                $this->replyEnds,
                $this->maxReply,
            ))->exchange();
        } finally {
            // Also when a signal handler throws. A connection is never used twice: a late reply would be taken for the
            // answer to the next call.
            fclose($stream);
        }
    }
}
