<?php

declare(strict_types=1);

namespace Unhang\Tests\Kept;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\RequiresPhpExtension;
use Unhang\Exception\TimeoutException;

/**
 * A worker outlives its scripts, and so does its connection; a script can die between its request and the reply.
 *
 * @requires extension pcntl
 */
#[RequiresPhpExtension('pcntl')]
final class WorkerTest extends KeptTestCase
{
    private string $origin;

    protected function setUp(): void
    {
        parent::setUp();
        $this->serve();
        $process = $this->start(
            [
                'env', "SOCKET={$this->path()}", PHP_BINARY, '-d', 'display_errors=0', '-d', 'log_errors=0',
                '-S', '127.0.0.1:0', __DIR__ . '/web.php',
            ],
            'started',
            errors: true,
        );
        self::assertSame(1, preg_match('~\((http://127\.0\.0\.1:\d+)\)~', $process->seen(), $m), $process->seen());
        $this->origin = $m[1];
    }

    public function testTheConnectionOutlivesTheScript(): void
    {
        self::assertSame(['1 a', '1 b', '1 c'], [$this->ask('a'), $this->ask('b'), $this->ask('c')]);
    }

    /**
     * @dataProvider deaths
     */
    #[DataProvider('deaths')]
    public function testTheAnswerOfADeadScriptIsForNobody(string $death): void
    {
        self::assertSame('1 before', $this->ask('before'));
        for ($round = 0; $round < 3; $round++) {
            self::assertStringNotContainsString('alice', $this->ask('hold alice', ['die' => $death]));
            self::assertStringEndsWith(' bob', $this->ask('bob'));
            self::assertStringEndsWith(' carol', $this->ask('carol'));
        }
    }

    public function testTheAnswerAfterATimeoutIsForNobody(): void
    {
        self::assertSame('1 before', $this->ask('before'));
        self::assertSame(TimeoutException::class, $this->ask('hold alice', ['timeout' => '0.1']));
        self::assertSame('2 bob', $this->ask('bob'));
        self::assertSame('2 carol', $this->ask('carol'));
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function deaths(): iterable
    {
        yield 'exit' => ['exit'];
        yield 'uncaught exception' => ['throw'];
        yield 'fatal error' => ['fatal'];
    }

    /**
     * @param array<string, string> $more
     */
    private function ask(string $question, array $more = []): string
    {
        $context = stream_context_create(['http' => ['ignore_errors' => true, 'timeout' => 30]]);

        return (string) file_get_contents(
            "$this->origin/?" . http_build_query(['q' => $question] + $more),
            false,
            $context,
        );
    }
}
