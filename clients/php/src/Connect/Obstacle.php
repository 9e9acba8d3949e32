<?php

declare(strict_types=1);

namespace Unhang\Connect;

/**
 * Why nothing more may be read.
 *
 * @internal
 */
enum Obstacle
{
    /** The connection was reset. Looking has used up the kernel's word of it. */
    case Reset;

    /** The next bytes have file descriptors with them. */
    case Descriptors;
}
