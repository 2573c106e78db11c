// Package linktest is a small XMPP server for tests of links: it signs in, resumes sessions, counts, and
// misbehaves on request. It routes nothing: what clients send the test is told, what they get the test says, and requests are refused.
package linktest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Server is a server with one account. Fields are set before it serves.
type Server struct {
	Domain   string
	Username string
	Password string

	TLS    *tls.Config // with one certificate
	Direct bool        // TLS begins at once

	// Mechanisms of passwords and certificates; nil is SCRAM-SHA-256 alone.
	Mechanisms []string
	// Bindings are what XEP-0440 lists; nil lists none.
	Bindings []string
	// Bind makes the data of channel bindings; nil is what the connection has. A server whose binding is broken has another.
	Bind func(b sasl.Binding, cs *tls.ConnectionState) ([]byte, error)
	// Protect is XEP-0474.
	Protect bool
	// Strip changes the features on their way, as somebody in between would.
	Strip func(features *xmltree.Element)

	SASL2    bool          // with Bind 2 and inline resumption
	Tokens   []string      // mechanisms of XEP-0484 on offer; nil has no tokens
	TokenTTL time.Duration // zero is a day
	Rotate   bool          // gives a new token to who comes with one

	// Management offers stream management.
	Management bool
	// Features are offered to who has signed in.
	Features []*xmltree.Element
	// Refuse tells whether a resumption is refused, which ends the session; nil never does.
	Refuse func() bool
	// Received is told of each stanza, in order and once. It must not call the server.
	Received func(e *xmltree.Element)

	mu       sync.Mutex
	sessions map[string]*Session
	current  *Session
	tokens   map[string]string // by mechanism
	logins   []string          // mechanisms that succeeded
	serial   int
	conns    map[*conn]bool
	wg       sync.WaitGroup
}

// Session is a session of stream management, or one without.
type Session struct {
	id      string
	jid     string
	c       *conn // nil while it has no stream
	managed bool
	in      uint32 // stanzas received
	out     uint32 // stanzas sent
	queue   [][]byte
}

// Serve serves connections until the listener is closed, and then ends them all.
func (s *Server) Serve(l net.Listener) {
	for {
		raw, err := l.Accept()
		if err != nil {
			break
		}
		s.wg.Go(func() { s.ServeConn(raw) })
	}
	s.mu.Lock()
	for c := range s.conns {
		c.raw.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// ServeConn serves one connection to its end, which it returns the reason of.
func (s *Server) ServeConn(raw net.Conn) error {
	c := &conn{s: s, raw: raw, net: raw, scan: xmppstream.NewScanner(raw)}
	s.mu.Lock()
	if s.conns == nil {
		s.conns, s.sessions, s.tokens = make(map[*conn]bool), make(map[string]*Session), make(map[string]string)
	}
	s.conns[c] = true
	s.mu.Unlock()
	defer func() {
		raw.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		if c.session != nil && c.session.c == c {
			c.session.c = nil
		}
	}()
	return c.serve()
}

// Push sends a stanza in the newest session, now or when that is resumed. It returns the session; nil if there is none.
func (s *Server) Push(e *xmltree.Element) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.push(e)
	}
	return s.current
}

// Logins are the mechanisms that succeeded so far.
func (s *Server) Logins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logins)
}

// ForgetTokens makes all tokens void.
func (s *Server) ForgetTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func (x *Session) push(e *xmltree.Element) {
	b := e.AppendXML(nil, xmppstream.NSClient)
	if x.managed {
		x.out++
		x.queue = append(x.queue, b)
		b = append(slices.Clone(b), "<r xmlns='urn:xmpp:sm:3'/>"...)
	}
	if x.c != nil {
		x.c.net.Write(b)
	}
}

// acked takes the client's count.
func (x *Session) acked(h uint32) error {
	n := int(x.out - h)
	if n < 0 || n > len(x.queue) {
		return errors.New("the client confirms what was not sent")
	}
	x.queue = slices.Clone(x.queue[len(x.queue)-n:])
	return nil
}

type conn struct {
	s       *Server
	raw     net.Conn
	net     net.Conn
	tls     *tls.Conn
	scan    *xmppstream.Scanner
	parser  *xmltree.Parser
	login   *sasl.Server
	wish    *xmltree.Element // <authenticate/>
	offer   *sasl.Offer
	authed  bool
	session *Session
}

var errEnd = errors.New("the client closed the stream")

func (c *conn) serve() error {
	if c.s.Direct {
		if err := c.secure(); err != nil {
			return err
		}
	}
	for {
		p, err := c.scan.Next()
		if err != nil {
			return err
		}
		switch p.Kind {
		case xmppstream.Header:
			err = c.header(p.Data)
		case xmppstream.Footer:
			c.write([]byte(xmppstream.FooterText))
			err = errEnd
		case xmppstream.Element:
			var e *xmltree.Element
			if e, err = c.parser.Parse(p.Data); err == nil {
				err = c.element(e)
			}
		default:
			err = errors.New("the client sends what is not allowed")
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) secure() error {
	t := tls.Server(c.net, c.s.TLS)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.net, c.tls = t, t
	c.scan.Restart(t)
	return nil
}

func (c *conn) write(b []byte) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	_, err := c.net.Write(b)
	return err
}

func (c *conn) send(list ...*xmltree.Element) error {
	var b []byte
	for _, e := range list {
		b = e.AppendXML(b, xmppstream.NSClient)
	}
	return c.write(b)
}

func (c *conn) header(data []byte) error {
	_, parser, err := xmppstream.ParseHeader(data)
	if err != nil {
		return err
	}
	c.parser = parser
	o := &xmppstream.Open{From: c.s.Domain, ID: rand.Text(), Version: "1.0", Space: xmppstream.NSClient}
	return c.write(c.features().AppendXML(o.AppendHeader(nil), xmppstream.NSClient))
}

// restart makes the next thing a header.
func (c *conn) restart() { c.scan.Restart(c.net) }

func texts(parent *xmltree.Element, space, local string, list []string) *xmltree.Element {
	for _, t := range list {
		parent.Add(xmltree.NewText(space, local, t))
	}
	return parent
}

func (c *conn) features() *xmltree.Element {
	f := xmltree.New(xmltree.NSStream, "features")
	switch {
	case c.tls == nil:
		f.Add(xmltree.New(nsTLS, "starttls", xmltree.New(nsTLS, "required")))
		return f
	case c.authed:
		f.Add(xmltree.New(nsBind, "bind"))
		if c.s.Management {
			f.Add(xmltree.New(nsManagement, "sm"))
		}
		return f.Add(c.s.Features...)
	}
	list := c.s.Mechanisms
	if list == nil {
		list = []string{"SCRAM-SHA-256"}
	}
	c.offer = &sasl.Offer{Mechanisms: slices.Clone(list), Bindings: slices.Clone(c.s.Bindings)}
	cs := c.tls.ConnectionState()
	c.offer.TLS = &cs
	f.Add(texts(xmltree.New(nsSASL, "mechanisms"), nsSASL, "mechanism", list))
	if c.s.SASL2 {
		inline := xmltree.New(nsSASL2, "inline", xmltree.New(nsBind2, "bind", xmltree.New(nsBind2, "inline",
			xmltree.New(nsBind2, "feature").Set("var", nsManagement), xmltree.New(nsBind2, "feature").Set("var", "urn:xmpp:carbons:2"))))
		if c.s.Management {
			inline.Add(xmltree.New(nsManagement, "sm"))
		}
		if c.s.Tokens != nil {
			inline.Add(texts(xmltree.New(nsFast, "fast"), nsFast, "mechanism", c.s.Tokens))
		}
		f.Add(texts(xmltree.New(nsSASL2, "authentication"), nsSASL2, "mechanism", list).Add(inline))
	}
	if c.s.Bindings != nil {
		cb := xmltree.New(nsBinding, "sasl-channel-binding")
		for _, b := range c.s.Bindings {
			cb.Add(xmltree.New(nsBinding, "channel-binding").Set("type", b))
		}
		f.Add(cb)
	}
	if c.s.Strip != nil {
		c.s.Strip(f)
	}
	return f
}

func (c *conn) element(e *xmltree.Element) error {
	switch e.Name.Space {
	case nsTLS:
		if c.tls != nil {
			return errors.New("TLS twice")
		}
		if err := c.send(xmltree.New(nsTLS, "proceed")); err != nil {
			return err
		}
		return c.secure()
	case nsSASL, nsSASL2:
		return c.sasl(e)
	}
	if !c.authed {
		return errors.New("the client has not signed in")
	}
	if e.Name.Space == nsManagement {
		return c.management(e)
	}
	if e.Child(nsBind, "bind") != nil {
		c.s.mu.Lock()
		x := c.bind(e.Child(nsBind, "bind").Child(nsBind, "resource").Text())
		c.s.mu.Unlock()
		return c.send(xmltree.New(xmppstream.NSClient, "iq", xmltree.New(nsBind, "bind", xmltree.NewText(nsBind, "jid", x.jid))).Set("type", "result").Set("id", e.Get("id")))
	}
	return c.stanza(e)
}

// bind makes a session; s.mu is held.
func (c *conn) bind(resource string) *Session {
	if resource == "" {
		resource = rand.Text()
	}
	x := &Session{jid: c.s.Username + "@" + c.s.Domain + "/" + resource, c: c}
	c.session, c.s.current = x, x
	return x
}

func (c *conn) stanza(e *xmltree.Element) error {
	if e.Name.Space != xmppstream.NSClient {
		return nil
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.session == nil || c.session.c != c {
		return errors.New("no session any more")
	}
	c.session.in++
	if c.s.Received != nil {
		c.s.Received(e)
	}
	if typ := e.Get("type"); e.Name.Local == "iq" && (typ == "get" || typ == "set") {
		no := xmltree.New(xmppstream.NSClient, "error", xmltree.New("urn:ietf:params:xml:ns:xmpp-stanzas", "service-unavailable")).Set("type", "cancel")
		c.session.push(xmltree.New(xmppstream.NSClient, "iq", no).Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("to")))
	}
	return nil
}

// enable turns stream management on; s.mu is held.
func (c *conn) enable(x *Session) *xmltree.Element {
	c.s.serial++
	x.id, x.managed = "session-"+strconv.Itoa(c.s.serial), true
	c.s.sessions[x.id] = x
	return xmltree.New(nsManagement, "enabled").Set("id", x.id).Set("resume", "true").Set("max", "300")
}

func (c *conn) management(e *xmltree.Element) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var answer []byte
	switch x := c.session; e.Name.Local {
	case "enable":
		if x == nil || !c.s.Management {
			return errors.New("enabled out of turn")
		}
		answer = c.enable(x).AppendXML(nil, xmppstream.NSClient)
	case "resume":
		a, rest := c.resume(e)
		answer = append(a.AppendXML(nil, xmppstream.NSClient), rest...)
	case "r":
		if x == nil || x.c != c {
			return errors.New("no session any more")
		}
		answer = xmltree.New(nsManagement, "a").Set("h", strconv.FormatUint(uint64(x.in), 10)).AppendXML(nil, xmppstream.NSClient)
	case "a":
		h, err := strconv.ParseUint(e.Get("h"), 10, 32)
		if err != nil || x == nil {
			return errors.New("a count that is none")
		}
		return x.acked(uint32(h))
	}
	_, err := c.net.Write(answer)
	return err
}

// resume goes on with a session, or says why not, and returns what has to be sent again; s.mu is held.
func (c *conn) resume(e *xmltree.Element) (answer *xmltree.Element, rest []byte) {
	x := c.s.sessions[e.Get("previd")]
	failed := xmltree.New(nsManagement, "failed", xmltree.New("urn:ietf:params:xml:ns:xmpp-stanzas", "item-not-found"))
	if x == nil {
		return failed, nil
	}
	if x.c != nil {
		x.c.raw.Close() // the client knows better that it is gone
		x.c = nil
	}
	h, err := strconv.ParseUint(e.Get("h"), 10, 32)
	if c.s.Refuse != nil && c.s.Refuse() || err != nil || x.acked(uint32(h)) != nil {
		delete(c.s.sessions, x.id)
		if c.s.current == x {
			c.s.current = nil
		}
		return failed.Set("h", strconv.FormatUint(uint64(x.in), 10)), nil
	}
	x.c, c.session, c.s.current = c, x, x
	for _, b := range x.queue {
		rest = append(rest, b...)
	}
	if len(rest) > 0 {
		rest = append(rest, "<r xmlns='urn:xmpp:sm:3'/>"...)
	}
	return xmltree.New(nsManagement, "resumed").Set("h", strconv.FormatUint(uint64(x.in), 10)).Set("previd", x.id), rest
}

// leaf is the certificate that the server shows.
func (s *Server) leaf() *x509.Certificate {
	cert := &s.TLS.Certificates[0]
	if cert.Leaf != nil {
		return cert.Leaf
	}
	leaf, _ := x509.ParseCertificate(cert.Certificate[0])
	return leaf
}
