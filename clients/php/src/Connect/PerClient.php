<?php

declare(strict_types=1);

namespace Unhang\Connect;

/**
 * {@see \Unhang\Keep::Request}: one idle connection waits for the client's next call. A call that begins while another
 * is under way, in a Fiber or by Client::all(), opens its own.
 *
 * @internal
 */
final class PerClient extends Connections
{
    /** @var resource|null */
    private mixed $idle = null;

    /** After a fork, parent and child would read each other's replies from one connection. */
    private ?int $owner = null;

    public function __destruct()
    {
        if (is_resource($this->idle) && $this->owner === getmypid()) {
            PassedDescriptors::close($this->idle);
        }
    }

    public function open(bool $anew): ?Opened
    {
        $idle = $this->idle;
        $this->idle = null;
        if ($idle !== null) {
            $isOurs = $this->owner === getmypid();
            if (!$anew && $isOurs && Opened::isQuiet($idle)) {
                return new Opened($idle, reused: true, kept: true);
            }
            // The parent's connection is not ours to shut.
            $isOurs ? PassedDescriptors::close($idle) : fclose($idle);
        }
        $stream = $this->connector->attempt();

        return $stream === null ? null : new Opened($stream, kept: true);
    }

    public function giveBack(Opened $connection): void
    {
        if ($this->idle !== null) {
            $this->close($connection);
            return;
        }
        $this->idle = $connection->stream;
        $this->owner = getmypid() ?: null;
    }
}
