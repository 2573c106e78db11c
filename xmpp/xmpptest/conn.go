package xmpptest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsTLS = "urn:ietf:params:xml:ns:xmpp-tls"

	signInTime  = time.Minute      // for everything before a session
	writeTime   = 30 * time.Second // for a client to take what it is sent
	maxAttempts = 5                // to sign in (RFC 6120 §6.4.5)
)

// conn is a client's connection. One goroutine reads it and, until there is a
// session, writes it; from then on its outbox has a goroutine for that.
type conn struct {
	s      *Server
	raw    net.Conn // without TLS
	net    net.Conn
	tls    *tls.Conn // nil: not yet
	direct bool
	scan   *xmppstream.Scanner
	parser *xmltree.Parser
	out    outbox

	attempts int
	user     *account // who signed in
	sess     *session // guarded by s.mu
	vanished bool     // guarded by s.mu: nothing is said any more, and nobody listens
}

// errDone ends a connection of which nothing more is to be said.
var errDone = errors.New("the stream has ended")

// streamError is an error that ends a stream (RFC 6120 §4.9).
type streamError struct {
	condition string
	text      string // of the condition itself: the host of see-other-host
	app       *xmltree.Element
}

func (e *streamError) Error() string { return "stream error " + e.condition }

func (e *streamError) element() *xmltree.Element {
	return xmltree.New(xmltree.NSStream, "error", xmltree.NewText(xmppstream.NSError, e.condition, e.text), e.app)
}

// serve speaks with a client until its connection ends.
func (c *conn) serve(ctx context.Context) {
	defer c.raw.Close()
	_ = c.raw.SetDeadline(time.Now().Add(signInTime))
	err := c.negotiate(ctx)
	started := err == nil
	if started {
		_ = c.raw.SetDeadline(time.Time{})
		c.s.wg.Go(c.write)
		err = c.read()
	}
	var failed *streamError
	errors.As(err, &failed)
	c.s.mu.Lock()
	c.s.disconnected(c, failed != nil || errors.Is(err, errDone))
	vanished := c.vanished
	c.s.mu.Unlock()
	switch {
	case vanished:
		c.out.close()
	case failed == nil && !errors.Is(err, errDone):
		c.s.cfg.Logger.Debug("a connection was lost", "user", c.name(), "error", err)
		c.out.close()
	case started:
		c.out.finish(failed) // the writer has the last word, and then closes
		<-c.out.done
	default:
		if failed != nil {
			c.s.cfg.Logger.Debug("a stream was ended", "user", c.name(), "error", failed)
		}
		_, _ = c.net.Write(ending(failed))
		_ = c.net.Close()
	}
}

func (c *conn) name() string {
	if c.user == nil {
		return ""
	}
	return c.user.name
}

// ending is how a stream ends.
func ending(failed *streamError) []byte {
	var b []byte
	if failed != nil {
		b = failed.element().AppendXML(b, nsClient)
		b = []byte(strings.Replace(string(b), " xmlns:stream='"+xmltree.NSStream+"'", "", 1)) // the header has it
	}
	return append(b, xmppstream.FooterText...)
}

// negotiate goes on until there is a session (RFC 6120 §4.3.3).
func (c *conn) negotiate(ctx context.Context) error {
	if c.direct {
		if err := c.secure(ctx); err != nil {
			return err
		}
	}
	for {
		again, err := c.stream(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// secure begins TLS. Whatever was sent before its time is refused (RFC 6120 §5.3.1).
func (c *conn) secure(ctx context.Context) error {
	if c.scan.Buffered() > 0 {
		return errors.New("bytes before TLS")
	}
	t := tls.Server(c.raw, c.s.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.tls, c.net = t, t
	c.scan.Restart(t)
	return nil
}

// stream opens a stream and handles it until it is to begin anew, or has a session.
func (c *conn) stream(ctx context.Context) (again bool, err error) {
	if err := c.open(); err != nil {
		return false, err
	}
	if err := c.send(c.features()); err != nil {
		return false, err
	}
	for {
		e, err := c.next()
		if err != nil {
			return false, err
		}
		switch {
		case c.tls == nil && e.Is(nsTLS, "starttls"):
			if err := c.send(xmltree.New(nsTLS, "proceed")); err != nil {
				return false, err
			}
			return true, c.secure(ctx)
		case c.tls != nil && c.user == nil && e.Is(nsSASL, "auth"):
			if err := c.authenticate(e); err != nil {
				return false, err
			}
			if c.user != nil {
				c.scan.Restart(c.net)
				return true, nil
			}
		case c.user == nil:
			return false, &streamError{condition: "not-authorized"} // RFC 6120 §4.9.3.12
		default:
			done, err := c.begin(e)
			if err != nil || done {
				return false, err
			}
		}
	}
}

// open takes the client's header and answers it (RFC 6120 §4.7).
func (c *conn) open() error {
	piece, err := c.scan.Next()
	if err != nil {
		return c.garbled(err)
	}
	theirs, parser, err := xmppstream.ParseHeader(piece.Data)
	ours := &xmppstream.Open{From: c.s.cfg.Domain, ID: c.s.newID(), Version: "1.0", Lang: "en", Space: nsClient}
	if err == nil && c.tls != nil {
		ours.To = theirs.From
	}
	if _, err := c.net.Write(ours.AppendHeader(nil)); err != nil {
		return err
	}
	if err != nil {
		return &streamError{condition: "bad-format"}
	}
	c.parser = parser
	major, _, _ := strings.Cut(theirs.Version, ".")
	to, ok := parseAddr(theirs.To)
	switch {
	case theirs.Space != nsClient:
		return &streamError{condition: "invalid-namespace"}
	case major != "1":
		return &streamError{condition: "unsupported-version"}
	case !ok || to.domain != c.s.cfg.Domain:
		return &streamError{condition: "host-unknown"}
	}
	if c.tls != nil && c.user == nil {
		return c.s.redirected()
	}
	return nil
}

// garbled is what a stream ends with when it is none.
func (c *conn) garbled(err error) error {
	if errors.Is(err, xmppstream.ErrGarbage) {
		return &streamError{condition: "not-well-formed"}
	}
	return err
}

// features are what the client may do next (RFC 6120 §4.3.2).
func (c *conn) features() *xmltree.Element {
	f := xmltree.New(xmltree.NSStream, "features")
	switch {
	case c.tls == nil:
		f.Add(xmltree.New(nsTLS, "starttls", xmltree.New(nsTLS, "required")))
	case c.user == nil:
		f.Add(c.offer()...)
	default:
		f.Add(xmltree.New(nsBind, "bind"), xmltree.New("urn:xmpp:csi:0", "csi"), xmltree.New("urn:xmpp:features:rosterver", "ver"),
			xmltree.New("urn:xmpp:features:pre-approval", "sub"))
		if !c.s.cfg.NoManagement {
			f.Add(xmltree.New(nsManagement, "sm"))
		}
	}
	return f
}

// send writes an element while there is no session yet.
func (c *conn) send(e *xmltree.Element) error {
	_, err := c.net.Write(e.AppendXML(nil, nsClient))
	return err
}

// next returns the client's next element.
func (c *conn) next() (*xmltree.Element, error) {
	piece, err := c.scan.Next()
	if err != nil {
		return nil, c.garbled(err)
	}
	switch piece.Kind {
	case xmppstream.Footer:
		return nil, errDone
	case xmppstream.Skipped:
		return nil, &streamError{condition: string(piece.Reason)}
	}
	e, err := c.parser.Parse(piece.Data)
	if err != nil {
		var bad *xmltree.SyntaxError
		if errors.As(err, &bad) {
			return nil, &streamError{condition: string(bad.Reason)}
		}
		return nil, err
	}
	return e, nil
}

// read handles what a client with a session sends, until the stream ends.
func (c *conn) read() error {
	for {
		e, err := c.next()
		if err != nil {
			return err
		}
		c.out.wait() // while the server is silent
		c.s.mu.Lock()
		vanished := c.vanished
		switch {
		case c.sess != nil:
			err = c.s.receive(c.sess, e)
		case !vanished:
			err = errDone // the session was taken away from this connection
		}
		c.s.mu.Unlock()
		if vanished {
			_, _ = io.Copy(io.Discard, c.raw)
			return errDone
		}
		if err != nil {
			return err
		}
	}
}
