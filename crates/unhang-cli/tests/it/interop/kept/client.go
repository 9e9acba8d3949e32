// Asks a server behind a Unix socket by net/http, on one connection.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", os.Args[1])
		},
	}}
	ask := func(method, target string, body io.Reader, long bool) {
		request, err := http.NewRequest(method, "http://app"+target, body)
		check(err)
		reply, err := client.Do(request)
		check(err)
		text, err := io.ReadAll(reply.Body)
		check(err)
		reply.Body.Close()
		if long {
			text = []byte(fmt.Sprint(len(text)))
		}
		fmt.Printf("%s|%d\n", text, reply.StatusCode)
	}
	ask("GET", "/one", nil, false)
	ask("POST", "/two", strings.NewReader("two"), false)
	ask("POST", "/stream", strings.NewReader("three"), false)
	// A reader of unknown length: net/http sends it in chunks.
	ask("PUT", "/large", io.MultiReader(os.Stdin), true)
	ask("GET", "/gone", nil, false)
	ask("GET", "/fails", nil, false)
	ask("GET", "/last", nil, false)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
