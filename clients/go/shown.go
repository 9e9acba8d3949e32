package unhang

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bytes shown of a reason that may be megabytes: enough to read, too little to fill a log.
const shownBytes = 300

// oneLine shows at most 300 bytes of text on one line, harmless to a terminal and a log. No character and no escape is cut.
func oneLine(text []byte) string {
	var shown strings.Builder
	for rest := text; len(rest) > 0; {
		character, size := utf8.DecodeRune(rest)
		piece := escaped(character)
		if character == utf8.RuneError && size == 1 {
			piece = byteEscape(rune(rest[0]))
		}
		if shown.Len()+len(piece) > shownBytes {
			return shown.String() + fmt.Sprintf("… (%d bytes)", len(text))
		}
		shown.WriteString(piece)
		rest = rest[size:]
	}
	return shown.String()
}

func escaped(character rune) string {
	switch character {
	case '\\':
		return `\\`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	// Control, format (the bidi ones turn a line around), line and paragraph separators.
	if !unicode.In(character, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
		return string(character)
	}
	if character < 0x100 {
		return byteEscape(character)
	}
	return `\u{` + strconv.FormatInt(int64(character), 16) + "}"
}

func byteEscape(value rune) string {
	return fmt.Sprintf(`\x%02x`, value)
}

func seconds(duration time.Duration) string {
	return duration.Round(time.Millisecond).String()
}
