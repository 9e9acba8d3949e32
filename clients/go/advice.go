package unhang

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Every way to take a half-close for the end that was met so far.
const halfCloseAdvice = "The request was half-closed; a server that takes this for the end of everything (Node.js, asyncio and Go's" +
	" net/http do) wants NoHalfClose: true"

// matchingEnd names the rule that would have seen the end of this reply.
func matchingEnd(reply []byte) string {
	switch {
	case bytes.HasPrefix(reply, []byte("HTTP/1.")):
		return "It speaks HTTP: use unhang.HTTP."
	case bytes.IndexByte(reply, '\n') == len(reply)-1:
		return "If each reply ends with a newline, use AtNewline()."
	case isJSON(reply):
		return "The reply is whole JSON: use AtJSON()."
	case bytes.HasSuffix(reply, []byte{0}):
		return `If each reply ends with a NUL, use AtDelimiter([]byte("\x00")).`
	}
	for _, size := range []int{4, 2, 8} {
		for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
			if len(reply) > size && number(reply[:size], order) == uint64(len(reply)-size) {
				return fmt.Sprintf("It begins with its length: use AtLength(%d, binary.%s).", size, order)
			}
		}
	}
	return "If something else marks the end, see the rules for Ends."
}

func isJSON(reply []byte) bool {
	if len(reply) == 0 || (reply[0] != '{' && reply[0] != '[') {
		return false
	}
	used, err := new(jsonEnd).find(reply, true)
	return err == nil && used == len(reply)
}
