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
        // Nothing gets shorter by being shown, but for the last character that the cut may have split.
        preg_match_all('/' . self::WIDE . '|./s', substr($foreign, 0, $longest + 4), $pieces);
        $shown = '';
        foreach ($pieces[0] as $piece) {
            $piece = strlen($piece) === 1 ? self::byte($piece) : self::character($piece);
            if (strlen($shown) + strlen($piece) > $longest) {
                return "{$shown}… (" . strlen($foreign) . ' bytes)';
            }
            $shown .= $piece;
        }

        return $shown;
    }

    private static function byte(string $byte): string
    {
        return match (true) {
            $byte === "\n" => '\n',
            $byte === "\r" => '\r',
            $byte === "\t" => '\t',
            $byte === '\\' => '\\\\',
            $byte >= ' ' && $byte <= '~' => $byte,
            default => sprintf('\x%02x', ord($byte)),
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

        return sprintf($number < 0x100 ? '\x%02x' : '\u{%04x}', $number);
    }
}
