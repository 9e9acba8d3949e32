package unhang

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAddressVectors(t *testing.T) {
	type vector struct {
		Name, Input string
		Kernel      *string
		Says        []string
	}
	for _, v := range readVectors[vector](t, "address.json") {
		t.Run(v.Name, func(t *testing.T) {
			err := checkAddress(v.Input)
			if v.Kernel != nil {
				// The standard library makes the kernel's name of "@name"; TestAbstractName shows that.
				if err != nil || strings.Replace(v.Input, "@", "\x00", map[bool]int{true: 1}[isAbstract(v.Input)]) != *v.Kernel {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, InvalidArgument) {
				t.Fatalf("%v", err)
			}
			for _, word := range v.Says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in: %v", word, err)
				}
			}
		})
	}
}

func TestErrorLineVectors(t *testing.T) {
	type vector struct {
		Name   string
		Bytes  data
		Reason *string
		Shown  string
	}
	for _, v := range readVectors[vector](t, "error_line.json") {
		t.Run(v.Name, func(t *testing.T) {
			if !isErrorLine(v.Bytes) || v.Reason == nil {
				if isErrorLine(v.Bytes) || v.Reason != nil {
					t.Fatal("one takes it for an error line, the other does not")
				}
				return
			}
			err := serverError("s", v.Bytes)
			// U+FFFD once for each run of bytes that are no UTF-8, as decoders do; the vectors have no longer runs.
			if got := strings.ToValidUTF8(err.Reason, "\ufffd"); got != *v.Reason {
				t.Errorf("reason %q", got)
			}
			if got := oneLine([]byte(err.Reason)); got != v.Shown {
				t.Errorf("shown %q, not %q", got, v.Shown)
			}
		})
	}
}

// rule is how the vectors describe an end.
type rule struct {
	At        string
	Delimiter data
	Bytes     int
	Order     string
	Seconds   float64
}

func (r rule) ends() Ends {
	switch r.At {
	case "newline":
		return AtNewline()
	case "delimiter":
		return AtDelimiter(r.Delimiter)
	case "length":
		order := binary.ByteOrder(binary.BigEndian)
		if r.Order == "little" {
			order = binary.LittleEndian
		}
		return AtLength(r.Bytes, order)
	case "json":
		return AtJSON()
	case "silence":
		return AtSilence(time.Duration(r.Seconds * float64(time.Second)))
	}
	return AtClose()
}

// fed is what a scanner makes of bytes that come in these pieces: what it found, nothing, or the kind of an error.
func fed(s scanner, pieces [][]byte, closed bool) (found *found, kind string) {
	var buffer []byte
	look := func(atEnd bool) bool {
		var err error
		if found, err = s.look(buffer, atEnd); err == nil {
			return found != nil
		}
		var bad malformedBytes
		var line errorLine
		switch {
		case err == errTooLarge:
			kind = "reply_too_large"
		case errors.As(err, &bad):
			kind = "malformed_reply"
		case errors.As(err, &line):
			kind = "server_error"
		}
		return true
	}
	for _, piece := range pieces {
		buffer = append(buffer, piece...)
		if look(false) {
			return found, kind
		}
	}
	if closed {
		look(true)
	}
	return found, kind
}

// cuts: in one piece, byte by byte, and cut in two at every place (of a long one: at some).
func cuts(whole []byte) [][][]byte {
	all := [][][]byte{{whole}}
	if len(whole) > 1000 {
		for _, at := range []int{1, 17, len(whole) / 2, len(whole) - 1} {
			all = append(all, [][]byte{whole[:at], whole[at:]})
		}
		return all
	}
	var single [][]byte
	for at := range whole {
		single = append(single, whole[at:at+1])
		all = append(all, [][]byte{whole[:at], whole[at:]})
	}
	return append(all, single)
}

func TestEndsVectors(t *testing.T) {
	type vector struct {
		Name   string
		Ends   rule
		Bytes  data
		Closed bool
		Reply  *data
		Rest   data
		Error  string
	}
	for _, v := range readVectors[vector](t, "ends.json") {
		t.Run(v.Name, func(t *testing.T) {
			for _, pieces := range cuts(v.Bytes) {
				got, kind := fed(v.Ends.ends().scanner(vectorMaxReply), pieces, v.Closed)
				switch {
				case kind != v.Error || (got == nil) != (v.Reply == nil):
					t.Fatalf("%q: %v, %q", pieces, got, kind)
				case got != nil && !bytes.Equal(got.reply, *v.Reply):
					t.Fatalf("%q: reply %q", pieces, got.reply)
				case got != nil && got.used != len(v.Bytes)-len(v.Rest):
					t.Fatalf("%q: used %d", pieces, got.used)
				}
			}
		})
	}
}

func TestHTTPVectors(t *testing.T) {
	type vector struct {
		Name, Method string
		Bytes        data
		Closed       bool
		Status       int
		Body, Rest   data
		Keep         bool
		Headers      [][2]data
		Error        string
	}
	for _, v := range readVectors[vector](t, "http.json") {
		t.Run(v.Name, func(t *testing.T) {
			for _, pieces := range cuts(v.Bytes) {
				got, kind := fed(&httpScanner{method: v.Method, maxReply: vectorMaxReply}, pieces, v.Closed)
				if kind != v.Error || (got == nil) != (v.Status == 0) {
					t.Fatalf("%q: %v, %q", pieces, got, kind)
				}
				if got == nil {
					continue
				}
				response := got.response
				if response.Status != v.Status || !bytes.Equal(response.Body, v.Body) || got.keep != v.Keep ||
					got.used != len(v.Bytes)-len(v.Rest) {
					t.Fatalf("%q: %+v %+v", pieces, got, response)
				}
				if v.Headers == nil {
					continue
				}
				header := textproto.MIMEHeader{}
				for _, pair := range v.Headers {
					header.Add(string(pair[0]), string(pair[1]))
				}
				if !reflect.DeepEqual(header, response.Header) {
					t.Fatalf("%q: %q", pieces, response.Header)
				}
			}
		})
	}
}
