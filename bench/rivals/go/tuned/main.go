// Go, tuned without leaving its net package: no goroutine and no buffer is made per connection. A
// goroutine serves the client that it accepted, then accepts again with the same buffer; another takes
// its place meanwhile only if nobody else accepts. The collector runs a quarter as often.
package main

import (
	"log"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
)

// More that wait for a client than this end, so that a crowd does not leave its memory behind.
const idle = 64

var accepting atomic.Int32

func serve(listener net.Listener) {
	buf := make([]byte, 4096)
	copy(buf, "pong:")
	for accepting.Add(1) <= idle {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		if accepting.Add(-1) == 0 {
			go serve(listener)
		}
		if n, err := conn.Read(buf[5:]); err == nil {
			conn.Write(buf[:5+n])
		}
		conn.Close()
	}
	accepting.Add(-1)
}

func main() {
	debug.SetGCPercent(400)
	os.Remove(os.Args[1])
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	go serve(listener)
	select {}
}
