<?php

declare(strict_types=1);

namespace Unhang\Reader;

use Unhang\Exception\ServerErrorException;

/**
 * One HTTP/1.1 response (RFC 9112). Bytes that two readers could read differently are refused, for the bytes left
 * over would be taken for the next reply.
 *
 * @internal
 */
final class HttpReader extends ReplyReader
{
    /** Bytes of status line and headers, interim responses included: eight times what common servers send at most. */
    private const LONGEST_HEAD = 64 * 1024;

    private const VERSION = 'HTTP/1.';

    /** Of a number that PHP can count, in hexadecimal, and to which another can be added. */
    private const DIGITS = 14;

    /** Where the body begins, or its next chunk; until the head is whole, where the head begins. */
    private int $position = 0;

    private ?HttpHead $head = null;
    private string $body = '';
    private bool $inTrailer = false;

    public function __construct(private readonly string $method, int $maxReply)
    {
        parent::__construct($maxReply);
    }

    public function length(string $bytes, int $known): ?int
    {
        $this->head ??= $this->head($bytes, $known);

        return match (true) {
            $this->head === null => null,
            $this->head->chunked => $this->chunks($bytes),
            $this->head->length !== null => $this->counted($bytes, $this->head->length),
            default => $this->untilTheClose($bytes),
        };
    }

    /** Only a body without a length ends with the connection. */
    public function wholeAtClose(string $bytes): bool
    {
        if ($this->head === null || $this->head->chunked || $this->head->length !== null) {
            return false;
        }
        $this->body = substr($bytes, $this->position);

        return true;
    }

    public function reply(string $bytes, string $path): string
    {
        $status = $this->head?->status ?? 0;
        if ($status < 200 || $status > 299) {
            $reason = trim($this->body);
            throw new ServerErrorException(
                $path,
                $reason === '' ? "HTTP status $status" : $reason,
                $status,
                $this->body,
            );
        }

        return $this->body;
    }

    /** Twice, for the framing of chunks: of fewer than six bytes each they would not fit the memory allowed either. */
    public function limit(): int
    {
        return 2 * ($this->maxReply + self::LONGEST_HEAD);
    }

    public function reusable(): bool
    {
        return $this->head !== null
            && $this->head->keepAlive
            && ($this->head->chunked || $this->head->length !== null);
    }

    public function missing(): string
    {
        return $this->head === null ? 'the end of the HTTP headers' : 'the end of the HTTP body';
    }

    private function head(string $bytes, int $known): ?HttpHead
    {
        while (true) {
            $end = strpos($bytes, "\r\n\r\n", max($this->position, $known - 3));
            if (($end === false ? strlen($bytes) : $end) > self::LONGEST_HEAD) {
                throw Malformed::tooLong();
            }
            if ($end === false) {
                $this->refuseEarly($bytes, $known);
                return null;
            }
            $head = HttpHead::parse(substr($bytes, $this->position, $end - $this->position), $this->method);
            $this->position = $end + 4;
            if (!$head->isInterim()) {
                return $head;
            }
        }
    }

    /** At once, not at the deadline: a server that does not speak HTTP has said so with its first bytes. */
    private function refuseEarly(string $bytes, int $known): void
    {
        $start = substr($bytes, $this->position, strlen(self::VERSION));
        if (!str_starts_with(self::VERSION, $start)) {
            throw new Malformed('HTTP/1.1');
        }
        if (preg_match('/(?<!\r)\n/', $bytes, offset: max($this->position, $known)) === 1) {
            throw new Malformed('lines that end with \r\n');
        }
    }

    private function counted(string $bytes, int $length): ?int
    {
        if ($length > $this->maxReply) {
            throw Malformed::tooLong();
        }
        if (strlen($bytes) < $this->position + $length) {
            return null;
        }
        $this->body = substr($bytes, $this->position, $length);

        return $this->position + $length;
    }

    private function untilTheClose(string $bytes): ?int
    {
        return strlen($bytes) - $this->position > $this->maxReply ? throw Malformed::tooLong() : null;
    }

    private function chunks(string $bytes): ?int
    {
        while (!$this->inTrailer) {
            $end = $this->line($bytes, 'a chunk\'s size');
            if ($end === null) {
                return null;
            }
            $line = substr($bytes, $this->position, $end - $this->position);
            if (preg_match('/\A0*([0-9A-Fa-f]+)[ \t]*(?:;[\t\x20-\x7E\x80-\xFF]*)?\z/', $line, $m) !== 1) {
                throw new Malformed('a chunk\'s size');
            }
            $size = strlen($m[1]) > self::DIGITS ? PHP_INT_MAX : (int) hexdec($m[1]);
            if (strlen($this->body) + $size > $this->maxReply) {
                throw Malformed::tooLong();
            }
            if ($size === 0) {
                $this->inTrailer = true;
                $this->position = $end + 2;
                break;
            }
            if (strlen($bytes) < $end + 2 + $size + 2) {
                return null;
            }
            if (substr($bytes, $end + 2 + $size, 2) !== "\r\n") {
                throw new Malformed('the end of a chunk');
            }
            $this->body .= substr($bytes, $end + 2, $size);
            $this->position = $end + 2 + $size + 2;
        }

        return $this->trailer($bytes);
    }

    private function trailer(string $bytes): ?int
    {
        while (($end = $this->line($bytes, 'the end of the trailer')) !== null) {
            $empty = $end === $this->position;
            $this->position = $end + 2;
            if ($empty) {
                return $this->position;
            }
        }

        return null;
    }

    /**
     * Where the line at the position ends.
     */
    private function line(string $bytes, string $what): ?int
    {
        $end = strpos($bytes, "\r\n", $this->position);
        $tooLong = ($end === false ? strlen($bytes) : $end) - $this->position > self::LONGEST_HEAD;
        if ($tooLong || ($end === false && strpos($bytes, "\n", $this->position) !== false)) {
            throw new Malformed($what);
        }

        return $end === false ? null : $end;
    }
}
