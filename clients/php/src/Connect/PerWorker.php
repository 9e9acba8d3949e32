<?php

declare(strict_types=1);

namespace Unhang\Connect;

/**
 * {@see \Unhang\Keep::Worker}: one connection for each address, which outlives the script.
 *
 * A script can die between its request and the reply (exit, a fatal error, a time limit), and the next script finds
 * the connection with a reply on its way that is not for it. So the connection carries a mark from before the first
 * byte of a request until its whole reply is there. PHP lets a script leave nothing on a stream but its chunk size,
 * which has no effect here, as this package reads unbuffered.
 *
 * @internal
 */
final class PerWorker extends Connections
{
    private const AT_REST = 8190;
    private const UNDER_WAY = 8191;

    /** @var array<string, true> by address: in use by this script */
    private static array $busy = [];

    /** @var array<string, int> by address: the process that used it last, in this script */
    private static array $owner = [];

    public function open(bool $anew): ?Opened
    {
        $url = $this->connector->address->url();
        if (isset(self::$busy[$url])) {
            // Another call of this script is under way: PHP would give us its connection.
            $stream = $this->connector->attempt();
            return $stream === null ? null : new Opened($stream);
        }

        // The second attempt makes a new one, since the first has closed what was there.
        for ($attempt = 0; $attempt < 2; $attempt++) {
            $stream = $this->connector->attemptPersistent();
            if ($stream === null) {
                return null;
            }
            $mark = stream_set_chunk_size($stream, self::UNDER_WAY);
            $used = $mark === self::AT_REST || $mark === self::UNDER_WAY;
            $isOurs = $this->isOurs($url);
            if (!$used || (!$anew && $mark === self::AT_REST && $isOurs && Opened::isQuiet($stream))) {
                self::$busy[$url] = true;
                self::$owner[$url] = (int) getmypid();
                return new Opened($used ? $stream : Connector::prepare($stream), reused: $used, kept: true);
            }
            // The parent's connection is not ours to shut.
            $isOurs ? PassedDescriptors::close($stream) : fclose($stream);
            unset(self::$owner[$url]);
        }
        $this->connector->errno = 0;
        $this->connector->error = 'PHP gave the same connection again after it was closed';

        return null;
    }

    public function giveBack(Opened $connection): void
    {
        if (!$connection->kept) {
            parent::close($connection);
            return;
        }
        stream_set_chunk_size($connection->stream, self::AT_REST);
        unset(self::$busy[$this->connector->address->url()]);
    }

    public function close(Opened $connection): void
    {
        parent::close($connection);
        if ($connection->kept) {
            unset(self::$busy[$this->connector->address->url()]);
        }
    }

    /** Not after a fork: parent and child would read each other's replies. */
    private function isOurs(string $url): bool
    {
        return (self::$owner[$url] ?? getmypid()) === getmypid();
    }
}
