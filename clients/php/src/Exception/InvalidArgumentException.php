<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * The client was built with something it cannot work with; the mistake is in the calling code.
 */
final class InvalidArgumentException extends \InvalidArgumentException implements UnhangException
{
}
