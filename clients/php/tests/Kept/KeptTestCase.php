<?php

declare(strict_types=1);

namespace Unhang\Tests\Kept;

use Unhang\Client;
use Unhang\Keep;
use Unhang\Tests\Support\Process;
use Unhang\Tests\Support\SocketTestCase;
use Unhang\Wire;

/**
 * A test against the server of lines in server.php, whose answers begin with the number of their connection.
 */
abstract class KeptTestCase extends SocketTestCase
{
    protected function serve(?string $path = null): Process
    {
        return $this->start([PHP_BINARY, __DIR__ . '/server.php', $path ?? $this->path()], "ready\n");
    }

    protected function client(Keep $keep, mixed ...$arguments): Client
    {
        return new Client(
            ...$arguments + ['path' => $this->path(), 'timeout' => 20.0, 'wire' => Wire::lines(), 'keep' => $keep]
        );
    }
}
