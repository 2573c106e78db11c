package xmpptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Peer is a server that does what a script says, for tests that hold a client
// against the words of an RFC or XEP. A script looks like their examples:
//
//	C: <stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0'>
//	S: <stream:stream from='im.example.com' id='{sid}' version='1.0'>
//	S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>
//	C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
//	S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
//	TLS
//
// "C:" is what the client must send next, "S:" what it is sent. Lines that begin
// with white space belong to the line before; empty lines and those with '#' are
// left out. Elements are compared by names, attributes and content, whatever the order of
// attributes. A name in braces that is a whole value or text stands for anything the first time, and for the same
// ever after; in "S:" it is what it was, or what Vars says. {*} is anything always. A child <any/> at the end
// stands for all further children, an attribute any=” for all further attributes.
//
// "TLS" begins TLS, "CUT" closes the connection without a word, "END" waits until the client has closed it.
// A stream's header starts the stream anew on either side.
type Peer struct {
	// TLS is what "TLS" begins with.
	TLS *tls.Config
	// AutoAck makes it confirm by itself what the client asks to have confirmed by
	// stream management (XEP-0198), and keeps both out of the script. It counts from the <enabled/> of the script on.
	AutoAck bool
	// Vars are values of names in braces, and get those that the client chose.
	Vars map[string]string

	conn   net.Conn        // or
	ws     *websocket.Conn // one of both
	ctx    context.Context // of what is played
	scan   *xmppstream.Scanner
	parser *xmltree.Parser
	count  uint32 // stanzas since <enabled/>
}

// NewPeer returns a Peer on a connection, which it owns.
func NewPeer(conn net.Conn) *Peer {
	return &Peer{conn: conn, scan: xmppstream.NewScanner(conn), Vars: make(map[string]string)}
}

// ScriptError says in which line a script went wrong.
type ScriptError struct {
	Line int
	Text string // of the line
	Err  error
}

func (e *ScriptError) Error() string {
	return fmt.Sprintf("xmpptest: line %d: %s: %v", e.Line, e.Text, e.Err)
}
func (e *ScriptError) Unwrap() error { return e.Err }

// Play plays a script to its end. It can be called again with what comes then.
func (p *Peer) Play(ctx context.Context, script string) error {
	defer p.limit(ctx)()
	for _, l := range lines(script) {
		if err := p.step(ctx, l.text); err != nil {
			if ctx.Err() != nil {
				err = errors.Join(err, context.Cause(ctx))
			}
			return &ScriptError{l.number, l.text, err}
		}
	}
	return nil
}

func (p *Peer) expire() { p.conn.SetDeadline(time.Unix(1, 0)) }

// Close closes the connection.
func (p *Peer) Close() error {
	if p.ws != nil {
		return p.ws.CloseNow()
	}
	return p.conn.Close()
}

type line struct {
	number int
	text   string
}

func lines(script string) []line {
	var all []line
	for i, text := range strings.Split(script, "\n") {
		trimmed := strings.TrimSpace(text)
		switch {
		case trimmed == "" || strings.HasPrefix(trimmed, "#"):
		case len(all) > 0 && !startsLine(trimmed):
			all[len(all)-1].text += trimmed
		default:
			all = append(all, line{i + 1, trimmed})
		}
	}
	return all
}

func startsLine(s string) bool {
	return strings.HasPrefix(s, "C:") || strings.HasPrefix(s, "S:") || s == "TLS" || s == "CUT" || s == "END"
}

func (p *Peer) step(ctx context.Context, text string) error {
	if p.ws != nil {
		if done, err := p.stepWS(text); done {
			return err
		}
	}
	switch text {
	case "TLS":
		c := tls.Server(p.conn, p.TLS)
		if err := c.HandshakeContext(ctx); err != nil {
			return err
		}
		p.conn = c
		p.scan.Restart(c)
		return nil
	case "CUT":
		p.conn.Close() // the client may have been first
		return nil
	case "END":
		for {
			if _, err := p.scan.Next(); err != nil {
				return nil // how it ends is the client's business
			}
		}
	}
	who, xml, _ := strings.Cut(text, ":")
	xml = strings.TrimSpace(xml)
	switch who {
	case "S":
		return p.say(xml)
	case "C":
		return p.expect(xml)
	}
	return errors.New("a line begins with neither C nor S")
}

// inStream is the place where elements of a script stand.
func inStream() *xmltree.Parser {
	return &xmltree.Parser{Space: xmppstream.NSClient, Prefixes: map[string]string{"stream": xmltree.NSStream}}
}

// headerTag is a stream's header in a script, which may leave out its namespaces.
func headerTag(xml string) (string, bool) {
	rest, ok := strings.CutPrefix(xml, "<stream:stream")
	if !ok {
		return xml, false
	}
	if !strings.Contains(rest, "xmlns:stream=") {
		rest = " xmlns:stream='" + xmltree.NSStream + "'" + rest
	}
	if !strings.Contains(rest, "xmlns=") {
		rest = " xmlns='" + xmppstream.NSClient + "'" + rest
	}
	return "<stream:stream" + rest, true
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")

func (p *Peer) say(xml string) error {
	for name, value := range p.Vars {
		xml = strings.ReplaceAll(xml, "{"+name+"}", escape.Replace(value))
	}
	if strings.HasPrefix(xml, "<enabled") {
		p.count = 0
	}
	if tag, ok := headerTag(xml); ok {
		xml = "<?xml version='1.0'?>" + tag
	}
	return p.write([]byte(xml))
}

func (p *Peer) expect(xml string) error {
	if xml == xmppstream.FooterText {
		piece, err := p.scan.Next()
		if err == nil && piece.Kind != xmppstream.Footer {
			err = fmt.Errorf("got %s", piece.Data)
		}
		return err
	}
	if tag, ok := headerTag(xml); ok {
		return p.expectHeader(tag)
	}
	want, err := inStream().Parse([]byte(xml))
	if err != nil {
		return err
	}
	got, err := p.Next()
	if err != nil {
		return err
	}
	return match(want, got, p.Vars)
}

func (p *Peer) expectHeader(tag string) error {
	want, _, err := xmltree.ParseStart([]byte(tag))
	if err != nil {
		return err
	}
	if p.parser != nil {
		p.scan.Restart(p.conn)
	}
	piece, err := p.scan.Next()
	if err != nil {
		return err
	}
	got, parser, err := xmltree.ParseStart(piece.Data)
	if err != nil {
		return err
	}
	p.parser = parser
	return match(want, got, p.Vars)
}

// Next returns the next element that the client sends, for what a script cannot say.
func (p *Peer) Next() (*xmltree.Element, error) {
	for {
		e, err := p.element()
		if err != nil {
			return nil, err
		}
		if e.Name.Space == xmppstream.NSClient {
			p.count++
		}
		if !p.AutoAck || !e.Is(nsManagement, "r") {
			return e, nil
		}
		a := xmltree.New(nsManagement, "a").Set("h", strconv.FormatUint(uint64(p.count), 10))
		space := xmppstream.NSClient
		if p.ws != nil {
			space = ""
		}
		if err := p.write(a.AppendXML(nil, space)); err != nil {
			return nil, err
		}
	}
}

func (p *Peer) element() (*xmltree.Element, error) {
	if p.ws != nil {
		return p.message()
	}
	piece, err := p.scan.Next()
	if err != nil {
		return nil, err
	}
	if piece.Kind != xmppstream.Element || p.parser == nil {
		return nil, fmt.Errorf("got %s, which is no element in a stream", piece.Data)
	}
	return p.parser.Parse(piece.Data)
}

const nsManagement = "urn:xmpp:sm:3"

// match compares an element with what a script wants.
func match(want, got *xmltree.Element, vars map[string]string) error {
	differ := func(format string, args ...any) error {
		return fmt.Errorf("%s in %s", fmt.Sprintf(format, args...), got)
	}
	if want.Name != got.Name {
		return differ("{%s}%s, want {%s}%s", got.Name.Space, got.Name.Local, want.Name.Space, want.Name.Local)
	}
	_, open := want.Lookup("", "any")
	for _, a := range want.Attr {
		if a.Name.Space == "" && a.Name.Local == "any" {
			continue
		}
		v, ok := got.Lookup(a.Name.Space, a.Name.Local)
		if !ok || !matchText(a.Value, v, vars) {
			return differ("%s=%q, want %q", a.Name.Local, v, a.Value)
		}
	}
	for _, a := range got.Attr {
		if _, ok := want.Lookup(a.Name.Space, a.Name.Local); !ok && !open {
			return differ("%s=%q, which is not wanted", a.Name.Local, a.Value)
		}
	}
	if w, g := strings.TrimSpace(want.Text()), strings.TrimSpace(got.Text()); !matchText(w, g, vars) {
		return differ("text %q, want %q", g, w)
	}
	w, g := slices.Collect(want.Elements()), slices.Collect(got.Elements())
	if n := len(w); n > 0 && w[n-1].Name.Local == "any" {
		w = w[:n-1]
		g = g[:min(len(g), len(w))]
	}
	for i := range max(len(w), len(g)) {
		switch {
		case i >= len(w):
			return differ("%s, which is not wanted,", g[i])
		case i >= len(g):
			return differ("no %s", w[i])
		}
		if err := match(w[i], g[i], vars); err != nil {
			return err
		}
	}
	return nil
}

func matchText(want, got string, vars map[string]string) bool {
	if !strings.HasPrefix(want, "{") || !strings.HasSuffix(want, "}") {
		return want == got
	}
	name := want[1 : len(want)-1]
	if name == "*" {
		return true
	}
	if known, ok := vars[name]; ok {
		return known == got
	}
	vars[name] = got
	return true
}
