<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\InvalidArgumentException;
use Unhang\Reader\CloseReader;
use Unhang\Reader\DelimiterReader;
use Unhang\Reader\JsonReader;
use Unhang\Reader\LengthReader;
use Unhang\Reader\PredicateReader;
use Unhang\Reader\ReplyReader;

/**
 * How the server shows that its reply is complete. Except for {@see close()} and {@see silence()}, the reply is
 * returned as soon as it is whole, whatever the server does afterwards, and bytes behind it are dropped.
 */
final class ReplyEnds
{
    /** Seconds. Longer than that, a server that pauses cannot be told from one that hangs. */
    private const LONGEST_SILENCE = 60.0;

    /**
     * @param \Closure(int): ReplyReader $reader makes a reader for one reply of at most so many bytes
     */
    private function __construct(private readonly \Closure $reader, public readonly bool $atClose = false)
    {
    }

    /**
     * The server closes or half-closes the connection: the reply is every byte until then.
     */
    public static function close(): self
    {
        return new self(static fn (int $max) => new CloseReader($max), atClose: true);
    }

    /**
     * The reply is one line. The newline stays part of it.
     */
    public static function newline(): self
    {
        return self::delimiter("\n");
    }

    /**
     * The reply ends with these bytes, for example "\0" or "\r\n.\r\n". They stay part of it.
     *
     * @throws InvalidArgumentException
     */
    public static function delimiter(string $delimiter): self
    {
        if ($delimiter === '') {
            throw new InvalidArgumentException(
                'The delimiter is empty, and every reply would be. Give the bytes that a reply ends with.'
            );
        }

        return new self(static fn (int $max) => new DelimiterReader($delimiter, $max));
    }

    /**
     * The reply begins with its length, an unsigned integer of 1, 2, 4 or 8 bytes that does not count itself. It is
     * taken off the reply.
     *
     * @throws InvalidArgumentException
     */
    public static function lengthPrefix(int $bytes = 4, bool $littleEndian = false): self
    {
        if (!in_array($bytes, [1, 2, 4, 8], true)) {
            throw new InvalidArgumentException("A length prefix has 1, 2, 4 or 8 bytes, but this one has $bytes.");
        }

        return new self(static fn (int $max) => new LengthReader($bytes, $littleEndian, $max));
    }

    /**
     * The reply is one JSON text. An object, an array or a string needs nothing behind it; a number needs white space
     * or the close.
     */
    public static function json(): self
    {
        return new self(static fn (int $max) => new JsonReader($max));
    }

    /**
     * Your function looks at everything that has come so far and says whether it is a whole reply. It is asked after
     * each piece.
     *
     * @param \Closure(string): bool $isWhole
     */
    public static function when(\Closure $isWhole): self
    {
        return new self(static fn (int $max) => new PredicateReader($isWhole, $max));
    }

    /**
     * The last resort, a guess: something came, and then nothing for so long. A server that pauses in the middle has
     * its reply cut, and every call takes that much longer. A close ends the reply, too.
     *
     * @throws InvalidArgumentException
     */
    public static function silence(float $seconds): self
    {
        if (!($seconds > 0 && $seconds <= self::LONGEST_SILENCE)) {
            throw new InvalidArgumentException(sprintf(
                'The silence must be more than 0 and at most %d seconds, but it is %s.',
                self::LONGEST_SILENCE,
                $seconds,
            ));
        }

        return new self(static fn (int $max) => new CloseReader($max, $seconds));
    }

    /**
     * @internal
     */
    public function reader(int $maxReply): ReplyReader
    {
        return ($this->reader)($maxReply);
    }
}
