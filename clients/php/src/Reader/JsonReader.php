<?php

declare(strict_types=1);

namespace Unhang\Reader;

/**
 * One JSON text (RFC 8259): an object, an array or a string ends with its last character, a number only with what
 * follows it. Finds the end and no more: json_decode() says whether what is inside is right.
 *
 * @internal
 */
final class JsonReader extends ReplyReader
{
    private const SPACE = " \t\r\n";
    private const CLOSES = ['{' => '}', '[' => ']'];

    private int $position = 0;

    /** The bracket that would close each open one, by depth. Only written in place: a copy at each would cost n². */
    private string $closing = '';

    private int $depth = 0;
    private bool $inString = false;

    public function length(string $bytes, int $known): ?int
    {
        while (true) {
            $this->position += $this->inString
                ? strcspn($bytes, '"\\', $this->position)
                : ($this->depth === 0
                    ? strspn($bytes, self::SPACE, $this->position)
                    : strcspn($bytes, '"{}[]', $this->position));
            if ($this->position >= strlen($bytes)) {
                return null;
            }

            $byte = $bytes[$this->position];
            if ($byte === '\\' && $this->inString) {
                if ($this->position + 1 === strlen($bytes)) {
                    return null;
                }
                $this->position += 2;
                continue;
            }
            if ($this->depth === 0 && !$this->inString && !str_contains('{["', $byte)) {
                return $this->bareWord($bytes);
            }
            $this->position++;
            $this->pass($byte);
            if ($this->depth === 0 && !$this->inString) {
                return $this->position;
            }
        }
    }

    /** Only a number can be whole with nothing behind it. */
    public function wholeAtClose(string $bytes): bool
    {
        return is_numeric(trim($bytes, self::SPACE));
    }

    public function missing(): string
    {
        return 'the end of the JSON';
    }

    private function pass(string $byte): void
    {
        if ($byte === '"') {
            $this->inString = !$this->inString;
        } elseif (isset(self::CLOSES[$byte])) {
            $this->closing[$this->depth++] = self::CLOSES[$byte];
        } elseif ($this->closing[--$this->depth] !== $byte) {
            throw new Malformed('JSON');
        }
    }

    /**
     * A number, true, false or null.
     */
    private function bareWord(string $bytes): ?int
    {
        $word = substr($bytes, $this->position, strcspn($bytes, self::SPACE, $this->position));
        if (in_array($word, ['true', 'false', 'null'], true)) {
            return $this->position + strlen($word);
        }
        $ended = $this->position + strlen($word) < strlen($bytes);
        if ($ended && is_numeric($word)) {
            return $this->position + strlen($word);
        }
        $mayStill = !$ended
            && (strspn($word, '0123456789+-.eE') === strlen($word)
                || array_filter(['true', 'false', 'null'], static fn ($w) => str_starts_with($w, $word)) !== []);

        return $mayStill ? null : throw new Malformed('JSON');
    }
}
