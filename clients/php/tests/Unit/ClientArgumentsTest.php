<?php

declare(strict_types=1);

namespace Unhang\Tests\Unit;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Unhang\Client;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\UnhangException;
use Unhang\Keep;
use Unhang\ReplyEnds;
use Unhang\Wire;

final class ClientArgumentsTest extends TestCase
{
    /**
     * @dataProvider bad
     * @param array<string, mixed> $arguments
     */
    #[DataProvider('bad')]
    public function testRefusesWhatCannotWork(array $arguments, string $message): void
    {
        try {
            new Client(...$arguments + ['path' => '/run/test.sock']);
        } catch (InvalidArgumentException $e) {
            self::assertInstanceOf(UnhangException::class, $e);
            self::assertStringContainsString($message, $e->getMessage());
            return;
        }
        self::fail('Expected an exception');
    }

    /**
     * @return iterable<string, array{array<string, mixed>, string}>
     */
    public static function bad(): iterable
    {
        yield 'no path' => [['path' => ''], 'is empty'];
        yield 'no abstract name' => [['path' => '@'], 'is empty'];
        yield 'NUL in the path' => [['path' => "/run/a\0b"], 'NUL'];
        yield 'NUL in front' => [['path' => "\0name"], 'write "@name"'];
        yield 'URL' => [['path' => 'unix:///run/a.sock'], 'plain path'];
        yield 'path of 108 bytes' => [['path' => '/' . str_repeat('p', 107)], 'has 108'];
        yield 'abstract name of 108 bytes' => [['path' => '@' . str_repeat('p', 108)], 'has 108'];
        yield 'timeout of nothing' => [['timeout' => 0.0], 'it is 0'];
        yield 'timeout in the past' => [['timeout' => -1.0], 'it is -1'];
        yield 'timeout that is no number' => [['timeout' => NAN], 'it is NAN'];
        yield 'timeout without end' => [['timeout' => INF], 'it is INF'];
        yield 'timeout in milliseconds' => [['timeout' => 5000], 'meant as milliseconds, write 5.'];
        yield 'timeout beyond ten minutes' => [['timeout' => 600.5], 'at most 600 seconds, but it is 600.5'];
        yield 'escape sequence in the path' => [['path' => "http://\e[2J"], '"http://\x1b[2J"'];
        yield 'two ends' => [['wire' => Wire::lines(), 'replyEnds' => ReplyEnds::close()], 'leave replyEnds'];
        yield 'half-close on a wire' => [['wire' => Wire::lines(), 'halfClose' => true], 'and halfClose out'];
        yield 'nothing to keep' => [['keep' => Keep::Worker], 'give a wire'];
        yield 'reply of nothing' => [['maxReply' => 0], 'it is 0'];
    }

    /**
     * @dataProvider good
     * @param array<string, mixed> $arguments
     */
    #[DataProvider('good')]
    public function testTakesTheExtremes(array $arguments): void
    {
        self::assertInstanceOf(Client::class, new Client(...$arguments));
    }

    /**
     * @return iterable<string, array{array<string, mixed>}>
     */
    public static function good(): iterable
    {
        yield 'relative path' => [['path' => 'a.sock']];
        yield 'path of 107 bytes' => [['path' => '/' . str_repeat('p', 106)]];
        yield 'abstract name of 107 bytes' => [['path' => '@' . str_repeat('p', 107)]];
        yield 'file whose name begins with @' => [['path' => './@a.sock']];
        yield 'timeout of ten minutes' => [['path' => 'a.sock', 'timeout' => 600.0]];
        yield 'whole seconds' => [['path' => 'a.sock', 'timeout' => 2]];
    }
}
