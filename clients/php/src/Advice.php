<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Reader\JsonReader;
use Unhang\Reader\LengthReader;
use Unhang\Reader\Malformed;

/**
 * Which of the ways to see a reply's end fits the bytes that came.
 *
 * @internal
 */
final class Advice
{
    /**
     * For a connection that stayed open.
     */
    public static function onEnd(string $bytes): string
    {
        return self::fromBytes($bytes) ?? 'These bytes show no end by themselves: if you can tell a whole reply by'
            . ' looking at it, use ReplyEnds::when(). The last resort is ReplyEnds::silence(), a guess.';
    }

    /**
     * For a connection that the server closed.
     */
    public static function onClose(string $bytes): string
    {
        return str_starts_with($bytes, 'HTTP/1.')
            ? self::http()
            : 'If these bytes were all of it, the close is its end: use ReplyEnds::close().';
    }

    private static function fromBytes(string $bytes): ?string
    {
        $length = strlen($bytes);
        $json = self::json($bytes);

        return match (true) {
            str_starts_with($bytes, 'HTTP/1.') => self::http(),
            strpos($bytes, "\n") === $length - 1
                => 'What it sent is one line: if every reply is, use ReplyEnds::newline().',
            $json === true
                => 'What it sent is a whole JSON text: if every reply is, use ReplyEnds::json().',
            ($prefix = self::prefix($bytes)) !== null
                => "What it sent begins with its own length: if every reply does, use ReplyEnds::$prefix.",
            str_ends_with($bytes, "\0")
                => 'What it sent ends with a NUL byte: if every reply does, use ReplyEnds::delimiter("\0").',
            $json === false
                => 'What it sent is the beginning of a JSON text: the rest did not come in time.',
            str_ends_with($bytes, "\n")
                => 'What it sent are several lines: if every reply ends with the same one, use ReplyEnds::delimiter().',
            default => null,
        };
    }

    private static function http(): string
    {
        return 'It answers in HTTP: use Wire::http(), and leave replyEnds out.';
    }

    /**
     * Whether it is a whole object or array, or the beginning of one; null if it is no such thing.
     */
    private static function json(string $bytes): ?bool
    {
        $text = ltrim($bytes);
        if ($text === '' || !str_contains('{[', $text[0])) {
            return null;
        }
        try {
            $end = (new JsonReader(strlen($text)))->length($text, 0);
        } catch (Malformed) {
            return null;
        }

        return $end === null ? false : (trim(substr($text, $end)) === '' ? true : null);
    }

    private static function prefix(string $bytes): ?string
    {
        foreach ([4 => 'lengthPrefix()', 8 => 'lengthPrefix(8)', 2 => 'lengthPrefix(2)'] as $size => $call) {
            $rest = strlen($bytes) - $size;
            if ($rest <= 0) {
                continue;
            }
            if (LengthReader::number(substr($bytes, 0, $size), littleEndian: false) === $rest) {
                return $call;
            }
            if (LengthReader::number(substr($bytes, 0, $size), littleEndian: true) === $rest) {
                return "lengthPrefix($size, littleEndian: true)";
            }
        }

        return null;
    }
}
