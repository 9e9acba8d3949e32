<?php

declare(strict_types=1);

namespace Unhang\Demo;

use Unhang\Client;
use Unhang\Exception\NotClosedException;
use Unhang\Exception\ServerErrorException;
use Unhang\Exception\UnhangException;

/** What came of one call: everything the page has to show. */
final readonly class Answer
{
    private function __construct(
        public ?string $reply,
        public ?UnhangException $trouble,
        public float $seconds,
    ) {
    }

    public static function to(string $message, string $path, float $timeout): self
    {
        // Not microtime(): a clock that is being set would show a negative time.
        $start = hrtime(true);
        $reply = $trouble = null;

        try {
            $reply = (new Client($path, timeout: $timeout))->call($message);
        } catch (NotClosedException $trouble) {
            $reply = $trouble->reply;
        } catch (UnhangException $trouble) {
        }

        return new self($reply, $trouble, (hrtime(true) - $start) / 1e9);
    }

    /** One word for scripts and style sheets: answered, not-closed, refused or failed. */
    public function outcome(): string
    {
        return match (true) {
            $this->trouble === null => 'answered',
            $this->trouble instanceof NotClosedException => 'not-closed',
            $this->trouble instanceof ServerErrorException => 'refused',
            default => 'failed',
        };
    }
}
