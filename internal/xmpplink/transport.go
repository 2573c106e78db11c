package xmpplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// transport carries elements: over TCP with one XML stream, or over WebSocket
// with a message for each (RFC 7395). Reading is for one goroutine at a time, writing for another.
type transport interface {
	// open sends our header, with an element right behind it unless that is empty, and waits for
	// the other's header. It is called again when the stream starts anew.
	open(o *xmppstream.Open, with []byte) (*xmppstream.Open, error)
	// next waits for an element. One that is not allowed is a *skipped. The end of
	// the stream is ErrPeerClosed.
	next() (*xmltree.Element, error)
	// write sends bytes that are whole elements; starts are where each begins.
	write(b []byte, starts []int) error
	// footer is what ends our side of the stream.
	footer() []byte
	// space is the default namespace in force where elements are written.
	space() string
	// content is the namespace of stanzas, such as jabber:client.
	content() string
	deadline(time.Time)
	tls() *tls.ConnectionState // nil if there is none
	close() error
}

// skipped is an element that was left out: it counts, but nobody reads it.
type skipped struct {
	local  string // "message", "presence", "iq" or something else
	id     string // as far as they can be read
	from   string
	typ    string
	reason xmltree.Reason
	size   int
}

func (s *skipped) Error() string {
	return fmt.Sprintf("%s of %d bytes left out: %s", s.local, s.size, s.reason)
}

// tcp is the transport of RFC 6120.
type tcp struct {
	raw    net.Conn // for deadlines, which others set while TLS begins
	conn   net.Conn // with TLS, once there is some
	scan   *xmppstream.Scanner
	parser *xmltree.Parser // of what is in the stream; nil before the first header
	ns     string          // of the content, such as jabber:client
}

func newTCP(conn net.Conn, ns string, maxSize int) *tcp {
	t := &tcp{raw: conn, conn: conn, scan: xmppstream.NewScanner(conn), ns: ns}
	t.scan.Size = maxSize
	return t
}

func (t *tcp) open(o *xmppstream.Open, with []byte) (*xmppstream.Open, error) {
	o.Space = t.ns
	if t.parser != nil {
		t.scan.Restart(t.conn)
	}
	if _, err := t.conn.Write(append(o.AppendHeader(nil), with...)); err != nil {
		return nil, err
	}
	p, err := t.scan.Next()
	if err != nil {
		return nil, err
	}
	theirs, parser, err := xmppstream.ParseHeader(p.Data)
	if err != nil {
		return nil, err
	}
	if theirs.Space != t.ns {
		return nil, fmt.Errorf("%w: namespace %.60q", xmppstream.ErrGarbage, theirs.Space)
	}
	t.parser = parser
	return theirs, nil
}

func (t *tcp) next() (*xmltree.Element, error) {
	p, err := t.scan.Next()
	if err != nil {
		return nil, err
	}
	switch p.Kind {
	case xmppstream.Footer:
		return nil, ErrPeerClosed
	case xmppstream.Element:
		e, err := t.parser.Parse(p.Data)
		var bad *xmltree.SyntaxError
		if errors.As(err, &bad) {
			return nil, skip(t.parser, p.Data, bad.Reason, len(p.Data))
		}
		return e, err
	case xmppstream.Skipped:
		return nil, skip(t.parser, p.Data, p.Reason, p.Size)
	}
	return nil, fmt.Errorf("%w: a header within the stream", xmppstream.ErrGarbage)
}

// skip reads the start tag of what is left out, for an answer and the log.
func skip(p *xmltree.Parser, data []byte, reason xmltree.Reason, size int) *skipped {
	s := &skipped{reason: reason, size: size}
	if e, err := p.ParseBeginning(data); err == nil {
		s.local, s.id, s.from, s.typ = e.Name.Local, e.Get("id"), e.Get("from"), e.Get("type")
		return s
	}
	// Not even that is good. Whether it counts as a stanza matters all the same.
	name, _, _ := bytes.Cut(bytes.TrimLeft(data, "< \t\r\n"), []byte(" "))
	if i := bytes.IndexAny(name, "\t\r\n/>"); i >= 0 {
		name = name[:i]
	}
	s.local = string(name[bytes.IndexByte(name, ':')+1:])
	return s
}

func (t *tcp) write(b []byte, _ []int) error {
	_, err := t.conn.Write(b)
	return err
}

func (t *tcp) footer() []byte          { return []byte(xmppstream.FooterText) }
func (t *tcp) space() string           { return t.ns }
func (t *tcp) content() string         { return t.ns }
func (t *tcp) deadline(when time.Time) { t.raw.SetDeadline(when) }
func (t *tcp) close() error            { return t.conn.Close() }

func (t *tcp) tls() *tls.ConnectionState {
	c, ok := t.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	cs := c.ConnectionState()
	return &cs
}

// errInjected says that somebody put bytes behind <proceed/>: they would be
// taken for what came under TLS (CVE-2011-0411 and its kin).
var errInjected = errors.New("bytes before TLS began")

// secure begins TLS on the connection.
func (t *tcp) secure(ctx context.Context, target xmppdial.Target, base *tls.Config) error {
	if t.parser != nil && t.scan.Buffered() > 0 {
		return errInjected
	}
	c, err := target.Handshake(ctx, t.conn, base)
	if err != nil {
		return err
	}
	t.conn = c
	t.scan.Restart(c)
	return nil
}
