<?php

declare(strict_types=1);

namespace Unhang\Tests\Spec;

use Unhang\ReplyEnds;

/**
 * What spec/ says of every client.
 */
final class Vectors
{
    public const DIRECTORY = __DIR__ . '/../../../../spec';

    /**
     * @return iterable<string, array{array<string, mixed>}>
     */
    public static function of(string $file): iterable
    {
        $text = (string) file_get_contents(self::DIRECTORY . "/vectors/$file");
        foreach (json_decode($text, true, flags: JSON_THROW_ON_ERROR)['cases'] as $number => $case) {
            yield $case['name'] => [$case + ['number' => $number]];
        }
    }

    /**
     * @param string|array{repeat: string, times: int} $described each character is a byte
     */
    public static function bytes(string|array $described): string
    {
        return is_array($described)
            ? str_repeat($described['repeat'], $described['times'])
            : mb_convert_encoding($described, 'ISO-8859-1', 'UTF-8');
    }

    /**
     * @param array<string, mixed> $described
     */
    public static function ends(array $described): ReplyEnds
    {
        return match ($described['at']) {
            'close' => ReplyEnds::close(),
            'newline' => ReplyEnds::newline(),
            'delimiter' => ReplyEnds::delimiter(self::bytes($described['delimiter'])),
            'length' => ReplyEnds::lengthPrefix($described['bytes'], littleEndian: $described['order'] === 'little'),
            'json' => ReplyEnds::json(),
            'silence' => ReplyEnds::silence($described['seconds']),
        };
    }
}
