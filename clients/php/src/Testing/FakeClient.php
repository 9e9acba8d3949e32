<?php

declare(strict_types=1);

namespace Unhang\Testing;

use Unhang\ClientInterface;

/**
 * Stands in for a client in your tests: gives the scripted replies in order, throws the scripted exceptions, and
 * remembers what it was asked.
 */
final class FakeClient implements ClientInterface
{
    /** @var list<string> */
    private array $calls = [];

    /** @var list<string|\Throwable> */
    private readonly array $script;

    public function __construct(string|\Throwable ...$script)
    {
        $this->script = array_values($script);
    }

    public function call(string $message): string
    {
        $answer = $this->script[count($this->calls)] ?? null;
        $this->calls[] = $message;

        if ($answer === null) {
            // No UnhangException: the code under test would catch it and the test might pass.
            throw new \LogicException(sprintf(
                'FakeClient has a script for %d calls, but this is call %d, with "%s".'
                    . ' Script one more, or find out who calls.',
                count($this->script),
                count($this->calls),
                $message,
            ));
        }
        if ($answer instanceof \Throwable) {
            throw $answer;
        }

        return $answer;
    }

    /**
     * @return list<string> every message so far, oldest first
     */
    public function calls(): array
    {
        return $this->calls;
    }
}
