<?php

declare(strict_types=1);

namespace Unhang\Exception;

use Unhang\Printable;

/**
 * The server gave an error in place of a reply: exactly one line, "ERR" and the reason; or an HTTP status other than
 * 2xx.
 */
final class ServerErrorException extends CallException
{
    /**
     * @param string   $reason the server's own words, as they came: escape them before you show them
     * @param int|null $status of HTTP
     * @param string   $reply  the line, or the body
     */
    public function __construct(
        string $path,
        public readonly string $reason,
        public readonly ?int $status = null,
        #[\SensitiveParameter] string $reply = '',
    ) {
        $error = $status === null ? 'an error' : "the error $status";
        parent::__construct(
            self::server($path) . " answered with $error: " . Printable::text($reason),
            $path,
            $reply,
        );
    }

    protected function kind(): string
    {
        return 'server_error';
    }

    protected function details(): array
    {
        return ($this->status === null ? [] : ['status' => $this->status])
            + ['reason' => Printable::text($this->reason)];
    }
}
