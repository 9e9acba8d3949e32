// A server that hangs nobody: go run server.go /tmp/s.sock
package main

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"time"
)

const deadline = 5 * time.Second // for the whole exchange: no client may hold a goroutine for longer

func main() {
	_ = os.Remove(os.Args[1]) // what the last run has left; with two servers at once, use a lock
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Print("ready")
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Print(err) // as when descriptors run out: others are still served
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go serve(connection)
	}
}

func serve(connection net.Conn) {
	defer connection.Close() // whatever happens: this is the end of the reply
	_ = connection.SetDeadline(time.Now().Add(deadline))
	line, err := bufio.NewReader(io.LimitReader(connection, 1<<20)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	_, _ = io.WriteString(connection, strings.ToUpper(strings.TrimSuffix(line, "\n"))+"\n")
}
