package peertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxNetstring bounds one control message.
const maxNetstring = 1 << 20

// writeNetstring writes b in the framing of baresip's control connection: its
// length in decimal, a colon, the bytes, a comma.
func writeNetstring(w io.Writer, b []byte) error {
	_, err := fmt.Fprintf(w, "%d:%s,", len(b), b)
	return err
}

func readNetstring(r *bufio.Reader) ([]byte, error) {
	digits, err := r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(digits[:len(digits)-1])
	if err != nil || n < 0 || n > maxNetstring {
		return nil, fmt.Errorf("netstring of length %q", digits)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if b[n] != ',' {
		return nil, errors.New("netstring without its comma")
	}
	return b[:n], nil
}
