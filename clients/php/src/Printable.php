<?php

declare(strict_types=1);

namespace Unhang;

/**
 * A stranger's bytes, made fit for a log and a terminal: what could move the cursor, forge a line or turn the direction
 * of writing is shown as its number, and a long text is cut.
 *
 * @internal
 */
final class Printable
{
    /** Bytes. Long enough for every reason that somebody wrote to be read. */
    private const LONGEST = 300;

    /** Well-formed UTF-8 of more than one byte (RFC 3629, section 4). */
    private const WIDE = '[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}'
        . '|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}'
        . '|\xF4[\x80-\x8F][\x80-\xBF]{2}';

    /** Control characters, format characters (bidi among them), and the line ends of Unicode. */
    private const UNFIT = '/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u';

    public static function text(string $foreign, int $longest = self::LONGEST): string
    {
        $length = strlen($foreign);
        $shown = preg_replace_callback(
            '/[\x20-\x7E]+|(' . self::WIDE . ')|./s',
            static fn (array $m): string => match (true) {
                isset($m[1]) => self::character($m[1]),
                $m[0] >= ' ' && $m[0] < "\x7F" => $m[0],
                default => self::byte($m[0]),
            },
            $length > $longest ? self::cut($foreign, $longest) : $foreign,
        );

        return $length > $longest ? "{$shown}… ($length bytes)" : (string) $shown;
    }

    /** A character that is cut in two would show as two broken bytes. */
    private static function cut(string $text, int $length): string
    {
        for ($back = 0; $back < 3 && (ord($text[$length - $back]) & 0xC0) === 0x80;) {
            $back++;
        }

        return substr($text, 0, $length - $back);
    }

    private static function byte(string $byte): string
    {
        return match ($byte) {
            "\n" => '\n',
            "\r" => '\r',
            "\t" => '\t',
            default => sprintf('\x%02X', ord($byte)),
        };
    }

    private static function character(string $character): string
    {
        if (preg_match(self::UNFIT, $character) !== 1) {
            return $character;
        }
        $number = array_reduce(
            str_split(substr($character, 1)),
            static fn (int $number, string $byte): int => $number << 6 | ord($byte) & 0x3F,
            ord($character[0]) & (0xFF >> strlen($character) + 1),
        );

        return sprintf('\u{%04X}', $number);
    }
}
