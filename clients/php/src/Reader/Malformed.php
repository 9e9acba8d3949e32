<?php

declare(strict_types=1);

namespace Unhang\Reader;

/**
 * The bytes so far cannot become a reply of the expected form.
 *
 * @internal
 */
final class Malformed extends \RuntimeException
{
    /**
     * @param bool $tooLong the reply itself says that it is longer than allowed
     */
    public function __construct(string $expected, public readonly bool $tooLong = false)
    {
        parent::__construct($expected);
    }

    public static function tooLong(): self
    {
        return new self('a shorter reply', tooLong: true);
    }
}
