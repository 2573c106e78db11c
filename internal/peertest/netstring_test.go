package peertest

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestNetstring(t *testing.T) {
	var b bytes.Buffer
	for _, s := range []string{"", "hello", "with,comma:colon"} {
		b.Reset()
		if err := writeNetstring(&b, []byte(s)); err != nil {
			t.Fatal(err)
		}
		got, err := readNetstring(bufio.NewReader(&b))
		if err != nil || string(got) != s {
			t.Errorf("%q came back as %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "5:hell", "5:hello;", "-1:,", "x:,", "99999999999:"} {
		if got, err := readNetstring(bufio.NewReader(strings.NewReader(s))); err == nil {
			t.Errorf("%q was read as %q", s, got)
		}
	}
}
