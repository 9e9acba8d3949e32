package unhang

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

var errorPrefix = []byte("ERR ")

// Ends is how the server shows that its reply is complete: AtClose, AtNewline, AtDelimiter, AtLength, AtJSON, AtPredicate or
// AtSilence.
type Ends struct {
	err     *Error // a mistake in its making, told by the call
	scanner func(maxReply int) scanner
}

// found is a whole reply, the first used bytes of what came. Not keep: the connection serves no other request.
type found struct {
	reply    []byte
	response *Response // HTTP
	used     int
	keep     bool
}

// scanner looks for the end in the bytes of one reply. It is asked again each time more have come.
type scanner interface {
	look(buffer []byte, closed bool) (*found, error)
	traits() traits
}

type traits struct {
	overhead int           // bytes beside the reply's own, before it counts as too large; -1: the scanner itself tells
	awaited  string        // what did not come, for a message
	closes   bool          // only the close ends it
	isHTTP   bool          // no other rule is worth advising
	patience time.Duration // silence that ends it
}

// What a scanner says of bytes that will never be a reply.
type malformedBytes string

func (m malformedBytes) Error() string { return string(m) }

var errTooLarge = errors.New("longer than allowed, by its own word")

// errorLine came in place of a reply, in its first length bytes.
type errorLine struct{ length int }

func (errorLine) Error() string { return "an error line" }

// AtClose: the server closes or half-closes, and the reply is every byte until then. The default.
func AtClose() Ends {
	return Ends{scanner: func(int) scanner { return closeScanner{traits{awaited: "close", closes: true}} }}
}

// AtSilence is a guess, for servers that show no end: so long without a byte, after the first one. A slow reply is cut.
func AtSilence(silence time.Duration) Ends {
	ends := Ends{scanner: func(int) scanner {
		return closeScanner{traits{awaited: "silence that would end it", patience: silence}}
	}}
	if silence <= 0 || silence > longestTimeout {
		ends.err = invalid(fmt.Sprintf("the silence must be more than 0 and at most %s, but it is %s", longestTimeout, silence),
			"A number alone is nanoseconds.")
	}
	return ends
}

type closeScanner struct{ t traits }

func (s closeScanner) traits() traits { return s.t }

func (s closeScanner) look(buffer []byte, closed bool) (*found, error) {
	// No bytes at all look the same as a server that died.
	if !closed || len(buffer) == 0 {
		return nil, nil
	}
	return &found{reply: buffer, used: len(buffer)}, nil
}

// AtNewline: the reply is one line, up to and with its newline. "ERR reason" is an error, whether the server closes or not.
func AtNewline() Ends {
	return AtDelimiter([]byte("\n"))
}

// AtDelimiter: the reply is everything up to and with the first delimiter.
func AtDelimiter(delimiter []byte) Ends {
	ends := Ends{scanner: func(int) scanner { return &delimiterScanner{delimiter: delimiter, keepIt: true} }}
	if len(delimiter) == 0 {
		ends.err = invalid("a delimiter must have at least one byte", `Say []byte("\x00").`)
	}
	return ends
}

type delimiterScanner struct {
	delimiter []byte
	keepIt    bool
	seen      int
}

func (s *delimiterScanner) traits() traits {
	t := traits{awaited: fmt.Sprintf("delimiter (%q)", s.delimiter)}
	if bytes.Equal(s.delimiter, []byte("\n")) {
		t.awaited = "newline"
	}
	if !s.keepIt {
		t.overhead = len(s.delimiter)
	}
	return t
}

func (s *delimiterScanner) look(buffer []byte, _ bool) (*found, error) {
	// The delimiter may have begun in the bytes that were looked at before.
	from := s.seen - len(s.delimiter) + 1
	if from < 0 {
		from = 0
	}
	s.seen = len(buffer)
	at := bytes.Index(buffer[from:], s.delimiter)
	if at < 0 {
		return nil, nil
	}
	at += from
	used := at + len(s.delimiter)
	if bytes.Equal(s.delimiter, []byte("\n")) && bytes.HasPrefix(buffer, errorPrefix) {
		return nil, errorLine{used}
	}
	if s.keepIt {
		at = used
	}
	return &found{reply: buffer[:at:at], used: used, keep: true}, nil
}

// AtLength: the reply's length comes first, as an unsigned number of 1, 2, 4 or 8 bytes. It is not part of the reply.
func AtLength(size int, order binary.ByteOrder) Ends {
	ends := Ends{scanner: func(maxReply int) scanner { return lengthScanner{size, order, maxReply} }}
	if size != 1 && size != 2 && size != 4 && size != 8 || order == nil {
		ends.err = invalid(fmt.Sprintf("a length has 1, 2, 4 or 8 bytes and an order, but it is %d, %v", size, order),
			"Most protocols have AtLength(4, binary.BigEndian).")
	}
	return ends
}

type lengthScanner struct {
	size     int
	order    binary.ByteOrder
	maxReply int
}

func (s lengthScanner) traits() traits {
	return traits{overhead: s.size, awaited: "end that its length promised"}
}

func (s lengthScanner) look(buffer []byte, _ bool) (*found, error) {
	if len(buffer) < s.size {
		return nil, nil
	}
	length := number(buffer[:s.size], s.order)
	if length > uint64(s.maxReply) {
		if mayBe, err := beginsErrorLine(buffer); mayBe || err != nil {
			return nil, err
		}
		return nil, errTooLarge
	}
	used := s.size + int(length)
	if len(buffer) < used {
		return nil, nil
	}
	return &found{reply: buffer[s.size:used:used], used: used, keep: true}, nil
}

func number(data []byte, order binary.ByteOrder) uint64 {
	switch len(data) {
	case 1:
		return uint64(data[0])
	case 2:
		return uint64(order.Uint16(data))
	case 4:
		return uint64(order.Uint32(data))
	}
	return order.Uint64(data)
}

// AtJSON: the reply is one JSON value. Brackets and strings are followed; whether it is valid inside is for a parser to say.
func AtJSON() Ends {
	return Ends{scanner: func(int) scanner { return &jsonScanner{} }}
}

type jsonScanner struct{ json jsonEnd }

func (s *jsonScanner) traits() traits { return traits{awaited: "end of its JSON"} }

func (s *jsonScanner) look(buffer []byte, closed bool) (*found, error) {
	if len(buffer) > 0 && buffer[0] == errorPrefix[0] {
		if mayBe, err := beginsErrorLine(buffer); mayBe || err != nil {
			return nil, err
		}
	}
	used, err := s.json.find(buffer, closed)
	if err != nil {
		return nil, malformedBytes(err.Error())
	}
	if used == 0 {
		return nil, nil
	}
	return &found{reply: buffer[:used:used], used: used, keep: true}, nil
}

// AtPredicate: whole gets all bytes so far, each time more have come; it returns how many the reply has, and whether it is
// whole. It must not change or keep the bytes.
func AtPredicate(whole func(reply []byte) (length int, isWhole bool)) Ends {
	ends := Ends{scanner: func(int) scanner { return predicateScanner(whole) }}
	if whole == nil {
		ends.err = invalid("a predicate must be a function, but it is nil", "Give one.")
	}
	return ends
}

type predicateScanner func([]byte) (int, bool)

func (s predicateScanner) traits() traits { return traits{awaited: "end, says the predicate"} }

func (s predicateScanner) look(buffer []byte, _ bool) (*found, error) {
	used, isWhole := s(buffer)
	if !isWhole {
		return nil, nil
	}
	if used < 0 || used > len(buffer) {
		return nil, invalid(fmt.Sprintf("the predicate must return a number up to %d, but it returned %d", len(buffer), used),
			"It says how many of the bytes are the reply.")
	}
	return &found{reply: buffer[:used:used], used: used, keep: true}, nil
}

// beginsErrorLine tells whether this may become an error line. The error is one, for rules that no such line can fulfil.
func beginsErrorLine(buffer []byte) (bool, error) {
	length := len(buffer)
	if length > len(errorPrefix) {
		length = len(errorPrefix)
	}
	if !bytes.HasPrefix(errorPrefix, buffer[:length]) {
		return false, nil
	}
	if newline := bytes.IndexByte(buffer, '\n'); newline >= 0 {
		return false, errorLine{newline + 1}
	}
	return true, nil
}

// isErrorLine: the whole reply is "ERR ", a reason, one newline, the end.
func isErrorLine(reply []byte) bool {
	return bytes.HasPrefix(reply, errorPrefix) && bytes.IndexByte(reply, '\n') == len(reply)-1
}
