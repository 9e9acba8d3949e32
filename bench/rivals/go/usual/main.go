// Go as the usual article writes it: a goroutine per connection, and a buffer for each.
package main

import (
	"flag"
	"log"
	"net"
	"os"
	"time"
)

var sleep = flag.Duration("sleep", 0, "how long the handler waits")

func handle(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	if *sleep > 0 {
		time.Sleep(*sleep)
	}
	if _, err := conn.Write([]byte("pong:" + string(buf[:n]))); err != nil {
		log.Print(err)
	}
}

func main() {
	flag.Parse()
	os.Remove(flag.Arg(0))
	listener, err := net.Listen("unix", flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go handle(conn)
	}
}
