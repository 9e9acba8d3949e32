package unhang

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
)

// Beside a call's timeout, on a machine with much else to do. A hang takes for ever.
const slack = 40 * time.Second

type callCase struct {
	Name, Via, Mode string
	Pause           float64
	Options         struct {
		Timeout   float64
		Ends      *rule
		HalfClose *bool `json:"half_close"`
		MaxReply  int   `json:"max_reply"`
	}
	Requests []json.RawMessage
	Expect   []expectation
}

type expectation struct {
	Reply, Body *data
	Status      int
	Error       Kind
	MayHaveRun  *bool `json:"may_have_run"`
	Reason      *string
	Says        []string
	ShownAtMost int `json:"shown_at_most"`
}

func seconds64(value float64) time.Duration {
	return time.Duration(value * float64(time.Second))
}

// TestCalls runs every case of spec/vectors/calls.json against the bad server.
func TestCalls(t *testing.T) {
	directory := t.TempDir()
	start(t, "python3", badServer, "--cases", vectors+"calls.json", directory)
	// A group, so that the server outlives the parallel tests.
	t.Run("case", func(t *testing.T) {
		for number, c := range readVectors[callCase](t, "calls.json") {
			c, path := c, filepath.Join(directory, fmt.Sprintf("%d.sock", number))
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				ask := c.asker(t, path)
				for i, request := range c.Requests {
					if i > 0 {
						time.Sleep(seconds64(c.Pause))
					}
					begin := time.Now()
					status, reply, err := ask(request)
					if elapsed := time.Since(begin); elapsed > seconds64(c.Options.Timeout)+slack {
						t.Errorf("took %s", elapsed)
					}
					c.Expect[i].check(t, status, reply, err)
				}
			})
		}
	})
}

func (c callCase) asker(t *testing.T, path string) func(json.RawMessage) (int, []byte, error) {
	timeout, maxReply := seconds64(c.Options.Timeout), c.Options.MaxReply
	ctx := context.Background()
	bytesOf := func(raw json.RawMessage) []byte {
		var request data
		if err := json.Unmarshal(raw, &request); err != nil {
			t.Fatal(err)
		}
		return request
	}
	switch c.Via {
	case "lines":
		lines := &Lines{Path: path, Timeout: timeout, MaxReply: maxReply}
		t.Cleanup(lines.Close)
		return func(raw json.RawMessage) (int, []byte, error) {
			reply, err := lines.Call(ctx, bytesOf(raw))
			return 0, reply, err
		}
	case "http":
		client := &HTTP{Path: path, Timeout: timeout, MaxReply: maxReply}
		t.Cleanup(client.Close)
		return func(raw json.RawMessage) (int, []byte, error) {
			var request struct {
				Method, Target string
				Headers        map[string]string
				Body           data
			}
			if err := json.Unmarshal(raw, &request); err != nil {
				t.Fatal(err)
			}
			header := map[string][]string{}
			for name, value := range request.Headers {
				header[name] = []string{value}
			}
			response, err := client.Do(ctx, request.Method, request.Target, header, request.Body)
			if err != nil {
				return 0, nil, err
			}
			return response.Status, response.Body, nil
		}
	}
	client := Client{Path: path, Timeout: timeout, MaxReply: maxReply}
	if c.Options.Ends != nil {
		client.Ends = c.Options.Ends.ends()
	}
	client.NoHalfClose = c.Options.HalfClose != nil && !*c.Options.HalfClose
	return func(raw json.RawMessage) (int, []byte, error) {
		reply, err := client.Call(ctx, bytesOf(raw))
		return 0, reply, err
	}
}

func (x expectation) check(t *testing.T, status int, reply []byte, err error) {
	t.Helper()
	if x.Error != "" {
		x.checkError(t, err)
		return
	}
	expected := x.Reply
	if x.Status != 0 {
		expected = x.Body
	}
	if err != nil || status != x.Status || !bytes.Equal(reply, *expected) {
		t.Fatalf("%d %.100q, %v", status, reply, err)
	}
}

func (x expectation) checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, x.Error) {
		t.Fatalf("not %s: %v", x.Error, err)
	}
	message := e.Error()
	if x.MayHaveRun != nil && e.MayHaveRun != *x.MayHaveRun {
		t.Errorf("may have run: %v: %s", e.MayHaveRun, message)
	}
	if x.Reply != nil && !bytes.Equal(e.Reply, *x.Reply) {
		t.Errorf("reply %.100q", e.Reply)
	}
	if x.Reason != nil && e.Reason != *x.Reason {
		t.Errorf("reason %.100q", e.Reason)
	}
	for _, word := range x.Says {
		if !strings.Contains(message, word) {
			t.Errorf("%q is not in: %s", word, message)
		}
	}
	limit := 2000
	if x.ShownAtMost > 0 {
		limit = x.ShownAtMost
	}
	if len(message) > limit || strings.IndexFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		t.Errorf("%d bytes: %q", len(message), message)
	}
	if e.Fault == "" || e.Advice == "" {
		t.Errorf("fault %q, advice %q", e.Fault, e.Advice)
	}
}
