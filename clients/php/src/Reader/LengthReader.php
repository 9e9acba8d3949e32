<?php

declare(strict_types=1);

namespace Unhang\Reader;

/**
 * A length in so many bytes, then so many bytes of reply.
 *
 * @internal
 */
final class LengthReader extends ReplyReader
{
    private ?int $announced = null;

    public function __construct(
        private readonly int $prefix,
        private readonly bool $littleEndian,
        int $maxReply,
    ) {
        parent::__construct($maxReply);
    }

    public function length(string $bytes, int $known): ?int
    {
        if (strlen($bytes) < $this->prefix) {
            return null;
        }
        $this->announced ??= self::number(substr($bytes, 0, $this->prefix), $this->littleEndian);
        if ($this->announced === null || $this->announced > $this->maxReply) {
            throw Malformed::tooLong();
        }
        $whole = $this->prefix + $this->announced;

        return strlen($bytes) >= $whole ? $whole : null;
    }

    public function reply(string $bytes, string $path): string
    {
        return substr($bytes, $this->prefix);
    }

    public function limit(): int
    {
        return $this->prefix + $this->maxReply;
    }

    public function missing(): string
    {
        return $this->announced === null
            ? "the $this->prefix bytes of its length"
            : "all of the $this->announced bytes that it announced";
    }

    /**
     * Null if it is more than PHP can count.
     */
    public static function number(string $bytes, bool $littleEndian): ?int
    {
        $number = hexdec(bin2hex($littleEndian ? strrev($bytes) : $bytes));

        return is_int($number) ? $number : null;
    }
}
