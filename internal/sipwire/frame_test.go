package sipwire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const framed = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nContent-Length: 4\r\n\r\nbody"

// frames cuts data, written in pieces of the sizes given (the last one takes
// the rest), and describes what came out.
func frames(f *Framer, data []byte, sizes ...int) []string {
	var out []string
	for i := 0; len(data) > 0 || i == 0; i++ {
		n := len(data)
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		f.Write(data[:n])
		data = data[n:]
		for {
			frame, err := f.Next()
			if err != nil {
				return append(out, err.Error())
			}
			if frame.Kind == NoFrame {
				break
			}
			out = append(out, fmt.Sprintf("%d %s", frame.Kind, frame.Data))
		}
	}
	return out
}

func TestFramer(t *testing.T) {
	long := "OPTIONS sip:a SIP/2.0\r\nX: " + strings.Repeat("x", DefaultMaxHeader)
	message := func(s string) string { return fmt.Sprintf("%d %s", Message, s) }
	ping, pong := fmt.Sprintf("%d ", Ping), fmt.Sprintf("%d ", Pong)
	with := func(headers string) string { return "OPTIONS sip:a SIP/2.0\r\n" + headers + "\r\n\r\n" }
	lost := "sipwire: framing lost: "
	for _, c := range []struct {
		name string
		in   string
		want []string
	}{
		{"nothing", "", nil},
		{"message", framed, []string{message(framed)}},
		{"two messages", framed + framed, []string{message(framed), message(framed)}},
		{"pong", "\r\n", []string{pong}},
		{"ping", "\r\n\r\n", []string{pong, ping}},
		{"two pings", "\r\n\r\n\r\n\r\n", []string{pong, ping, pong, ping}},
		{"pong after message", framed + "\r\n" + framed, []string{message(framed), pong, message(framed)}},
		{"ping counts anew after message", "\r\n" + framed + "\r\n\r\n", []string{pong, message(framed), pong, ping}},
		{"half a CRLF", "\r", nil},
		{"no body yet", framed[:len(framed)-1], nil},
		{"compact name", with("l:0"), []string{message(with("l:0"))}},
		{"space before colon", with("Content-Length \t: 0"), []string{message(with("Content-Length \t: 0"))}},
		{"folded", with("Content-Length:\r\n 0"), []string{message(with("Content-Length:\r\n 0"))}},
		{"same twice", with("l: 0\r\nContent-length: 0"), []string{message(with("l: 0\r\nContent-length: 0"))}},
		{"length in a folded line is text", with("Subject: x\r\n Content-Length: 9\r\nl: 0"), []string{message(with("Subject: x\r\n Content-Length: 9\r\nl: 0"))}},
		{"no length", with("X: y"), []string{lost + "no Content-Length"}},
		{"different lengths", with("l: 0\r\nContent-Length: 1"), []string{lost + "conflicting Content-Length"}},
		{"negative", with("l: -1"), []string{lost + "invalid Content-Length"}},
		{"signed", with("l: +1"), []string{lost + "invalid Content-Length"}},
		{"empty", with("l:"), []string{lost + "invalid Content-Length"}},
		{"two numbers", with("l: 1\r\n 2"), []string{lost + "invalid Content-Length"}},
		{"hexadecimal", with("l: 0x1"), []string{lost + "invalid Content-Length"}},
		{"beyond any size", with("l: 99999999999999999999"), []string{lost + "invalid Content-Length"}},
		{"body too long", with("l: 1048577"), []string{lost + "body too long"}},
		{"header section too long", long, []string{lost + "header section too long"}},
		{"header section too long but complete", long + "\r\nl: 0\r\n\r\n", []string{lost + "header section too long"}},
		{"error after message", framed + with("l: x") + framed, []string{message(framed), lost + "invalid Content-Length"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f Framer
			if got := frames(&f, []byte(c.in)); !slices.Equal(got, c.want) {
				t.Errorf("got %.200q\nwant %.200q", got, c.want)
			}
			// Byte by byte it is the same.
			if len(c.in) < 1000 {
				f = Framer{}
				if got := frames(&f, []byte(c.in), slices.Repeat([]int{1}, len(c.in))...); !slices.Equal(got, c.want) {
					t.Errorf("byte by byte: got %.200q\nwant %.200q", got, c.want)
				}
			}
		})
	}
}

func TestFramerBounds(t *testing.T) {
	f := Framer{MaxHeader: 100, MaxBody: 10}
	ok := "A b SIP/2.0\r\nl: 10\r\n\r\n0123456789"
	if got := frames(&f, []byte(ok)); len(got) != 1 || !strings.Contains(got[0], "0123456789") {
		t.Errorf("%q", got)
	}
	if got := frames(&f, []byte("A b SIP/2.0\r\nl: 11\r\n\r\n")); len(got) != 1 || !strings.HasSuffix(got[0], "body too long") {
		t.Errorf("%q", got)
	}
	// What never ends is given up when the bound is reached, not later.
	f = Framer{MaxHeader: 100}
	n := 0
	for ; n < 1000; n++ {
		f.Write([]byte("x"))
		if _, err := f.Next(); err != nil {
			break
		}
	}
	if n != 100 {
		t.Errorf("gave up after %d octets", n+1)
	}
}

// The error stays, and what is written behind it is not kept.
func TestFramerErrorStays(t *testing.T) {
	var f Framer
	f.Write([]byte("A b SIP/2.0\r\n\r\n"))
	_, err := f.Next()
	var lost *FramingError
	if !errors.As(err, &lost) || string(lost.Head) != "A b SIP/2.0\r\n\r\n" {
		t.Fatalf("%v", err)
	}
	size := cap(f.buf)
	if n, werr := f.Write(bytes.Repeat([]byte("x"), 1<<20)); n != 1<<20 || werr != nil {
		t.Errorf("Write: %d, %v", n, werr)
	}
	if _, again := f.Next(); again != err || cap(f.buf) != size {
		t.Errorf("%v, buffer of %d", again, cap(f.buf))
	}
}

// A connection between messages holds no buffer, and a large body is not
// copied more often than needed.
func TestFramerMemory(t *testing.T) {
	var f Framer
	frames(&f, []byte(framed+"\r\n\r\n"+framed))
	if f.buf != nil {
		t.Errorf("holds %d bytes", cap(f.buf))
	}
	big := []byte("A b SIP/2.0\r\nl: 1000000\r\n\r\n" + strings.Repeat("x", 1000000))
	allocs := testing.AllocsPerRun(5, func() {
		for rest := big; len(rest) > 0; {
			n := min(len(rest), 4096)
			f.Write(rest[:n])
			rest = rest[n:]
			if _, err := f.Next(); err != nil {
				t.Fatal(err)
			}
		}
		f.Next()
	})
	if allocs > 6 {
		t.Errorf("%v allocations for a body of 1 MB", allocs)
	}
}

// However a stream is cut into segments, the frames are the same.
func FuzzFramer(f *testing.F) {
	for _, c := range tortures {
		f.Add(readTorture(f, c.file), uint64(1))
	}
	f.Add([]byte(framed+"\r\n\r\n"+framed+"\r\n"+framed), uint64(7))
	f.Add([]byte("A b SIP/2.0\r\nl: 70\r\n\r\n\r\n\r\n"), uint64(99))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		bounds := Framer{MaxHeader: 4000, MaxBody: 4000}
		whole := bounds
		want := frames(&whole, data)
		// The sizes of the segments, from a linear congruence.
		var sizes []int
		for range len(data) {
			seed = seed*6364136223846793005 + 1442695040888963407
			sizes = append(sizes, int(seed>>33)%(1+int(seed>>40)%200))
		}
		cut := bounds
		if got := frames(&cut, data, sizes...); !slices.Equal(got, want) {
			// A bound that is exceeded is noticed earlier or later within the
			// same message; what counts is that it is.
			t.Errorf("segments %v:\ngot  %q\nwant %q", sizes, got, want)
		}
		for _, frame := range want {
			if msg, ok := strings.CutPrefix(frame, fmt.Sprintf("%d ", Message)); ok {
				if m, err := Parse([]byte(msg), true); err == nil && !strings.HasSuffix(msg, string(m.Body())) {
					t.Errorf("framer and parser disagree about the body of %q", msg)
				}
			}
		}
	})
}
