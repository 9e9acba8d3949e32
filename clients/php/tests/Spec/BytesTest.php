<?php

declare(strict_types=1);

namespace Unhang\Tests\Spec;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Unhang\Address;
use Unhang\ErrorLine;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\ServerErrorException;
use Unhang\Printable;
use Unhang\Reader\HttpReader;
use Unhang\Reader\Malformed;
use Unhang\Reader\ReplyReader;

/**
 * Bytes and their meaning, the same for the clients of all languages.
 */
final class BytesTest extends TestCase
{
    private const MAX_REPLY = 1_000_000;

    /**
     * @dataProvider addresses
     * @param array<string, mixed> $case
     */
    #[DataProvider('addresses')]
    public function testAddress(array $case): void
    {
        try {
            $url = (new Address($case['input']))->url();
        } catch (InvalidArgumentException $e) {
            self::assertArrayNotHasKey('kernel', $case, $e->getMessage());
            foreach ($case['says'] as $word) {
                self::assertStringContainsString($word, $e->getMessage());
            }
            return;
        }
        self::assertSame('unix://' . ($case['kernel'] ?? null), $url);
    }

    /**
     * @dataProvider errorLines
     * @param array<string, mixed> $case
     */
    #[DataProvider('errorLines')]
    public function testErrorLine(array $case): void
    {
        $reason = ErrorLine::reason(Vectors::bytes($case['bytes']));
        // PHP's strings are bytes: ours are as they came, and the vector's are what is text in them.
        self::assertSame($case['reason'] === null, $reason === null);
        if ($reason !== null) {
            self::assertSame($case['shown'], Printable::text($reason));
        }
    }

    /**
     * @dataProvider ends
     * @param array<string, mixed> $case
     */
    #[DataProvider('ends')]
    public function testWhereAReplyEnds(array $case): void
    {
        $expected = isset($case['reply'])
            ? ['reply' => Vectors::bytes($case['reply']), 'rest' => Vectors::bytes($case['rest'])]
            : array_filter(['error' => $case['error'] ?? null]);
        $reader = static fn () => Vectors::ends($case['ends'])->reader(self::MAX_REPLY);
        foreach (self::cuts(Vectors::bytes($case['bytes'])) as $pieces) {
            self::assertSame($expected, self::read($reader(), $pieces, $case['closed']));
        }
    }

    /**
     * @dataProvider http
     * @param array<string, mixed> $case
     */
    #[DataProvider('http')]
    public function testHttp(array $case): void
    {
        $expected = isset($case['status'])
            ? ['reply' => Vectors::bytes($case['body']), 'rest' => Vectors::bytes($case['rest'])]
            : array_filter(['error' => $case['error'] ?? null]);
        foreach (self::cuts(Vectors::bytes($case['bytes'])) as $pieces) {
            $reader = new HttpReader($case['method'], self::MAX_REPLY);
            self::assertSame($expected, self::read($reader, $pieces, $case['closed'], $status));
            if (isset($case['status'])) {
                self::assertSame($case['keep'], $reader->reusable());
                self::assertSame($case['status'], $status ?? $case['status']);
            }
        }
    }

    /** @return iterable<string, array{array<string, mixed>}> */
    public static function addresses(): iterable
    {
        return Vectors::of('address.json');
    }

    /** @return iterable<string, array{array<string, mixed>}> */
    public static function errorLines(): iterable
    {
        return Vectors::of('error_line.json');
    }

    /** @return iterable<string, array{array<string, mixed>}> */
    public static function ends(): iterable
    {
        return Vectors::of('ends.json');
    }

    /** @return iterable<string, array{array<string, mixed>}> */
    public static function http(): iterable
    {
        return Vectors::of('http.json');
    }

    /**
     * What an exchange makes of it.
     *
     * @param list<string> $pieces
     *
     * @return array<string, string>
     */
    private static function read(ReplyReader $reader, array $pieces, bool $closed, ?int &$status = null): array
    {
        $status = null;
        $bytes = '';
        try {
            $length = null;
            foreach ($pieces as $piece) {
                $known = strlen($bytes);
                $bytes .= $piece;
                $length ??= $reader->length($bytes, $known);
            }
            if ($length === null && $closed && $reader->wholeAtClose($bytes)) {
                $length = strlen($bytes);
            }

            return $length === null
                ? []
                : ['reply' => $reader->reply(substr($bytes, 0, $length), '/'), 'rest' => substr($bytes, $length)];
        } catch (ServerErrorException $e) {
            $status = $e->status;
            return ['reply' => $e->reply, 'rest' => substr($bytes, (int) $length)];
        } catch (Malformed $malformed) {
            $bytes = implode('', $pieces);
            return match (true) {
                ErrorLine::reason($bytes) !== null => ['error' => 'server_error'],
                ErrorLine::mayCome($bytes) => [],
                default => ['error' => $malformed->tooLong ? 'reply_too_large' : 'malformed_reply'],
            };
        }
    }

    /**
     * In one piece, byte by byte, and cut in two at every place; a long one at some.
     *
     * @return iterable<list<string>>
     */
    private static function cuts(string $whole): iterable
    {
        yield [$whole];
        if ($whole === '') {
            return;
        }
        $places = range(1, strlen($whole));
        if (strlen($whole) > 1000) {
            $places = [1, 17, intdiv(strlen($whole), 2), strlen($whole) - 1];
        } else {
            yield str_split($whole);
        }
        foreach ($places as $place) {
            yield [substr($whole, 0, $place), substr($whole, $place)];
        }
    }
}
