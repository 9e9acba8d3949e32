<?php

declare(strict_types=1);

namespace Unhang\Reader;

/**
 * The status line and the headers of one response, as far as they say where its body ends.
 *
 * @internal
 */
final class HttpHead
{
    /** Of a number that PHP can count. */
    private const DIGITS = 18;

    /** Common servers allow as many. */
    private const MOST_HEADERS = 100;

    /**
     * @param int|null $length bytes of body; null if the body is chunked or ends with the connection
     */
    private function __construct(
        public readonly int $status,
        public readonly ?int $length,
        public readonly bool $chunked,
        public readonly bool $keepAlive,
    ) {
    }

    /**
     * @param string $head   without the empty line
     * @param string $method of the request
     *
     * @throws Malformed
     */
    public static function parse(string $head, string $method): self
    {
        $lines = explode("\r\n", $head);
        if (preg_match('/\AHTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7E\x80-\xFF]*)?\z/', $lines[0], $status) !== 1) {
            throw new Malformed('the status line of HTTP/1.1');
        }
        $headers = self::headers(array_slice($lines, 1));
        $code = (int) $status[2];
        $bodiless = $method === 'HEAD' || $code < 200 || $code === 204 || $code === 304;

        $lengths = $headers['content-length'] ?? [];
        $encodings = $headers['transfer-encoding'] ?? [];
        if ($lengths !== [] && $encodings !== []) {
            throw new Malformed('either Content-Length or Transfer-Encoding');
        }
        if (count($lengths) > 1 || preg_match('/\A\d+\z/', $lengths[0] ?? '0') !== 1) {
            throw new Malformed('one number as Content-Length');
        }
        if (!$bodiless && strlen(ltrim($lengths[0] ?? '0', '0')) > self::DIGITS) {
            throw Malformed::tooLong();
        }
        if ($encodings !== [] && array_map('strtolower', $encodings) !== ['chunked']) {
            throw new Malformed('no Transfer-Encoding but chunked');
        }

        $options = array_map('trim', explode(',', strtolower(implode(',', $headers['connection'] ?? []))));

        return new self(
            $code,
            $bodiless ? 0 : (isset($lengths[0]) ? (int) $lengths[0] : null),
            !$bodiless && $encodings !== [],
            $status[1] === '1' && !in_array('close', $options, true),
        );
    }

    /**
     * Whether the real response is still to come: 100 Continue, 103 Early Hints.
     */
    public function isInterim(): bool
    {
        if ($this->status === 101) {
            throw new Malformed('no switch to another protocol');
        }

        return $this->status < 200;
    }

    /**
     * @param list<string> $lines
     *
     * @return array<string, list<string>> by name in lower case
     */
    private static function headers(array $lines): array
    {
        if (count($lines) > self::MOST_HEADERS) {
            throw new Malformed('at most ' . self::MOST_HEADERS . ' headers');
        }
        $headers = [];
        foreach ($lines as $line) {
            if (preg_match('/\A([!#$%&\'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7E\x80-\xFF]*)\z/', $line, $m) !== 1) {
                throw new Malformed('a header of HTTP/1.1');
            }
            $headers[strtolower($m[1])][] = trim($m[2], " \t");
        }

        return $headers;
    }
}
