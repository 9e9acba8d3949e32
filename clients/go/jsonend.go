package unhang

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

var jsonScalar = regexp.MustCompile(`^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)$`)

const (
	jsonSpace        = " \t\r\n"
	jsonBeginsScalar = "-0123456789tfn"
	jsonEndsScalar   = jsonSpace + `,:]}"[{`
)

// jsonEnd follows brackets and strings, and never looks at a byte twice.
type jsonEnd struct {
	at         int    // the next byte to look at
	open       []byte // the bracket that closes each open one
	inString   bool
	inScalar   bool
	scalarFrom int
}

// find tells how many bytes the value has; 0 if it is not complete. An error: it is no JSON.
func (j *jsonEnd) find(buffer []byte, closed bool) (int, error) {
	if len(j.open) == 0 && !j.inString && !j.inScalar {
		if begun, err := j.begin(buffer); !begun {
			return 0, err
		}
	}
	if j.inScalar {
		return j.scalar(buffer, closed)
	}
	return j.nested(buffer)
}

func (j *jsonEnd) begin(buffer []byte) (bool, error) {
	for j.at < len(buffer) && bytes.IndexByte([]byte(jsonSpace), buffer[j.at]) >= 0 {
		j.at++
	}
	if j.at == len(buffer) {
		return false, nil
	}
	first := buffer[j.at]
	if bytes.IndexByte([]byte(jsonBeginsScalar), first) >= 0 {
		j.inScalar, j.scalarFrom = true, j.at
	} else if first != '"' && first != '[' && first != '{' {
		return false, fmt.Errorf("no JSON begins with the byte 0x%02x", first)
	}
	return true, nil
}

func (j *jsonEnd) scalar(buffer []byte, closed bool) (int, error) {
	for j.at < len(buffer) && bytes.IndexByte([]byte(jsonEndsScalar), buffer[j.at]) < 0 {
		j.at++
	}
	// A number may go on: only a byte behind it, or the close, ends it.
	isEnd := j.at < len(buffer)
	if !isEnd && !closed {
		return 0, nil
	}
	if !jsonScalar.Match(buffer[j.scalarFrom:j.at]) {
		if !isEnd {
			return 0, nil // cut short by the close
		}
		return 0, errors.New("no JSON value")
	}
	return j.at, nil
}

func (j *jsonEnd) nested(buffer []byte) (int, error) {
	for j.at < len(buffer) {
		value := buffer[j.at]
		j.at++
		switch {
		case j.inString && value == '\\':
			j.at++ // whatever is escaped, also when it has not come yet
			continue
		case j.inString:
			j.inString = value != '"'
		case value == '"':
			j.inString = true
		case value == '[' || value == '{':
			j.open = append(j.open, value+2) // in ASCII "]" and "}" are two behind
		case value == ']' || value == '}':
			last := len(j.open) - 1
			if j.open[last] != value {
				return 0, fmt.Errorf("a bracket is closed by %q", value)
			}
			j.open = j.open[:last]
		default:
			continue
		}
		if len(j.open) == 0 && !j.inString {
			return j.at, nil
		}
	}
	return 0, nil
}
