package chat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Conversation is what is said with one person. It is a handle: it holds nothing.
type Conversation struct {
	m    *Messenger
	addr jid.JID
}

// Conversation returns the conversation with somebody. The resource of j, if any, is left out.
func (m *Messenger) Conversation(j jid.JID) *Conversation { return &Conversation{m, j.Bare()} }

// Address is with whom it is.
func (c *Conversation) Address() jid.JID { return c.addr }

// Draft is a message to be sent.
type Draft struct {
	Body    string
	Subject string
	Thread  string // RFC 6121 §5.2.5; "" is none
	// ReplyTo is the ID of a message that this answers to (XEP-0461); clients that do not know that see it quoted.
	ReplyTo string
	// Mentions are ranges of Body that name somebody (XEP-0372).
	Mentions []Mention
	// Link is the address of a file (XEP-0066). With an empty Body it is the body, too.
	Link string
	// Forward is the ID of a message to pass on (XEP-0297).
	Forward string
	// Extra are further elements, which go along.
	Extra []*xmltree.Element
}

// Errors of what cannot be sent.
var (
	ErrEmpty   = errors.New("chat: nothing to say")
	ErrTooLong = fmt.Errorf("chat: longer than %d bytes", maxBody)
	ErrNotOurs = errors.New("chat: the message is somebody else's")
	ErrGone    = errors.New("chat: the message was taken back")
)

// Send puts a message into the outbox. nil says that it is safe there: it is sent when
// there is a connection, and once, whatever breaks meanwhile.
func (c *Conversation) Send(ctx context.Context, d *Draft) (*Message, error) {
	msg := Message{Body: d.Body, Subject: d.Subject, Thread: d.Thread, Mentions: d.Mentions}
	if d.Link != "" {
		msg.Links = []string{d.Link}
		if msg.Body == "" {
			msg.Body = d.Link
		}
	}
	switch {
	case msg.Body == "" && d.Subject == "" && d.Forward == "":
		return nil, ErrEmpty
	case len(msg.Body) > maxBody:
		return nil, ErrTooLong
	case !utf8.ValidString(msg.Body):
		return nil, errors.New("chat: the body is not UTF-8")
	}
	if d.ReplyTo != "" {
		to, err := c.message(ctx, d.ReplyTo)
		if err != nil {
			return nil, err
		}
		msg.Reply = &Reply{Ref: to.WireID, To: to.Author.Address, ID: to.ID, Quote: quote(to.Body)}
	}
	if d.Forward != "" {
		other, err := c.m.store.Message(ctx, d.Forward)
		if err != nil {
			return nil, err
		}
		msg.Forwarded = &Forwarded{From: other.Author.Address, Body: other.Body, Time: other.Time}
	}
	for _, e := range d.Extra {
		msg.Extra = string(e.AppendXML([]byte(msg.Extra), xmpp.NSClient))
	}
	return c.put(ctx, &msg)
}

// message returns a message of this conversation.
func (c *Conversation) message(ctx context.Context, id string) (*Message, error) {
	msg, err := c.m.store.Message(ctx, id)
	if err == nil && msg.Chat != c.addr.String() {
		err = ErrNotFound
	}
	return msg, err
}

// quote is a text as those see it who know no replies (XEP-0461 §3.2).
func quote(body string) string {
	const most = 200
	if runes := []rune(body); len(runes) > most {
		body = string(runes[:most]) + "…"
	}
	return "> " + strings.ReplaceAll(body, "\n", "\n> ") + "\n"
}

// put makes a message ours, and leaves it to the outbox.
func (c *Conversation) put(ctx context.Context, msg *Message) (*Message, error) {
	m := c.m
	id := xmpp.NewID()
	msg.ID, msg.WireID, msg.Chat, msg.Time, msg.State = id, id, c.addr.String(), time.Now(), Queued
	msg.Author = Author{Address: m.client.Account().String(), Mine: true}
	b := &Batch{Messages: []*Message{msg}, Aliases: map[Alias]string{{Chat: msg.Chat, Author: me, ID: id}: id}}
	t := turn{ledger: &m.ledger, ctx: ctx, p: place{chat: msg.Chat}, b: b}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := t.counted(msg); err != nil {
		return nil, err
	}
	if err := m.apply(ctx, b); err != nil {
		return nil, err
	}
	m.outbox.wake()
	return msg, nil
}

// Correct replaces what one of our messages says (XEP-0308).
func (c *Conversation) Correct(ctx context.Context, id, body string) error {
	if body == "" {
		return ErrEmpty
	}
	if len(body) > maxBody {
		return ErrTooLong
	}
	return c.about(ctx, id, true, func(target *Message) []*xmltree.Element {
		return []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", body), xmltree.New(nsCorrect, "replace").Set("id", target.WireID)}
	})
}

// Retract takes one of our messages back (XEP-0424). Who has read it has read it.
func (c *Conversation) Retract(ctx context.Context, id string) error {
	return c.about(ctx, id, true, func(target *Message) []*xmltree.Element {
		return []*xmltree.Element{
			xmltree.New(nsRetract, "retract").Set("id", target.WireID),
			xmltree.New(nsFallback, "fallback").Set("for", nsRetract),
			xmltree.NewText(xmpp.NSClient, "body", "/me took back a message, which this client cannot show."),
			xmltree.New(nsHints, "store"),
		}
	})
}

// React says what we think of a message, instead of what we said before (XEP-0444). Without emojis it takes that back.
func (c *Conversation) React(ctx context.Context, id string, emojis ...string) error {
	return c.about(ctx, id, false, func(target *Message) []*xmltree.Element {
		r := xmltree.New(nsReactions, "reactions").Set("id", target.WireID)
		for _, e := range emojis {
			r.Add(xmltree.NewText(nsReactions, "reaction", e))
		}
		return []*xmltree.Element{r, xmltree.New(nsHints, "store")}
	})
}

// about sends something about a message, and does it here.
func (c *Conversation) about(ctx context.Context, id string, own bool, payload func(*Message) []*xmltree.Element) error {
	target, err := c.message(ctx, id)
	switch {
	case err != nil:
		return err
	case own && !target.Author.Mine:
		return ErrNotOurs
	case target.Retracted != nil:
		return ErrGone
	}
	return c.act(ctx, c.stanza(payload(target)))
}

// act does here what a stanza says, and leaves that to the outbox.
func (c *Conversation) act(ctx context.Context, s *xmpp.Message) error {
	m := c.m
	xml := s.Element().AppendXML(nil, "")
	m.mu.Lock()
	defer m.mu.Unlock()
	b, _, err := m.ledger.take(ctx, &arrival{stanza: s, sent: true, at: time.Now()})
	if err != nil {
		return err
	}
	if err := m.outbox.put(ctx, b, &Action{s.ID, xml}); err != nil {
		return err
	}
	if err := m.apply(ctx, b); err != nil {
		return err
	}
	m.outbox.wake()
	return nil
}

func (c *Conversation) stanza(payload []*xmltree.Element) *xmpp.Message {
	s := &xmpp.Message{Payload: payload}
	s.To, s.Type, s.ID = c.addr, stanza.ChatMessage, xmpp.NewID()
	s.From = c.m.client.Account()
	return s
}

// MarkRead says that the user has read up to a message (XEP-0333): to his own
// store, and to the other unless Config.NoMarkers is set.
func (c *Conversation) MarkRead(ctx context.Context, id string) error {
	target, err := c.message(ctx, id)
	if err != nil {
		return err
	}
	if !c.m.cfg.NoMarkers && !target.Author.Mine && target.WireID != "" {
		return c.act(ctx, c.stanza([]*xmltree.Element{xmltree.New(nsMarkers, "displayed").Set("id", target.WireID), xmltree.New(nsHints, "store")}))
	}
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	t := turn{ledger: &m.ledger, ctx: ctx, p: place{chat: c.addr.String()}, b: new(Batch)}
	if err := t.read(target.Place()); err != nil {
		return err
	}
	return m.apply(ctx, t.b)
}

// History yields the messages of the conversation that are here, the newest first, from before a place on; the zero Place is the end.
func (c *Conversation) History(ctx context.Context, before Place, n int) ([]*Message, error) {
	return c.m.store.History(ctx, c.addr.String(), before, n)
}

// Typing tells the other what the user does, such as Composing (XEP-0085). Without a connection nobody is told.
func (c *Conversation) Typing(ctx context.Context, s Typing) error {
	if c.m.client.Status().State != xmpp.Online {
		return nil
	}
	msg := c.stanza([]*xmltree.Element{xmltree.New(nsStates, string(s)), xmltree.New(nsHints, "no-store")})
	msg.From = jid.JID{}
	_, err := c.m.client.Send(ctx, msg)
	return err
}

// wire is a message of the outbox as it goes over the wire.
func wire(msg *Message) (*xmpp.Message, error) {
	to, err := jid.Parse(msg.Chat)
	if err != nil {
		return nil, err
	}
	s := new(xmpp.Message)
	s.To, s.Type, s.ID = to, stanza.ChatMessage, msg.WireID
	body := msg.Body
	add := func(e ...*xmltree.Element) { s.Payload = append(s.Payload, e...) }
	if r := msg.Reply; r != nil {
		body = r.Quote + body
		span := xmltree.New(nsFallback, "body").Set("start", "0").Set("end", strconv.Itoa(utf8.RuneCountInString(r.Quote)))
		add(xmltree.New(nsReply, "reply").Set("id", r.Ref).Set("to", r.To), xmltree.New(nsFallback, "fallback", span).Set("for", nsReply))
	}
	if body != "" {
		add(xmltree.NewText(xmpp.NSClient, "body", body))
	}
	if msg.Subject != "" {
		add(xmltree.NewText(xmpp.NSClient, "subject", msg.Subject))
	}
	if msg.Thread != "" {
		add(xmltree.NewText(xmpp.NSClient, "thread", msg.Thread).Set("parent", msg.Parent))
	}
	for _, link := range msg.Links {
		add(xmltree.New(nsOOB, "x", xmltree.NewText(nsOOB, "url", link)))
	}
	shift := 0
	if msg.Reply != nil {
		shift = utf8.RuneCountInString(msg.Reply.Quote)
	}
	for _, n := range msg.Mentions {
		add(xmltree.New(nsReference, "reference").Set("type", "mention").Set("begin", strconv.Itoa(n.Begin+shift)).Set("end", strconv.Itoa(n.End+shift)).Set("uri", n.URI))
	}
	if f := msg.Forwarded; f != nil {
		inner := xmltree.New(xmpp.NSClient, "message", xmltree.NewText(xmpp.NSClient, "body", f.Body)).Set("from", f.From).Set("type", "chat")
		add(xmltree.New(nsForward, "forwarded", xmltree.New(nsDelay, "delay").Set("stamp", f.Time.UTC().Format(time.RFC3339)), inner))
	}
	add(xmltree.New(nsStanzaID, "origin-id").Set("id", msg.WireID), xmltree.New(nsMarkers, "markable"), xmltree.New(nsReceipts, "request"))
	if msg.Extra == "" {
		return s, nil
	}
	p := xmltree.Parser{Space: xmpp.NSClient}
	whole, err := p.Parse([]byte("<x>" + msg.Extra + "</x>"))
	if err != nil {
		return nil, err
	}
	for e := range whole.Elements() {
		add(e)
	}
	return s, nil
}
