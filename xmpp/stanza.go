package xmpp

import (
	"errors"
	"fmt"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of stanzas.
const (
	NSClient = "jabber:client"
	nsError  = "urn:ietf:params:xml:ns:xmpp-stanzas" // RFC 6120 §8.3.3
)

// Message is a message (RFC 6121 §5). The header has what RFC 6120 §8.1 puts
// into attributes; a sender leaves From empty, and the server fills it in.
type Message struct {
	stanza.Message
	Payload []*xmltree.Element // in the order of the wire, without the error of a message of type error

	// Error is that of a message of type error; nil otherwise.
	Error *stanza.Error
	// Unsafe tells that From has a resource that PRECIS refuses (RFC 7622 §3.4) or that is too
	// long, as nicknames in rooms can be. It is kept as it came; it may look like another.
	Unsafe bool
}

// Presence is a presence stanza (RFC 6121 §4).
type Presence struct {
	stanza.Presence
	Payload []*xmltree.Element
	Error   *stanza.Error
	Unsafe  bool
}

// IQ is a request or its answer (RFC 6120 §8.2.3).
type IQ struct {
	stanza.IQ
	Payload *xmltree.Element // nil only in results
	Unsafe  bool
}

// Child returns the first payload of a name; nil, which can be read like any
// element, if there is none.
func (m *Message) Child(space, local string) *xmltree.Element { return child(m.Payload, space, local) }

// Child returns the first payload of a name; nil if there is none.
func (p *Presence) Child(space, local string) *xmltree.Element {
	return child(p.Payload, space, local)
}

func child(payload []*xmltree.Element, space, local string) *xmltree.Element {
	for _, e := range payload {
		if e.Is(space, local) {
			return e
		}
	}
	return nil
}

// Body is the text of a message (RFC 6121 §5.2.3) without a language, or else the first.
func (m *Message) Body() string { return plain(m.Payload, "body") }

// plain is the text of the elements of a name, of which there may be one for each language.
func plain(payload []*xmltree.Element, local string) string {
	text, found := "", false
	for _, e := range payload {
		if !e.Is(NSClient, local) {
			continue
		}
		if e.GetNS(xmltree.NSXML, "lang") == "" {
			return e.Text()
		}
		if !found {
			text, found = e.Text(), true
		}
	}
	return text
}

// Element is the message as it goes over the wire.
func (m *Message) Element() *xmltree.Element {
	typ := string(m.Type)
	if m.Type == stanza.NormalMessage {
		typ = "" // RFC 6121 §5.2.2: what is meant by none
	}
	e := header("message", m.ID, m.To, m.From, m.Lang, typ)
	return appendError(e.Add(m.Payload...), m.Error)
}

// Element is the presence as it goes over the wire.
func (p *Presence) Element() *xmltree.Element {
	e := header("presence", p.ID, p.To, p.From, p.Lang, string(p.Type))
	return appendError(e.Add(p.Payload...), p.Error)
}

// Element is the request or answer as it goes over the wire.
func (iq *IQ) Element() *xmltree.Element {
	return header("iq", iq.ID, iq.To, iq.From, iq.Lang, string(iq.Type)).Add(iq.Payload)
}

func header(local, id string, to, from jid.JID, lang, typ string) *xmltree.Element {
	e := xmltree.New(NSClient, local).Set("id", id).Set("to", address(to)).Set("from", address(from)).Set("type", typ)
	return e.SetNS(xmltree.NSXML, "lang", lang)
}

func address(j jid.JID) string {
	if j.Domainpart() == "" {
		return ""
	}
	return j.String()
}

func appendError(e *xmltree.Element, err *stanza.Error) *xmltree.Element {
	if err != nil {
		e.Add(errorElement(*err))
	}
	return e
}

// errorElement writes a stanza error (RFC 6120 §8.3.2).
func errorElement(err stanza.Error) *xmltree.Element {
	if err.Condition == "" {
		err.Condition = stanza.UndefinedCondition
	}
	if err.Type == "" {
		err.Type = stanza.Cancel
	}
	e := xmltree.New(NSClient, "error", xmltree.New(nsError, string(err.Condition)))
	e.Set("type", string(err.Type)).Set("by", address(err.By))
	for lang, text := range err.Text {
		if text != "" {
			e.Add(xmltree.NewText(nsError, "text", text).SetNS(xmltree.NSXML, "lang", lang))
			break // §8.3.2 allows one
		}
	}
	return e
}

// parseError reads a stanza error. What it lacks is undefined-condition.
func parseError(e *xmltree.Element) stanza.Error {
	err := stanza.Error{Type: stanza.ErrorType(e.Get("type")), Condition: stanza.UndefinedCondition}
	err.By, _ = jid.Parse(e.Get("by"))
	for c := range e.Elements() {
		switch {
		case c.Name.Space != nsError:
		case c.Name.Local == "text":
			err.Text = map[string]string{c.GetNS(xmltree.NSXML, "lang"): c.Text()}
		default:
			err.Condition = stanza.Condition(c.Name.Local)
		}
	}
	return err
}

// parsers parse stanzas that are inside others.
var parsers = sync.Pool{New: func() any { return new(parser) }}

// ParseMessage reads a message that came inside something else, such as a forwarded one (XEP-0297). Nobody has
// checked its sender. It fails if it is no message, or has an address that is none.
func ParseMessage(e *xmltree.Element) (*Message, error) {
	if !e.Is(NSClient, "message") {
		return nil, errors.New("xmpp: not a message")
	}
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	return p.message(e)
}

// errAddress says that a stanza has no usable address: it is dropped (RFC 6120 §8.1.2).
var errAddress = errors.New("an address that is none")

// parser turns elements into stanzas. It remembers addresses: parsing one anew costs more than all else.
type parser struct{ known map[string]parsed }

type parsed struct {
	jid    jid.JID
	unsafe bool
}

// Bounds of the addresses that are remembered: how many, and how long each. All that are allowed are shorter (RFC 7622 §3.1).
const (
	maxKnown       = 512
	maxKnownLength = 3071
)

// maxResource bounds a resource that is taken although it is too long, in bytes. Rooms let such nicks pass.
const maxResource = 64 << 10

// jid parses an address as a server delivers it. A resource that PRECIS refuses
// is kept: the server has let it pass, and who is in the same room has no choice.
func (p *parser) jid(s string) (parsed, error) {
	if s == "" {
		return parsed{}, nil
	}
	if known, ok := p.known[s]; ok {
		return known, nil
	}
	var a parsed
	var err error
	if a.jid, err = jid.Parse(s); err != nil {
		local, domain, resource, split := jid.SplitString(s)
		if split != nil || resource == "" || len(resource) > maxResource {
			return parsed{}, fmt.Errorf("%w: %.100q: %w", errAddress, s, err)
		}
		if _, err := jid.New(local, domain, ""); err != nil {
			return parsed{}, fmt.Errorf("%w: %.100q: %w", errAddress, s, err)
		}
		a = parsed{jid.NewUnsafe(local, domain, resource).JID, true}
	}
	if len(s) > maxKnownLength {
		return a, nil
	}
	if p.known == nil || len(p.known) >= maxKnown {
		p.known = make(map[string]parsed)
	}
	p.known[a.jid.String()] = a // which is a copy: s holds a whole stanza
	return a, nil
}

func (p *parser) addresses(e *xmltree.Element) (to, from parsed, err error) {
	if to, err = p.jid(e.Get("to")); err == nil {
		from, err = p.jid(e.Get("from"))
	}
	return to, from, err
}

func (p *parser) message(e *xmltree.Element) (*Message, error) {
	to, from, err := p.addresses(e)
	if err != nil {
		return nil, err
	}
	m := &Message{Unsafe: from.unsafe}
	m.XMLName, m.ID, m.To, m.From, m.Lang = e.Name, e.Get("id"), to.jid, from.jid, e.GetNS(xmltree.NSXML, "lang")
	switch m.Type = stanza.MessageType(e.Get("type")); m.Type {
	case stanza.ChatMessage, stanza.GroupChatMessage, stanza.HeadlineMessage, stanza.ErrorMessage:
	default:
		m.Type = stanza.NormalMessage // RFC 6121 §5.2.2
	}
	m.Payload, m.Error = payload(e, m.Type == stanza.ErrorMessage)
	return m, nil
}

func (p *parser) presence(e *xmltree.Element) (*Presence, error) {
	to, from, err := p.addresses(e)
	if err != nil {
		return nil, err
	}
	pr := &Presence{Unsafe: from.unsafe}
	pr.XMLName, pr.ID, pr.To, pr.From, pr.Lang = e.Name, e.Get("id"), to.jid, from.jid, e.GetNS(xmltree.NSXML, "lang")
	pr.Type = stanza.PresenceType(e.Get("type"))
	pr.Payload, pr.Error = payload(e, pr.Type == stanza.ErrorPresence)
	return pr, nil
}

// iq reads a request or an answer. It never fails for its sender's address: an answer may be due.
func (p *parser) iq(e *xmltree.Element) (*IQ, *stanza.Error, error) {
	to, from, err := p.addresses(e)
	if err != nil {
		return nil, nil, err
	}
	iq := &IQ{Unsafe: from.unsafe}
	iq.XMLName, iq.ID, iq.To, iq.From, iq.Lang = e.Name, e.Get("id"), to.jid, from.jid, e.GetNS(xmltree.NSXML, "lang")
	iq.Type = stanza.IQType(e.Get("type"))
	rest, failed := payload(e, iq.Type == stanza.ErrorIQ)
	if len(rest) > 0 {
		iq.Payload = rest[0]
	}
	return iq, failed, nil
}

func payload(e *xmltree.Element, failed bool) ([]*xmltree.Element, *stanza.Error) {
	var err *stanza.Error
	rest := make([]*xmltree.Element, 0, len(e.Nodes))
	for c := range e.Elements() {
		if failed && err == nil && c.Is(e.Name.Space, "error") {
			parsed := parseError(c)
			err = &parsed
			continue
		}
		rest = append(rest, c)
	}
	if failed && err == nil {
		err = &stanza.Error{Condition: stanza.UndefinedCondition}
	}
	return rest, err
}
