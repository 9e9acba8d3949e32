<?php

declare(strict_types=1);

namespace Unhang\Exception;

enum ConnectFailure
{
    /** Nothing is at the path. */
    case NoSuchFile;

    /** The socket is there, but its server is gone. */
    case NobodyListens;

    /** This user may not write to the socket, or not enter a folder above it. */
    case PermissionDenied;

    /** A file, a folder, or a datagram or packet socket. */
    case NotAStreamSocket;

    /** A server listens, but took no connection from its queue until the deadline. */
    case QueueFull;

    /** Anything else; the errno and the message tell. */
    case Other;
}
