<?php

declare(strict_types=1);

namespace Unhang\Exception;

/**
 * On everything this package throws: catch this to catch it all.
 */
interface UnhangException extends \Throwable
{
}
