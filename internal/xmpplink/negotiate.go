package xmpplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of negotiation.
const (
	nsTLS  = "urn:ietf:params:xml:ns:xmpp-tls"
	nsBind = "urn:ietf:params:xml:ns:xmpp-bind"
)

// Config says who signs in and how.
type Config struct {
	Account  jid.JID // bare
	Resource string  // the wish; "" leaves it to the server
	Lang     string  // of the stream, such as "de"; "" is none

	// TLS is the base of configurations, of which roots, certificates, clock and session cache are kept.
	TLS *tls.Config

	Credentials sasl.Credentials
	Policy      sasl.Policy
	Keys        *sasl.Keys // that earlier logins left; nil remembers nothing

	// Agent is who this client is among those of the account; the zero value tells nothing and goes without tokens.
	Agent Agent
	// Tokens keeps what signs in again without a password (XEP-0484). Nil: none are asked for.
	Tokens TokenStore
	// Inline is asked for with the resource where the server can do both at once (XEP-0386): elements of which it lists the namespaces.
	Inline []*xmltree.Element
	// Memory is what earlier streams left; nil remembers nothing.
	Memory *Memory

	// NoManagement leaves out stream management (XEP-0198).
	NoManagement bool
	// MaxSize is the longest stanza that is taken, in bytes; 0 means 1 MB.
	MaxSize int

	Timing Timing
	Logger *slog.Logger // nil is silent
}

func (c *Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// errNoTLS says that a server cannot encrypt: nothing is sent to it (RFC 7590 §3.1).
var errNoTLS = errors.New("the server offers no encryption")

// negotiation is the way from a connection to a stream.
type negotiation struct {
	cfg      *Config
	t        transport
	target   xmppdial.Target
	session  *Session // to be resumed, or nil
	features *xmltree.Element

	token   *Token   // that is tried
	spent   bool     // it was tried
	inlined []string // namespaces of what was asked for with the session
}

// Open negotiates a stream on a connection, which it owns from now on. session,
// if not nil, is resumed if the server can; otherwise the stream has a new
// one and session is abandoned, except for what the server had (Stream.Lost).
// ctx ends any wait in it. Errors are *Error.
func (c *Config) Open(ctx context.Context, conn *Conn, session *Session) (*Stream, error) {
	s, err := c.open(ctx, conn, session)
	if err != nil && ctx.Err() != nil {
		var e *Error
		errors.As(err, &e)
		return nil, &Error{e.Stage, context.Cause(ctx)}
	}
	return s, err
}

func (c *Config) open(ctx context.Context, conn *Conn, session *Session) (*Stream, error) {
	t, err := c.transport(ctx, conn)
	if err != nil {
		return nil, err
	}
	return c.negotiate(ctx, t, conn.Target, session)
}

func (c *Config) negotiate(ctx context.Context, t transport, target xmppdial.Target, session *Session) (*Stream, error) {
	n := &negotiation{cfg: c, t: t, target: target, session: session}
	stop := context.AfterFunc(ctx, func() { t.deadline(time.Unix(1, 0)) })
	s, err := n.run(ctx)
	if !stop() && err == nil {
		err = at(StageBind, context.Cause(ctx))
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return s, nil
}

func (c *Config) transport(ctx context.Context, conn *Conn) (transport, error) {
	if conn.WebSocket != nil {
		return newWS(conn.WebSocket, c.MaxSize), nil
	}
	t := newTCP(conn.Net, xmppstream.NSClient, c.MaxSize)
	if conn.Target.Direct {
		if err := t.secure(ctx, conn.Target, c.TLS); err != nil {
			t.close()
			return nil, at(StageTLS, err)
		}
	}
	return t, nil
}

func (n *negotiation) run(ctx context.Context) (*Stream, error) {
	if n.t.tls() == nil {
		if err := n.open(nil); err != nil {
			return nil, at(StageOpen, err)
		}
		if err := n.startTLS(ctx); err != nil {
			return nil, at(StageTLS, err)
		}
	}
	if s, err := n.begin(ctx); s != nil || err != nil {
		return s, err
	}
	if s, err := n.sasl2(ctx); s != nil || err != nil {
		return s, err
	}
	if err := n.authenticate(); err != nil {
		return nil, at(StageAuth, err)
	}
	if err := n.open(nil); err != nil {
		return nil, at(StageOpen, err)
	}
	s, err := n.bind()
	return s, at(StageBind, err)
}

// policy is the account's, with what is remembered of the server.
func (n *negotiation) policy() *sasl.Policy {
	p := n.cfg.Policy
	if n.cfg.Memory != nil {
		p.Memory = &n.cfg.Memory.SASL
	}
	return &p
}

// open begins a stream and waits for its features (RFC 6120 §4.3.2). with, unless nil, goes right behind the header.
func (n *negotiation) open(with *xmltree.Element) error {
	o := &xmppstream.Open{To: n.cfg.Account.Domainpart(), Version: "1.0", Lang: n.cfg.Lang}
	if n.t.tls() != nil {
		o.From = n.cfg.Account.Bare().String() // RFC 6120 §4.7.1: not in clear text
	}
	var xml []byte
	if with != nil {
		xml = with.AppendXML(nil, n.t.space())
	}
	theirs, err := n.t.open(o, xml)
	if err != nil {
		return err
	}
	if major, _, _ := strings.Cut(theirs.Version, "."); major != "1" {
		return fmt.Errorf("the server speaks version %.10q of XMPP", theirs.Version)
	}
	return n.offered()
}

// offered waits for the server's features.
func (n *negotiation) offered() error {
	e, err := n.next()
	if err != nil {
		return err
	}
	if !e.Is(xmltree.NSStream, "features") {
		return unexpected(e)
	}
	n.features = e
	return nil
}

// next waits for an element and turns the server's errors into ours.
func (n *negotiation) next() (*xmltree.Element, error) {
	e, err := n.t.next()
	if err == nil && e.Is(xmltree.NSStream, "error") {
		return nil, streamError(e)
	}
	return e, err
}

func unexpected(e *xmltree.Element) error {
	return fmt.Errorf("the server sent {%.60s}%.60s out of turn", e.Name.Space, e.Name.Local)
}

func (n *negotiation) send(e *xmltree.Element) error {
	return n.t.write(e.AppendXML(nil, n.t.space()), []int{0})
}

// startTLS secures a connection that began in clear text (RFC 6120 §5). There is no way on without.
func (n *negotiation) startTLS(ctx context.Context) error {
	t, ok := n.t.(*tcp)
	if !ok || n.features.Child(nsTLS, "starttls") == nil {
		return errNoTLS
	}
	if err := n.send(xmltree.New(nsTLS, "starttls")); err != nil {
		return err
	}
	e, err := n.next()
	switch {
	case err != nil:
		return err
	case e.Is(nsTLS, "failure"):
		return errors.New("the server cannot begin TLS") // §5.4.2.2
	case !e.Is(nsTLS, "proceed"):
		return unexpected(e)
	}
	return t.secure(ctx, n.target, n.cfg.TLS)
}

// bind resumes the session or makes a new one.
func (n *negotiation) bind() (*Stream, error) {
	managed := !n.cfg.NoManagement && n.features.Child(NSManagement, "sm") != nil
	var lost error
	if n.session.Resumable() {
		lost = errors.New("the server has no stream management any more")
		if managed {
			s, err := n.resume()
			var refused *resumeError
			if err == nil || !errors.As(err, &refused) {
				return s, err
			}
			lost = refused
		}
		n.session.Abandon()
	}
	session, err := n.newSession()
	if err != nil {
		return nil, err
	}
	s := n.stream(session)
	s.Lost = lost
	if managed {
		s.enable()
	}
	return s, nil
}

func (n *negotiation) stream(session *Session) *Stream {
	s := newStream(n.t, session, n.cfg.logger(), n.cfg.Timing)
	s.offer(n.features)
	return s
}

// resumeError is a refusal to resume (XEP-0198 §5).
type resumeError struct{ condition string }

func (e *resumeError) Error() string { return "the server does not resume the session: " + e.condition }

// resume goes on with a session (XEP-0198 §5).
func (n *negotiation) resume() (*Stream, error) {
	if err := n.send(n.session.resumption()); err != nil {
		return nil, err
	}
	e, err := n.next()
	switch {
	case err != nil:
		return nil, err
	case e.Is(NSManagement, "failed"):
		return nil, n.session.refused(e)
	case !e.Is(NSManagement, "resumed"):
		return nil, unexpected(e)
	}
	return n.resumed(e)
}

// resumption is the wish to go on with a session.
func (s *Session) resumption() *xmltree.Element {
	return xmltree.New(NSManagement, "resume").Set("h", strconv.FormatUint(uint64(s.count.in), 10)).Set("previd", s.id)
}

// refused takes a <failed/>: it may say what the server has nevertheless.
func (s *Session) refused(e *xmltree.Element) error {
	if h, ok, err := handled(e); ok && err == nil {
		if done, err := s.count.ack(h); err == nil {
			settle(done)
		}
	}
	return &resumeError{condition(e, "urn:ietf:params:xml:ns:xmpp-stanzas")}
}

// resumed takes a <resumed/>: what the server has is settled, the rest is sent again.
func (n *negotiation) resumed(e *xmltree.Element) (*Stream, error) {
	h, counted, err := handled(e)
	switch {
	case err != nil:
		return nil, err
	case !counted:
		return nil, errors.New("a resumption without a count")
	}
	c := &n.session.count
	done, err := c.ack(h)
	if err != nil {
		return nil, err
	}
	settle(done)
	if err := n.session.rewrite(n.t.space()); err != nil {
		return nil, err
	}
	s := n.stream(n.session)
	s.Resumed = true
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sent := range c.queue {
		s.write(sent.xml)
		s.since++
	}
	return s, nil
}

func settle(done []*Sent) {
	for _, sent := range done {
		sent.settle(nil)
	}
}

// condition is the defined condition of an error in a namespace.
func condition(e *xmltree.Element, space string) string {
	for c := range e.Elements() {
		if c.Name.Space == space && c.Name.Local != "text" {
			return c.Name.Local
		}
	}
	return "undefined-condition"
}

// newSession binds a resource (RFC 6120 §7).
func (n *negotiation) newSession() (*Session, error) {
	if n.features.Child(nsBind, "bind") == nil {
		return nil, errors.New("the server offers no resource")
	}
	bind := xmltree.New(nsBind, "bind")
	if n.cfg.Resource != "" {
		bind.Add(xmltree.NewText(nsBind, "resource", n.cfg.Resource))
	}
	if err := n.send(xmltree.New(n.t.content(), "iq", bind).Set("type", "set").Set("id", bindID)); err != nil {
		return nil, err
	}
	e, err := n.next()
	if err != nil {
		return nil, err
	}
	if e.Name.Local != "iq" || e.Get("id") != bindID {
		return nil, unexpected(e)
	}
	if e.Get("type") != "result" {
		return nil, &BindError{condition(e.Child(e.Name.Space, "error"), "urn:ietf:params:xml:ns:xmpp-stanzas")}
	}
	return n.bound(e.Child(nsBind, "bind").Child(nsBind, "jid").Text())
}

// bindID is good for every stream: ids need to be unique only within one.
const bindID = "bind"

// BindError is a refusal of a resource (RFC 6120 §7.6, §7.7).
type BindError struct{ Condition string }

func (e *BindError) Error() string { return "the server refuses the resource: " + e.Condition }

// bound checks the address that the server gave us. It may differ from what we asked for, but not in whose it is.
func (n *negotiation) bound(address string) (*Session, error) {
	local, domain, resource, err := jid.SplitString(address)
	if err != nil {
		return nil, fmt.Errorf("bound to %.100q: %w", address, err)
	}
	j, err := jid.New(local, domain, resource)
	if err != nil {
		// A resource that PRECIS refuses is the server's business.
		j = jid.NewUnsafe(local, domain, resource).JID
	}
	if resource == "" || local == "" || domain == "" {
		return nil, fmt.Errorf("bound to %.100q", address)
	}
	return &Session{JID: j}, nil
}

// enabled takes what the server promises (XEP-0198 §3).
func (s *Session) enabled(e *xmltree.Element) {
	s.managed = true
	if r := e.Get("resume"); r == "true" || r == "1" {
		s.id, s.location = e.Get("id"), e.Get("location")
		if n, err := strconv.ParseUint(e.Get("max"), 10, 31); err == nil {
			s.max = time.Duration(n) * time.Second
		}
	}
}
