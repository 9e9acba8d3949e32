// go build -o worker && unhang serve /tmp/shout.sock --workers 2 -- ./worker
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		id, request, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		fmt.Println(id, strings.ToUpper(request))
	}
}
