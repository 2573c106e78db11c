// Package xmppstream cuts an XML stream into pieces (RFC 6120 §4) and writes
// its headers. It reads and writes bytes; what they mean is for others.
//
// Each byte is looked at once. An element that XMPP does not allow (too long,
// too deep, with comments or declarations in it) is skipped to its end, so that
// one bad stanza does not end the stream; only when its end cannot be known
// does the scan fail.
package xmppstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Kind is what a piece of a stream is.
type Kind uint8

// The kinds of pieces.
const (
	Header  Kind = iota + 1 // the start tag of the stream, RFC 6120 §4.2
	Element                 // an element in the stream, whole
	Skipped                 // an element that is not allowed; Data has its beginning
	Footer                  // the end tag of the stream, RFC 6120 §4.4
)

// Piece is a piece of a stream.
type Piece struct {
	Kind Kind
	// Data is good until the next call. Of a skipped element it has at most the
	// first 4096 bytes: the start tag mostly, which is enough for an answer.
	Data []byte
	// Reason and Size say of a skipped element why, and how long it was.
	Reason xmltree.Reason
	Size   int
}

// Limits of a Scanner where it says nothing.
const (
	DefaultSize  = 1 << 20 // bytes of an element
	DefaultDepth = xmltree.DefaultDepth
	headerSize   = 4096 // bytes of the stream's header; and what is kept of a skipped element
	smallBuffer  = 2048 // kept while nothing arrives
	gapSize      = 4096 // bytes that are not white space between elements
	maxSkip      = 16   // times Size: an element that is longer still ends the stream
)

// ErrGarbage says that a stream has bytes that belong to no element, or a
// header that is none: it cannot go on (RFC 6120 §4.9.3.13).
var ErrGarbage = errors.New("xmppstream: not an XML stream")

// Scanner reads pieces from a stream. Fields are set before the first call. It
// is not safe for concurrent use.
type Scanner struct {
	Size  int // longest element in bytes; 0 is DefaultSize
	Depth int // deepest nesting within an element; 0 is DefaultDepth

	r   io.Reader
	buf []byte // read and not given away yet
	at  int    // bytes of buf that were looked at
	cut int    // bytes of buf that the last piece took

	state  state
	quote  byte // that ends the value, or the literal within a declaration
	nested int  // '<' within a declaration
	last   [2]byte
	depth  int // elements that are open, the stream's not counted
	opened bool

	slash, closing bool // of the tag at hand
	reason         xmltree.Reason
	size           int // of the element at hand; what exceeds the limit is not in buf
	gap            int
}

// NewScanner returns a Scanner on r.
func NewScanner(r io.Reader) *Scanner { return &Scanner{r: r} }

// Restart makes it expect a header again, as after SASL (RFC 6120 §6.4.6). Bytes that were
// read already are kept: the caller gives a new reader with them where the transport changes.
func (s *Scanner) Restart(r io.Reader) {
	s.settle()
	s.r, s.opened, s.depth, s.state, s.size, s.reason = r, false, 0, inText, 0, ""
}

// Buffered tells how many bytes were read beyond the last piece. It is 0 before
// TLS begins, or somebody has spoken where nobody may (RFC 6120 §5.3.1: STARTTLS injection).
func (s *Scanner) Buffered() int { return len(s.buf) - s.cut }

type state uint8

const (
	inText state = iota
	afterLess
	inTag
	inValue
	afterBang
	inComment
	inCDATA
	inPI
	inDeclaration
	inLiteral
)

// settle forgets the piece that was given away.
func (s *Scanner) settle() {
	if s.cut > 0 {
		n := copy(s.buf, s.buf[s.cut:])
		s.buf, s.at, s.cut = s.buf[:n], s.at-s.cut, 0
	}
	if len(s.buf) == 0 && cap(s.buf) > smallBuffer {
		s.buf = nil // an idle connection holds no memory for its longest stanza
	}
}

// Next returns the next piece. Errors are those of the reader (io.EOF within an
// element is io.ErrUnexpectedEOF) and ErrGarbage, which is also what it wraps.
func (s *Scanner) Next() (Piece, error) {
	s.settle()
	for {
		for s.at < len(s.buf) {
			p, ok, err := s.step()
			if ok || err != nil {
				return p, err
			}
		}
		if err := s.bounds(); err != nil {
			return Piece{}, err
		}
		if err := s.fill(); err != nil {
			if err == io.EOF && (s.size > 0 || s.state != inText) {
				err = io.ErrUnexpectedEOF
			}
			return Piece{}, err
		}
	}
}

func (s *Scanner) fill() error {
	if s.buf == nil {
		s.buf = make([]byte, 0, smallBuffer)
	}
	if s.reason != "" && s.at > headerSize {
		s.buf, s.at = s.buf[:headerSize], headerSize // nobody will parse it: its beginning is enough
	}
	if len(s.buf) == cap(s.buf) {
		s.buf = append(make([]byte, 0, 2*cap(s.buf)), s.buf...)
	}
	for range 16 {
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// step looks at one byte or at a run of them.
func (s *Scanner) step() (Piece, bool, error) {
	rest := s.buf[s.at:]
	switch s.state {
	case inText:
		return s.text(rest)
	case afterLess:
		return s.afterLess(rest[0])
	case inTag:
		// What matters in a tag: quotes, its end, and the slash before that.
		for i, c := range rest {
			switch c {
			case '>':
				s.take(i + 1)
				return s.endTag()
			case '"', '\'':
				s.quote, s.state, s.slash = c, inValue, false
				s.take(i + 1)
				return Piece{}, false, nil
			case '<':
				return Piece{}, false, s.garbage("a tag within a tag")
			default:
				if s.slash {
					return Piece{}, false, s.garbage("a slash within a tag")
				}
			}
			s.slash = c == '/'
		}
		s.take(len(rest))
	case inValue:
		s.until(rest, s.quote, inTag)
	case afterBang:
		s.afterBang(rest[0])
	case inComment:
		s.untilThree(rest, '-', '-')
	case inCDATA:
		s.untilThree(rest, ']', ']')
	case inPI:
		s.untilTwo(rest, '?')
	case inDeclaration:
		s.declaration(rest[0])
	case inLiteral:
		s.until(rest, s.quote, inDeclaration)
	}
	return Piece{}, false, nil
}

// take consumes n bytes of the element at hand.
func (s *Scanner) take(n int) {
	s.size += n
	s.at += n
	if s.opened && s.size > orDefault(s.Size, DefaultSize) {
		s.refuse(xmltree.TooMuch)
	}
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// bounds ends a stream that sends what never becomes a piece.
func (s *Scanner) bounds() error {
	switch {
	case !s.opened && s.size > headerSize:
		return s.garbage("a header of more than %d bytes", headerSize)
	case s.gap > gapSize:
		return s.garbage("more than %d bytes between elements", gapSize)
	case s.size/maxSkip > orDefault(s.Size, DefaultSize):
		return s.garbage("an element of more than %d bytes", s.size)
	}
	return nil
}

// refuse marks the element at hand as one to be skipped.
func (s *Scanner) refuse(r xmltree.Reason) {
	if s.reason == "" {
		s.reason = r
	}
}

func (s *Scanner) garbage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrGarbage, fmt.Sprintf(format, args...))
}

// text goes to the next '<'.
func (s *Scanner) text(rest []byte) (Piece, bool, error) {
	n := bytes.IndexByte(rest, '<')
	run := rest
	if n >= 0 {
		run = rest[:n]
	}
	if s.depth > 0 {
		s.take(len(run))
	} else {
		// Between elements only white space is allowed, which keeps the
		// connection alive (RFC 6120 §4.6.1).
		text := len(bytes.Trim(run, " \t\r\n"))
		s.gap += text
		if text > 0 && !s.opened {
			return Piece{}, false, s.garbage("text before the header")
		}
		s.drop(len(run))
	}
	if n >= 0 {
		s.state = afterLess
		s.size++
		s.at++
	}
	return Piece{}, false, nil
}

// drop takes bytes between elements out of the buffer.
func (s *Scanner) drop(n int) {
	s.buf = append(s.buf[:s.at], s.buf[s.at+n:]...)
}

func (s *Scanner) afterLess(c byte) (Piece, bool, error) {
	s.slash, s.closing = false, false
	switch c {
	case '/':
		s.state, s.closing = inTag, true
	case '!':
		s.state = afterBang
		s.last = [2]byte{}
	case '?':
		s.state, s.last = inPI, [2]byte{}
		if s.opened { // before the header it is the XML declaration, RFC 6120 §11.5
			s.refuse(xmltree.RestrictedXML)
		}
	case '<', '>', '"', '\'', '&', ' ', '\t', '\r', '\n', '=':
		return Piece{}, false, s.garbage("%q after '<'", c)
	default:
		s.state = inTag
		return Piece{}, false, nil // c is part of the tag
	}
	s.take(1)
	return Piece{}, false, nil
}

func (s *Scanner) afterBang(c byte) {
	const cdata = "[CDATA["
	s.take(1)
	switch n := &s.nested; {
	case c == '-' && s.last[0] == '-':
		s.state, s.last, *n = inComment, [2]byte{}, 0
		s.refuse(xmltree.RestrictedXML)
	case c == '-' && *n == 0 && s.last[0] == 0:
		s.last[0] = '-'
	case *n < len(cdata) && c == cdata[*n] && s.last[0] == 0:
		if *n++; *n == len(cdata) {
			s.state, s.last, *n = inCDATA, [2]byte{}, 0
		}
	default:
		s.state, s.last, *n = inDeclaration, [2]byte{}, 0
		s.refuse(xmltree.RestrictedXML)
		s.declared(c)
	}
}

// declaration looks at a byte of a document type or the like, which may have declarations and literals within.
func (s *Scanner) declaration(c byte) {
	s.take(1)
	s.declared(c)
}

func (s *Scanner) declared(c byte) {
	switch c {
	case '<':
		s.nested++
	case '"', '\'':
		s.quote, s.state = c, inLiteral
	case '>':
		if s.nested--; s.nested < 0 {
			s.nested = 0
			s.state = inText
			s.markupDone()
		}
	}
}

// until goes on to a byte.
func (s *Scanner) until(rest []byte, c byte, next state) {
	if n := bytes.IndexByte(rest, c); n >= 0 {
		s.take(n + 1)
		s.state = next
		return
	}
	s.take(len(rest))
}

// untilTwo goes on to c and '>'.
func (s *Scanner) untilTwo(rest []byte, c byte) {
	for i, b := range rest {
		if b == '>' && s.last[1] == c {
			s.take(i + 1)
			s.state = inText
			s.markupDone()
			return
		}
		s.last[1] = b
	}
	s.take(len(rest))
}

// untilThree goes on to a, b and '>'.
func (s *Scanner) untilThree(rest []byte, a, b byte) {
	for i, c := range rest {
		if c == '>' && s.last == [2]byte{a, b} {
			s.take(i + 1)
			s.state = inText
			s.markupDone()
			return
		}
		s.last = [2]byte{s.last[1], c}
	}
	s.take(len(rest))
}

// markupDone ends a comment or the like. Between elements it belongs to none and is forgotten.
func (s *Scanner) markupDone() {
	if s.depth > 0 {
		return
	}
	s.buf = s.buf[:copy(s.buf, s.buf[s.at:])]
	s.at = 0
	s.gap += s.size
	s.size, s.reason = 0, ""
}

// endTag ends a tag.
func (s *Scanner) endTag() (Piece, bool, error) {
	s.state = inText
	switch {
	case !s.opened:
		if s.closing || s.slash || s.reason != "" {
			return Piece{}, false, s.garbage("no header")
		}
		s.opened = true
		return s.piece(Header)
	case s.closing && s.depth == 0:
		s.opened = false
		return s.piece(Footer)
	case s.closing:
		s.depth--
	case !s.slash:
		if s.depth++; s.depth > orDefault(s.Depth, DefaultDepth) {
			s.refuse(xmltree.TooMuch)
		}
	}
	if s.depth > 0 {
		return Piece{}, false, nil
	}
	return s.piece(Element)
}

func (s *Scanner) piece(k Kind) (Piece, bool, error) {
	p := Piece{Kind: k, Data: s.buf[:s.at:s.at]}
	if s.reason != "" {
		p = Piece{Kind: Skipped, Data: p.Data[:min(len(p.Data), headerSize)], Reason: s.reason, Size: s.size}
	}
	s.cut = s.at
	s.size, s.reason, s.gap = 0, "", 0
	return p, true, nil
}
