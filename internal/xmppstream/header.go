package xmppstream

import (
	"fmt"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of streams.
const (
	NSClient    = "jabber:client"
	NSServer    = "jabber:server"
	NSComponent = "jabber:component:accept"             // XEP-0114
	NSFraming   = "urn:ietf:params:xml:ns:xmpp-framing" // RFC 7395
	NSError     = "urn:ietf:params:xml:ns:xmpp-streams" // conditions of stream errors, RFC 6120 §4.9.2
)

// Open is what a stream's header says (RFC 6120 §4.7, RFC 7395 §3.4). Addresses are as they came.
type Open struct {
	To, From string
	ID       string
	Version  string // "1.0", "" for what is older
	Lang     string
	Space    string // the default namespace, such as NSClient; not of WebSocket
}

// ParseHeader reads a header piece and returns a parser for what is in the stream.
func ParseHeader(data []byte) (*Open, *xmltree.Parser, error) {
	e, p, err := xmltree.ParseStart(data)
	if err != nil {
		return nil, nil, err
	}
	if !e.Is(xmltree.NSStream, "stream") {
		return nil, nil, fmt.Errorf("%w: the header is {%s}%s", ErrGarbage, e.Name.Space, e.Name.Local)
	}
	o := fromElement(e)
	o.Space = p.Space
	return o, p, nil
}

// ParseOpen reads the <open/> of a WebSocket stream.
func ParseOpen(e *xmltree.Element) (*Open, error) {
	if !e.Is(NSFraming, "open") {
		return nil, fmt.Errorf("%w: {%s}%s instead of open", ErrGarbage, e.Name.Space, e.Name.Local)
	}
	return fromElement(e), nil
}

func fromElement(e *xmltree.Element) *Open {
	return &Open{To: e.Get("to"), From: e.Get("from"), ID: e.Get("id"), Version: e.Get("version"), Lang: e.GetNS(xmltree.NSXML, "lang")}
}

// AppendHeader appends the XML declaration and the start tag of a stream.
func (o *Open) AppendHeader(b []byte) []byte {
	b = append(b, "<?xml version='1.0'?>"...)
	e := o.element(xmltree.NSStream, "stream")
	return e.AppendStart(b, o.Space)
}

// Element is the <open/> of a WebSocket stream.
func (o *Open) Element() *xmltree.Element { return o.element(NSFraming, "open") }

func (o *Open) element(space, local string) *xmltree.Element {
	e := xmltree.New(space, local).Set("to", o.To).Set("from", o.From).Set("id", o.ID).Set("version", o.Version)
	return e.SetNS(xmltree.NSXML, "lang", o.Lang)
}

// FooterText ends a stream (RFC 6120 §4.4).
const FooterText = "</stream:stream>"
