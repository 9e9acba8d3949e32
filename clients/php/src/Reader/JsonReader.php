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
    private const WORDS = ['true', 'false', 'null'];
    private const NUMBER = '/\A-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\z/';
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
        return preg_match(self::NUMBER, trim($bytes, self::SPACE)) === 1;
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
        foreach (self::WORDS as $whole) {
            if (str_starts_with($word, $whole)) {
                return $this->position + strlen($whole);
            }
            if (str_starts_with($whole, $word) && $this->position + strlen($word) === strlen($bytes)) {
                return null;
            }
        }
        if ($this->position + strlen($word) < strlen($bytes)) {
            // Not is_numeric(): it skips white space that JSON does not know.
            return preg_match(self::NUMBER, $word) === 1
                ? $this->position + strlen($word)
                : throw new Malformed('JSON');
        }

        return strspn($word, '0123456789+-.eE') === strlen($word) ? null : throw new Malformed('JSON');
    }
}
