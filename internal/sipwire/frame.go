package sipwire

import (
	"bytes"
	"strconv"
)

// Bounds of a Framer that sets none.
const (
	DefaultMaxHeader = 64 << 10
	DefaultMaxBody   = 1 << 20
)

// FrameKind tells what a Frame is.
type FrameKind uint8

// The kinds of frames.
const (
	NoFrame FrameKind = iota // nothing complete: more bytes are needed
	Message                  // a whole message
	Pong                     // a CRLF between messages
	Ping                     // a second CRLF right after the one that was told as Pong
)

// Frame is what [Framer.Next] found.
type Frame struct {
	Kind FrameKind
	Data []byte // of a Message, until the next call of the Framer
}

// FramingError says that the borders of messages are lost. Nothing that
// follows on the stream can be understood, so the connection has to be
// closed.
type FramingError struct {
	Reason string

	// Head is the header section of the message at fault, if it was
	// complete: [Parse] makes of it a *BadMessage that can be answered
	// before the connection is closed (RFC 4475 §3.1.2.3).
	Head []byte
}

func (e *FramingError) Error() string { return "sipwire: framing lost: " + e.Reason }

// Framer cuts a stream into messages (RFC 3261 §18.3) and keep-alives (RFC
// 5626 §4.4.1). Call Next after each Write until it returns NoFrame. The zero
// value is ready; without unfinished input it holds no memory.
//
// A ping is CRLFCRLF and a pong is CRLF, so the first half of a ping that
// comes in two segments looks like a pong. The Framer does not wait: it tells
// each CRLF, the first as Pong, the second as Ping. How the stream is cut into
// segments makes no difference to the frames.
type Framer struct {
	MaxHeader int // bytes of start line and header fields; 0 for DefaultMaxHeader
	MaxBody   int // bytes of a body; 0 for DefaultMaxBody

	buf     []byte
	off     int // start of what is unread
	scanned int // up to here there is no end of the header section
	need    int // bytes of the message at off, once known
	crlf    bool
	err     error
}

// Write takes in bytes of the stream. It never fails.
func (f *Framer) Write(p []byte) (int, error) {
	if f.err != nil {
		return len(p), nil
	}
	if f.off > 0 {
		n := copy(f.buf, f.buf[f.off:])
		f.buf = f.buf[:n]
		f.scanned -= f.off
		f.off = 0
	}
	if want := len(f.buf) + len(p); f.need > want && f.need > cap(f.buf) {
		f.buf = append(make([]byte, 0, f.need), f.buf...)
	}
	f.buf = append(f.buf, p...)
	return len(p), nil
}

// Next is the next frame. Its error is a *FramingError and stays.
func (f *Framer) Next() (Frame, error) {
	if f.err != nil {
		return Frame{}, f.err
	}
	rest := f.buf[f.off:]
	if f.need == 0 {
		if len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n' {
			f.off += 2
			f.scanned = f.off
			f.crlf = !f.crlf
			if f.crlf {
				return Frame{Kind: Pong}, nil
			}
			return Frame{Kind: Ping}, nil
		}
		if len(rest) == 0 {
			f.buf, f.off, f.scanned = nil, 0, 0
			return Frame{}, nil
		}
		if !f.findEnd(rest) {
			return Frame{}, f.err
		}
	}
	if len(rest) < f.need {
		return Frame{}, nil
	}
	data := rest[:f.need:f.need]
	f.off += f.need
	f.scanned = f.off
	f.need, f.crlf = 0, false
	return Frame{Kind: Message, Data: data}, nil
}

// findEnd sets need when the header section is complete, else err when it is
// too long. It reports whether need is set.
func (f *Framer) findEnd(rest []byte) bool {
	maxHeader, maxBody := f.MaxHeader, f.MaxBody
	if maxHeader <= 0 {
		maxHeader = DefaultMaxHeader
	}
	if maxBody <= 0 {
		maxBody = DefaultMaxBody
	}
	from := max(f.scanned-f.off, 0)
	end := bytes.Index(rest[from:], []byte("\r\n\r\n"))
	if end < 0 {
		// The last three bytes may be the beginning of the end.
		f.scanned = f.off + max(len(rest)-3, 0)
		if len(rest) > maxHeader {
			f.err = &FramingError{Reason: "header section too long"}
		}
		return false
	}
	end += from + 4
	if end > maxHeader {
		f.err = &FramingError{Reason: "header section too long"}
		return false
	}
	length, reason := contentLength(rest[:end])
	if reason == "" && length > maxBody {
		reason = "body too long"
	}
	if reason != "" {
		f.err = &FramingError{Reason: reason, Head: bytes.Clone(rest[:end])}
		return false
	}
	f.need = end + length
	return true
}

// contentLength reads the Content-Length header fields of a header section.
// The reason is not empty when there is no usable value.
func contentLength(head []byte) (length int, reason string) {
	length = -1
	for len(head) > 0 {
		// A header field goes on over lines that begin with white space.
		n := 0
		for {
			i := bytes.IndexByte(head[n:], '\n')
			if i < 0 {
				n = len(head)
				break
			}
			n += i + 1
			if n >= len(head) || head[n] != ' ' && head[n] != '\t' {
				break
			}
		}
		field := head[:n]
		head = head[n:]
		colon := bytes.IndexByte(field, ':')
		if colon < 0 {
			continue
		}
		name := bytes.TrimRight(field[:colon], " \t")
		if !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		v, ok := parseLength(string(bytes.Trim(field[colon+1:], " \t\r\n")))
		if !ok {
			return 0, "invalid Content-Length"
		}
		if length >= 0 && v != length {
			return 0, "conflicting Content-Length"
		}
		length = v
	}
	if length < 0 {
		return 0, "no Content-Length"
	}
	return length, ""
}

// parseLength reads digits. What exceeds an int32 is no length.
func parseLength(s string) (int, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' { // ParseUint would take "+1"
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 31)
	return int(v), err == nil
}
