<?php

declare(strict_types=1);

namespace Unhang;

/**
 * Linux's error numbers: PHP itself names them only where ext/sockets is installed.
 *
 * @internal
 */
final class Errno
{
    public const ENOENT = 2;
    public const EAGAIN = 11;
    public const EACCES = 13;
    public const ENOTDIR = 20;
    public const ENFILE = 23;
    public const EMFILE = 24;
    public const EPIPE = 32;
    public const EPROTOTYPE = 91;
    public const ECONNRESET = 104;
    public const ECONNREFUSED = 111;
}
