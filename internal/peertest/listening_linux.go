package peertest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// listening reports whether some process has a UDP socket, or a listening TCP
// socket, at a port of 127.0.0.1 or of all addresses. It only looks at the kernel's tables:
// to try the port would disturb who is about to take it.
func listening(network string, port int) (bool, error) {
	f, err := os.Open("/proc/net/" + network)
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 0: 0100007F:1F90 00000000:0000 0A ...
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || (network == "tcp" && fields[3] != "0A") {
			continue
		}
		if fields[1] == fmt.Sprintf("0100007F:%04X", port) || fields[1] == fmt.Sprintf("00000000:%04X", port) {
			return true, nil
		}
	}
	return false, lines.Err()
}
