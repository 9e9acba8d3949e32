package unhang

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// unix(7): sun_path has 108 bytes, one of them a NUL: behind a path, in front of an abstract name.
const maxPath = 107

var urlScheme = regexp.MustCompile(`^(?i:[a-z0-9+.-]+)://`)

// checkAddress refuses what cannot be a socket's path, or "@name" for an abstract socket, before any system call.
func checkAddress(path string) error {
	name := strings.TrimPrefix(path, "@")
	switch {
	case name == "":
		return invalid("the socket's path is empty", `Give the path the server listens on, or "@name" for an abstract socket.`)
	case strings.Contains(name, "\x00"):
		return invalid("the socket's path contains a NUL byte, which no path can", `For an abstract socket write "@name".`)
	case urlScheme.MatchString(name):
		return invalid(fmt.Sprintf("the socket's path must be a plain path, but it is the URL %q", path), "Leave out its scheme.")
	case len(name) > maxPath:
		return invalid(
			fmt.Sprintf("the socket's path may have at most %d bytes, but %q has %d", maxPath, path, len(name)),
			"Use a shorter one, or a path relative to the working directory.",
		)
	}
	return nil
}

// shownAddress is for messages. A file may have any name: what is not UTF-8 or would harm a terminal is escaped.
func shownAddress(path string) string {
	return oneLine([]byte(path))
}

func isAbstract(path string) bool {
	return strings.HasPrefix(path, "@")
}

// impostor names what is at the path in place of a socket that somebody could serve; "" if nothing else is known.
func impostor(path string) string {
	found, err := os.Stat(path)
	switch {
	case isAbstract(path) || err != nil || found.Mode()&os.ModeSocket != 0:
		return ""
	case found.Mode().IsRegular():
		return "a regular file"
	case found.IsDir():
		return "a directory"
	}
	return "no socket"
}

// isDeleted tells whether the file has no name left: a container has the old file mounted, and the server made a new one.
func isDeleted(path string) bool {
	var found syscall.Stat_t
	return !isAbstract(path) && syscall.Stat(path, &found) == nil && found.Nlink == 0
}
