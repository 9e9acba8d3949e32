package unhang

import (
	"bytes"
	"fmt"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
)

// HTTP/1.1 for one client (RFC 9112): how a request is written, and where a reply ends. Bytes that two readers could read in two ways
// is refused: two lengths, length and chunks, folded headers, bare newlines.

const (
	maxHead      = 64 * 1024
	maxHeaders   = 100
	maxChunkLine = 4096
)

var (
	httpPrefix     = []byte("HTTP/1.")
	httpToken      = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	httpTarget     = regexp.MustCompile(`^[!-~]+$`)
	httpStatusLine = regexp.MustCompile(`^HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\x00]*)?$`)
	httpDigits     = regexp.MustCompile(`^[0-9]+$`)
	httpHexDigits  = regexp.MustCompile(`^[0-9A-Fa-f]+$`)
)

// They say where the request ends, or change what the connection is: this client's business.
var ownHeaders = map[string]bool{
	"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Upgrade": true, "Expect": true, "Te": true,
	"Trailer": true,
}

// Response is an HTTP reply. An error status is an answer like any other, not an error. http.Header(r.Header) is the same map.
type Response struct {
	Status int
	Header textproto.MIMEHeader
	Body   []byte
}

// requestBytes refuses what would be read as something else than one request.
func requestBytes(method, target string, header map[string][]string, body []byte) ([]byte, error) {
	if !httpToken.MatchString(method) || method == "CONNECT" {
		return nil, invalid(fmt.Sprintf("no HTTP method for this client: %q", method), `Say "GET" or "POST".`)
	}
	if !httpTarget.MatchString(target) {
		return nil, invalid(fmt.Sprintf("an HTTP target has only visible ASCII, but it is %q", target), "Encode it by url.PathEscape.")
	}
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\n", method, target)
	if textproto.MIMEHeader(header).Get("Host") == "" {
		request.WriteString("Host: localhost\r\n")
	}
	for name, values := range header {
		if !httpToken.MatchString(name) || ownHeaders[textproto.CanonicalMIMEHeaderKey(name)] {
			return nil, invalid(fmt.Sprintf("not a header to be set here: %q", name), "The client says itself how long the body is.")
		}
		for _, value := range values {
			if strings.ContainsAny(value, "\r\n\x00") {
				return nil, invalid(fmt.Sprintf("a header's value cannot have a line break or NUL: %q", value), "Encode it.")
			}
			fmt.Fprintf(&request, "%s: %s\r\n", name, value)
		}
	}
	if body != nil || method == "POST" || method == "PUT" || method == "PATCH" {
		fmt.Fprintf(&request, "Content-Length: %d\r\n", len(body))
	}
	request.WriteString("\r\n")
	request.Write(body)
	return request.Bytes(), nil
}

type httpHead struct {
	status  int
	header  textproto.MIMEHeader
	keep    bool
	length  int // -1: the close is the end
	chunked bool
}

// httpScanner looks for the end of the reply to a request of method.
type httpScanner struct {
	method    string
	maxReply  int
	at        int // where the next thing begins
	looked    int // for the end of the head, up to here
	head      *httpHead
	body      []byte
	inTrailer bool
	trailer   int // bytes of it
}

func (s *httpScanner) traits() traits {
	return traits{overhead: -1, awaited: "end of its HTTP reply", isHTTP: true}
}

func (s *httpScanner) look(buffer []byte, closed bool) (*found, error) {
	for s.head == nil {
		head, err := s.readHead(buffer)
		if head == nil {
			return nil, err
		}
		// 1xx comes before the reply.
		if head.status >= 200 {
			s.head = head
		}
	}
	switch {
	case s.head.chunked:
		return s.chunks(buffer)
	case s.head.length < 0 && len(buffer)-s.at > s.maxReply:
		return nil, errTooLarge
	case s.head.length < 0 && !closed:
		return nil, nil
	case s.head.length < 0:
		return s.found(buffer[s.at:], len(buffer)), nil
	}
	end := s.at + s.head.length
	if len(buffer) < end {
		return nil, nil
	}
	return s.found(buffer[s.at:end:end], end), nil
}

func (s *httpScanner) found(body []byte, used int) *found {
	return &found{response: &Response{s.head.status, s.head.header, body}, used: used, keep: s.head.keep}
}

func (s *httpScanner) readHead(buffer []byte) (*httpHead, error) {
	rest := buffer[s.at:]
	prefix := rest
	if len(prefix) > len(httpPrefix) {
		prefix = prefix[:len(httpPrefix)]
	}
	if !bytes.HasPrefix(httpPrefix, prefix) {
		if s.at == 0 {
			if mayBe, err := beginsErrorLine(buffer); mayBe || err != nil {
				return nil, err
			}
		}
		return nil, malformedBytes(fmt.Sprintf("no HTTP reply begins with %q", prefix))
	}
	from := s.looked - 3
	if from < s.at {
		from = s.at
	}
	s.looked = len(buffer)
	end := bytes.Index(buffer[from:], []byte("\r\n\r\n"))
	until := len(buffer)
	if end >= 0 {
		until = from + end
	}
	if until > maxHead {
		return nil, errTooLarge
	}
	raw := buffer[s.at:until]
	if bytes.Count(raw, []byte("\n")) != bytes.Count(raw, []byte("\r\n")) {
		return nil, malformedBytes("the lines of its head end by a bare newline")
	}
	if end < 0 {
		return nil, nil
	}
	s.at = until + 4
	s.looked = s.at
	return parseHead(string(raw), s.method, s.maxReply)
}

func (s *httpScanner) chunks(buffer []byte) (*found, error) {
	for {
		rest := buffer[s.at:]
		newline := bytes.IndexByte(rest, '\n')
		if newline > maxChunkLine || newline < 0 && len(rest) > maxChunkLine {
			return nil, malformedBytes("a chunk's line is too long")
		}
		if newline < 0 {
			return nil, nil
		}
		if newline == 0 || rest[newline-1] != '\r' {
			return nil, malformedBytes("a chunk's line ends by a bare newline")
		}
		line := string(rest[:newline-1])
		if s.inTrailer {
			s.at += newline + 1
			s.trailer += newline + 1
			if s.trailer > maxHead {
				return nil, errTooLarge
			}
			if line == "" {
				return s.found(s.body, s.at), nil
			}
			continue
		}
		size, err := chunkSize(line)
		if err != nil {
			return nil, err
		}
		if size > int64(s.maxReply-len(s.body)) {
			return nil, errTooLarge
		}
		if size == 0 {
			s.inTrailer = true
			s.at += newline + 1
			continue
		}
		chunk := rest[newline+1:]
		if int64(len(chunk)) < size {
			return nil, nil
		}
		tail := chunk[size:]
		if len(tail) > 2 {
			tail = tail[:2]
		}
		if !bytes.HasPrefix([]byte("\r\n"), tail) {
			return nil, malformedBytes("a chunk is longer than its size")
		}
		if len(tail) < 2 {
			return nil, nil
		}
		s.body = append(s.body, chunk[:size]...)
		s.at += newline + 1 + int(size) + 2
	}
}

func chunkSize(line string) (int64, error) {
	digits, _, _ := strings.Cut(line, ";")
	digits = strings.TrimRight(digits, " \t")
	if !httpHexDigits.MatchString(digits) {
		return 0, malformedBytes(fmt.Sprintf("no size of a chunk: %.40q", digits))
	}
	size, err := strconv.ParseInt(digits, 16, 64)
	if err != nil {
		return 0, errTooLarge
	}
	return size, nil
}

func parseHead(raw, method string, maxReply int) (*httpHead, error) {
	first, rest, hasHeaders := strings.Cut(raw, "\r\n")
	statusLine := httpStatusLine.FindStringSubmatch(first)
	if statusLine == nil {
		return nil, malformedBytes(fmt.Sprintf("no status line: %.80q", first))
	}
	head := &httpHead{header: textproto.MIMEHeader{}, length: -1}
	head.status, _ = strconv.Atoi(statusLine[2]) // three digits
	if hasHeaders {
		lines := strings.Split(rest, "\r\n")
		if len(lines) > maxHeaders {
			return nil, malformedBytes(fmt.Sprintf("more than %d headers", maxHeaders))
		}
		for _, line := range lines {
			name, value, ok := parseHeader(line)
			if !ok {
				return nil, malformedBytes(fmt.Sprintf("no header: %.80q", line))
			}
			head.header.Add(name, value)
		}
	}
	if head.status == 101 {
		return nil, malformedBytes("101 Switching Protocols, which was not asked for")
	}
	head.keep = statusLine[1] == "1" && !saysClose(head.header["Connection"])
	if err := head.setBody(method, maxReply); err != nil {
		return nil, err
	}
	return head, nil
}

// setBody finds out where the body ends.
func (h *httpHead) setBody(method string, maxReply int) error {
	lengths, codings := h.header["Content-Length"], h.header["Transfer-Encoding"]
	switch {
	case len(lengths) > 1 || len(lengths) == 1 && len(codings) > 0:
		return malformedBytes("its length is said twice")
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return malformedBytes(fmt.Sprintf("a transfer coding other than chunked: %q", codings))
	case len(lengths) == 1 && !httpDigits.MatchString(lengths[0]):
		return malformedBytes(fmt.Sprintf("no length: %.40q", lengths[0]))
	case method == "HEAD" || h.status < 200 || h.status == 204 || h.status == 304:
		h.length = 0
	case len(codings) == 1:
		h.chunked = true
	case len(lengths) == 1:
		length, err := strconv.Atoi(lengths[0])
		if err != nil || length > maxReply {
			return errTooLarge
		}
		h.length = length
	default:
		h.keep = false
	}
	return nil
}

func parseHeader(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	// A name with a space at either end, or a line that begins with one (folded), is no token.
	ok = ok && httpToken.MatchString(name) && !strings.ContainsAny(value, "\r\n\x00")
	return name, strings.Trim(value, " \t"), ok
}

func saysClose(values []string) bool {
	for _, value := range values {
		for _, token := range strings.Split(value, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "close") {
				return true
			}
		}
	}
	return false
}
