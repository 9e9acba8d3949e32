<?php

declare(strict_types=1);

namespace Unhang;

use Unhang\Exception\InvalidArgumentException;

/**
 * Where the server listens, checked: PHP would cut a long path and talk to another file.
 *
 * @internal
 */
final readonly class Address
{
    /** The kernel has 108 bytes, one of them a NUL: behind a path, in front of an abstract name. */
    private const MAX_BYTES = 107;

    private bool $abstract;

    public function __construct(public string $path)
    {
        $this->abstract = str_starts_with($path, '@');
        $name = $this->abstract ? substr($path, 1) : $path;

        if ($name === '') {
            throw new InvalidArgumentException(
                'The socket\'s path is empty. Give the path the server listens on, or "@name" for an abstract socket.'
            );
        }
        if (str_contains($name, "\0")) {
            throw new InvalidArgumentException(
                'The socket\'s path contains a NUL byte, which no path can. For an abstract socket write "@name".'
            );
        }
        if (preg_match('~^[a-z0-9+.-]+://~i', $path) === 1) {
            throw new InvalidArgumentException(
                'The socket\'s path must be a plain path, but it is the URL "' . Printable::text($path)
                    . '". Leave out its scheme.'
            );
        }
        if (strlen($name) > self::MAX_BYTES) {
            throw new InvalidArgumentException(sprintf(
                'The socket\'s path may have at most %d bytes, but "%s" has %d.'
                    . ' Use a shorter one, or a path relative to the working directory.',
                self::MAX_BYTES,
                Printable::text($path),
                strlen($name),
            ));
        }
    }

    public function url(): string
    {
        return 'unix://' . $this->name();
    }

    /**
     * As ext/sockets takes it; null if it does not take one so long: it counts a NUL where the kernel needs none.
     */
    public function forSockets(): ?string
    {
        return strlen($this->name()) > self::MAX_BYTES ? null : $this->name();
    }

    /**
     * What is at the path in place of a socket; null if it is a socket, or if open_basedir forbids to look.
     */
    public function impostor(): ?string
    {
        $stat = $this->stat();

        return $stat === null ? null : match ($stat['mode'] & 0o170000) {
            0o140000 => null,
            0o100000 => 'a regular file',
            0o040000 => 'a directory',
            default => 'no socket',
        };
    }

    /**
     * Whether the file is reached through a mount alone: its own name was deleted. So it is in a container that had the
     * socket mounted, once the server has made a new one.
     */
    public function isDeleted(): bool
    {
        return ($this->stat()['nlink'] ?? null) === 0;
    }

    /**
     * @return array<int|string, int>|null
     */
    private function stat(): ?array
    {
        if ($this->abstract) {
            return null;
        }
        clearstatcache(true, $this->path);

        return Quietly::run(fn () => stat($this->path)) ?: null;
    }

    private function name(): string
    {
        return $this->abstract ? "\0" . substr($this->path, 1) : $this->path;
    }
}
