package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			line, _ := bufio.NewReader(connection).ReadString('\n')
			if line == "nap\n" {
				time.Sleep(time.Hour)
			}
			fmt.Fprintf(connection, "%s\n", strings.ToUpper(strings.TrimSpace(line)))
		}()
	}
}
