<?php

declare(strict_types=1);

namespace Unhang\Tests\Spec;

use Unhang\Client;
use Unhang\Exception\CallException;
use Unhang\Exception\InvalidArgumentException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\UnhangException;
use Unhang\Keep;
use Unhang\Tests\Support\SocketTestCase;
use Unhang\Wire;

/**
 * Every case of spec/vectors/calls.json against the bad server of all clients, with each way to keep a connection.
 */
final class CallsTest extends SocketTestCase
{
    /** Seconds beside a call's own timeout, on a machine with much else to do. A hang takes for ever. */
    private const SLACK = 40;

    public function testConnectionsPerCall(): void
    {
        $this->runCases(Keep::No);
    }

    public function testConnectionsPerClient(): void
    {
        $this->runCases(Keep::Request);
    }

    public function testConnectionsPerWorker(): void
    {
        $this->runCases(Keep::Worker);
    }

    private function runCases(Keep $keep): void
    {
        if (self::python() === null) {
            self::markTestSkipped('The bad server needs python3');
        }
        $server = [self::python(), Vectors::DIRECTORY . '/bad_server.py', '--cases'];
        $this->start([...$server, Vectors::DIRECTORY . '/vectors/calls.json', $this->directory], "ready\n");
        foreach (Vectors::of('calls.json') as [$case]) {
            // One case is about what a second request on the same connection meets.
            $isFor = $keep === Keep::No ? $case['mode'] !== 'lines-die-at-second' : isset($case['via']);
            if ($isFor) {
                $this->runCase($case, $keep);
            }
        }
    }

    /**
     * @param array<string, mixed> $case
     */
    private function runCase(array $case, Keep $keep): void
    {
        $options = $case['options'];
        $client = new Client(
            $this->path("{$case['number']}.sock"),
            timeout: $options['timeout'],
            replyEnds: isset($options['ends']) ? Vectors::ends($options['ends']) : null,
            maxReply: $options['max_reply'] ?? Client::MAX_REPLY,
            halfClose: $options['half_close'] ?? null,
            wire: match ($case['via'] ?? null) {
                'lines' => Wire::lines(),
                'http' => Wire::http(),
                null => null,
            },
            keep: $keep,
        );
        foreach ($case['requests'] as $i => $request) {
            if ($i > 0) {
                usleep((int) (($case['pause'] ?? 0) * 1e6));
            }
            $start = hrtime(true);
            try {
                $outcome = self::ask($client, $case, $request);
            } catch (UnhangException $e) {
                $outcome = $e;
            }
            self::assertLessThan($options['timeout'] + self::SLACK, (hrtime(true) - $start) / 1e9, $case['name']);
            self::check("{$case['name']}, call $i", $case['expect'][$i], $outcome);
        }
    }

    /**
     * @param array<string, mixed> $case
     * @param string|array<string, mixed> $request
     */
    private static function ask(Client $client, array $case, string|array $request): string
    {
        if (($case['via'] ?? '') !== 'http') {
            return $client->call(Vectors::bytes($request));
        }
        $wire = Wire::http($request['method'], $request['target'], $request['headers'] ?? []);

        return $client->withWire($wire)->call(Vectors::bytes($request['body'] ?? ''));
    }

    /**
     * @param array<string, mixed> $expected
     */
    private static function check(string $name, array $expected, string|UnhangException $outcome): void
    {
        if (isset($expected['status'])) {
            $refused = $outcome instanceof ServerErrorException;
            self::assertSame($expected['status'], $refused ? $outcome->status : 200, $name);
            self::assertSame(Vectors::bytes($expected['body']), $refused ? $outcome->reply : $outcome, $name);
        } elseif (!isset($expected['error'])) {
            self::assertTrue(Vectors::bytes($expected['reply']) === $outcome, $name . self::shown($outcome));
        } else {
            self::assertInstanceOf(UnhangException::class, $outcome, $name . self::shown($outcome));
            self::checkError($name . self::shown($outcome), $expected, $outcome);
        }
    }

    /**
     * @param array<string, mixed> $expected
     */
    private static function checkError(string $name, array $expected, UnhangException $error): void
    {
        $message = $error->getMessage();
        self::assertSame($expected['error'], $error->context()['kind'], $name);
        if (isset($expected['may_have_run'])) {
            $mayHaveRun = !$error->isRetrySafe() && !$error instanceof InvalidArgumentException;
            self::assertSame($expected['may_have_run'], $mayHaveRun, $name);
        }
        if (isset($expected['reply']) && $error instanceof CallException) {
            self::assertSame(Vectors::bytes($expected['reply']), $error->reply, $name);
        }
        if (isset($expected['reason'])) {
            self::assertInstanceOf(ServerErrorException::class, $error, $name);
            self::assertSame(Vectors::bytes($expected['reason']), $error->reason, $name);
        }
        foreach ($expected['says'] ?? [] as $word) {
            self::assertStringContainsString($word, $message, $name);
        }
        self::assertLessThanOrEqual($expected['shown_at_most'] ?? 2000, strlen($message), $name);
        self::assertDoesNotMatchRegularExpression('/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u', $message, $name);
    }

    private static function shown(string|UnhangException $outcome): string
    {
        return ': ' . ($outcome instanceof UnhangException ? $outcome : substr(var_export($outcome, true), 0, 200));
    }

    private static function python(): ?string
    {
        foreach (explode(':', (string) getenv('PATH')) as $directory) {
            if (is_executable("$directory/python3")) {
                return "$directory/python3";
            }
        }

        return null;
    }
}
