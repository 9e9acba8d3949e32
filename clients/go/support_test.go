package unhang

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	badServer = "../../spec/bad_server.py"
	vectors   = "../../spec/vectors/"
	// The longest allowed reply that ends.json and http.json name.
	vectorMaxReply = 1_000_000
	// For calls that must succeed: generous, for a loaded machine.
	patience = time.Minute
)

// data is bytes, as the vectors write them: each character is one byte, or {"repeat", "times"}.
type data []byte

func (d *data) UnmarshalJSON(raw []byte) error {
	var repeated struct {
		Repeat string
		Times  int
	}
	var text string
	if json.Unmarshal(raw, &repeated) == nil {
		text = strings.Repeat(repeated.Repeat, repeated.Times)
	} else if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	*d = make(data, 0, len(text))
	for _, character := range text {
		*d = append(*d, byte(character))
	}
	return nil
}

func readVectors[T any](t *testing.T, name string) []T {
	t.Helper()
	raw, err := os.ReadFile(vectors + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []T }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// start runs a process until it says "ready". It ends with its standard input, at the end of the test.
func start(t *testing.T, name string, arguments ...string) io.Writer {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = command.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("not ready: %q, %v", line, err)
	}
	return stdin
}

// serve runs a bad server in this mode and returns its path.
func serve(t *testing.T, mode string, argument ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	start(t, "python3", append([]string{badServer, mode, path}, argument...)...)
	return path
}
