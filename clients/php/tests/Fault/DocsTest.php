<?php

declare(strict_types=1);

namespace Unhang\Tests\Fault;

use PHPUnit\Framework\Attributes\RequiresPhpExtension;

/**
 * The code in docs/php.md and in the README is code that runs.
 */
final class DocsTest extends FaultTestCase
{
    public function testEverySnippetIsPhp(): void
    {
        $snippets = self::snippets();
        self::assertGreaterThan(3, count($snippets));
        foreach ($snippets as $snippet) {
            self::assertNotEmpty(token_get_all("<?php $snippet", TOKEN_PARSE));
        }
    }

    /**
     * The first block that a newcomer pastes must work with the server that the README is about: it answers and
     * never closes.
     */
    public function testTheReadmesFirstCall(): void
    {
        $servers = ["OK\n" => 'a line', 'OK' => 'no line'];
        foreach ($servers as $reply => $name) {
            $this->serve('sends-this-and-keeps', $this->path($name), base64_encode($reply));
            self::assertSame($reply, $this->readmesReply($this->path($name)));
        }
    }

    private function readmesReply(string $path): string
    {
        $log = ini_set('error_log', $this->path('log'));
        try {
            $snippet = self::snippets('README.md')[0];
            self::assertStringContainsString("'/run/odc.sock'", $snippet);
            return eval(str_replace("'/run/odc.sock'", var_export($path, true), $snippet) . "\nreturn \$reply;");
        } finally {
            ini_set('error_log', (string) $log);
        }
    }

    public function testReadToEndOfStream(): void
    {
        self::load('readToEndOfStream');
        $call = function (string $path, float $seconds): string {
            $stream = stream_socket_client("unix://$path");
            fwrite($stream, 'hello');
            stream_socket_shutdown($stream, STREAM_SHUT_WR);
            return \readToEndOfStream($stream, $seconds);
        };
        $this->assertReadsToTheEnd($call);
    }

    /**
     * @requires extension sockets
     */
    #[RequiresPhpExtension('sockets')]
    public function testReadToEndOfSocket(): void
    {
        if (!function_exists('socket_create')) {
            self::markTestSkipped('These tests run as if ext/sockets were missing');
        }
        self::load('readToEndOfSocket');
        $call = function (string $path, float $seconds): string {
            $socket = socket_create(AF_UNIX, SOCK_STREAM, 0);
            socket_connect($socket, $path);
            socket_write($socket, 'hello');
            socket_shutdown($socket, 1);
            return \readToEndOfSocket($socket, $seconds);
        };
        $this->assertReadsToTheEnd($call);
    }

    private function assertReadsToTheEnd(\Closure $call): void
    {
        foreach (['drips-and-closes', 'drips', 'never-answers', 'never-closes'] as $behaviour) {
            $this->serve($behaviour, $this->path($behaviour));
        }
        self::assertSame(str_repeat('x', 40), $call($this->path('drips-and-closes'), 20.0));
        foreach (['drips', 'never-answers', 'never-closes'] as $behaviour) {
            $e = self::thrown(\RuntimeException::class, fn () => $call($this->path($behaviour), 0.2));
            self::assertStringContainsString('within 0.2 s', $e->getMessage());
        }
    }

    private static function load(string $function): void
    {
        foreach (self::snippets() as $snippet) {
            if (str_starts_with($snippet, "function $function(") && !function_exists($function)) {
                eval($snippet);
            }
        }
        self::assertTrue(function_exists($function), "docs/php.md has no function $function");
    }

    /**
     * @return list<string>
     */
    private static function snippets(string $file = 'docs/php.md'): array
    {
        preg_match_all('/^```php\n(.*?)^```/ms', (string) file_get_contents(dirname(__DIR__, 4) . "/$file"), $m);

        return $m[1];
    }
}
