// How bytes of a stranger, and times, are shown in a message. Pure.

// Of a reason that may be megabytes: enough to read, too little to fill a log.
const SHOWN_BYTES = 300;

const ESCAPES = new Map([['\\', '\\\\'], ['\n', '\\n'], ['\r', '\\r'], ['\t', '\\t']]);
// Control, format (the bidi ones turn a line around), line and paragraph separators.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** At most 300 bytes of `text` on one line, harmless to a terminal and a log. No character and no escape is cut. */
export function oneLine(text) {
  let shown = '';
  let room = SHOWN_BYTES;
  for (let at = 0; at < text.length; ) {
    const size = characterSize(text, at);
    const piece = size === 0 ? byteEscape(text[at]) : escaped(text.toString('utf8', at, at + size));
    room -= Buffer.byteLength(piece);
    if (room < 0) {
      return `${shown}… (${text.length} bytes)`;
    }
    shown += piece;
    at += size || 1;
  }
  return shown;
}

/** How many bytes the UTF-8 character at `at` has; 0 if there is none. */
function characterSize(bytes, at) {
  const first = bytes[at];
  const size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  // Decoding and encoding again finds what the first byte does not tell: a character cut short, or one that UTF-8 forbids.
  const character = bytes.subarray(at, at + size);
  return size > 0 && Buffer.from(character.toString()).equals(character) ? size : 0;
}

function escaped(character) {
  const short = ESCAPES.get(character);
  if (short !== undefined || !HIDDEN.test(character)) {
    return short ?? character;
  }
  const code = character.codePointAt(0);
  return code < 0x100 ? byteEscape(code) : `\\u{${code.toString(16)}}`;
}

function byteEscape(byte) {
  return `\\x${byte.toString(16).padStart(2, '0')}`;
}

export function time(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${Math.round(milliseconds) / 1000} s`;
}

/** A stranger's text in quotes. `encoding` is how the string stands for bytes. */
export function quoted(text, encoding = 'utf8') {
  return `"${oneLine(Buffer.from(String(text), encoding))}"`;
}
