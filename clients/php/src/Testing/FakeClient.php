<?php

declare(strict_types=1);

namespace Unhang\Testing;

use Unhang\ClientInterface;
use Unhang\Deadline;
use Unhang\Printable;

/**
 * Stands in for a client in your tests: gives the scripted replies in order, throws the scripted exceptions, asks the
 * scripted functions, and remembers what it was asked.
 */
final class FakeClient implements ClientInterface
{
    /** @var list<string> */
    private array $calls = [];

    /** @var list<string|\Throwable|\Closure(string): string> */
    private array $script;

    /** @var \Closure(string): string|null */
    private ?\Closure $always = null;

    /**
     * @param string|\Throwable|\Closure(string): string ...$script one for each call
     */
    public function __construct(string|\Throwable|\Closure ...$script)
    {
        $this->script = array_values($script);
    }

    /**
     * A client that answers every call by your function, which gets the message and may throw.
     *
     * @param \Closure(string): string $answer
     */
    public static function answering(\Closure $answer): self
    {
        $client = new self();
        $client->always = $answer;

        return $client;
    }

    public function call(#[\SensitiveParameter] string $message, float|Deadline|null $timeout = null): string
    {
        $answer = $this->script[count($this->calls)] ?? $this->always;
        $this->calls[] = $message;

        if ($answer === null) {
            // No UnhangException: the code under test would catch it and the test might pass.
            throw new \LogicException(sprintf(
                'FakeClient has a script for %d calls, but this is call %d, with "%s".'
                    . ' Script one more, or find out who calls.',
                count($this->script),
                count($this->calls),
                Printable::text($message),
            ));
        }
        if ($answer instanceof \Throwable) {
            throw $answer;
        }

        return $answer instanceof \Closure ? $answer($message) : $answer;
    }

    /**
     * @return list<string> every message so far, oldest first
     */
    public function calls(): array
    {
        return $this->calls;
    }
}
