// Package blocking keeps others away (XEP-0191): the server drops what they send and shows them nothing of us.
package blocking

import (
	"context"
	"errors"
	"slices"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of blocking.
const NS = "urn:xmpp:blocking"

// maxBlocked bounds the list that is taken.
const maxBlocked = 20000

// ErrList says that what came is no list of addresses.
var ErrList = errors.New("blocking: not a list of addresses")

// List is the block list of a client's account. It is fetched at the beginning of a session, and followed.
type List struct {
	c *xmpp.Client

	mu      sync.Mutex
	blocked map[string]jid.JID
	changed func()
}

// New makes the block list of a client, which must not be connected yet. changed, if not nil, is called after each change; it must not wait for the network.
func New(c *xmpp.Client, changed func()) (*List, error) {
	l := &List{c: c, blocked: make(map[string]jid.JID), changed: changed}
	err := c.Use(&xmpp.Extension{
		Name:  "blocking",
		Bound: l.fetch,
		IQ: map[xmpp.IQName]xmpp.IQHandler{
			{Type: stanza.SetIQ, Space: NS, Local: "block"}:   l.push,
			{Type: stanza.SetIQ, Space: NS, Local: "unblock"}: l.push,
		},
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// fetch asks for the list; from then on changes are pushed (§3.2).
func (l *List) fetch(ctx context.Context) error {
	answer, err := l.c.Get(ctx, jid.JID{}, xmltree.New(NS, "blocklist"))
	if err != nil {
		return err
	}
	if !answer.Is(NS, "blocklist") {
		return ErrList
	}
	all, err := Parse(answer)
	if err != nil {
		return err
	}
	l.mu.Lock()
	clear(l.blocked)
	l.add(all)
	l.mu.Unlock()
	l.tell()
	return nil
}

func (l *List) add(all []jid.JID) {
	for _, j := range all {
		if len(l.blocked) == maxBlocked {
			l.c.Logger().Warn("blocking: more than is remembered")
			return
		}
		l.blocked[j.String()] = j
	}
}

func (l *List) tell() {
	if l.changed != nil {
		l.changed()
	}
}

// push takes a change from the server (§3.3). It counts only from our own account.
func (l *List) push(_ context.Context, iq *xmpp.IQ) (*xmltree.Element, error) {
	if !l.c.FromOwn(iq.From) {
		l.c.Logger().Warn("blocking: a push from a stranger", "from", iq.From.String())
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	}
	all, err := Parse(iq.Payload)
	if err != nil || iq.Payload.Name.Local == "block" && len(all) == 0 {
		return nil, stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	}
	l.mu.Lock()
	switch {
	case iq.Payload.Name.Local == "block":
		l.add(all)
	case len(all) == 0: // §3.4.1: everybody
		clear(l.blocked)
	default:
		for _, j := range all {
			delete(l.blocked, j.String())
		}
	}
	l.mu.Unlock()
	l.tell()
	return nil, nil
}

// All returns who is blocked, in the order of their addresses.
func (l *List) All() []jid.JID {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := make([]string, 0, len(l.blocked))
	for key := range l.blocked {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	all := make([]jid.JID, len(keys))
	for i, key := range keys {
		all[i] = l.blocked[key]
	}
	return all
}

// Blocks tells whether an address is blocked: itself, its account, or its domain (§3: as RFC 3921 §10.7 matches).
func (l *List) Blocks(j jid.JID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range []string{j.String(), j.Bare().String(), domainResource(j), j.Domain().String()} {
		if _, ok := l.blocked[key]; ok && key != "" {
			return true
		}
	}
	return false
}

func domainResource(j jid.JID) string {
	if j.Resourcepart() == "" {
		return ""
	}
	return j.Domainpart() + "/" + j.Resourcepart()
}

// Block blocks some addresses (§3.3): bare ones, full ones, or whole domains.
func Block(ctx context.Context, c *xmpp.Client, all ...jid.JID) error {
	if len(all) == 0 {
		return ErrList
	}
	_, err := c.Set(ctx, jid.JID{}, Element("block", all...))
	return err
}

// Unblock lets some addresses through again (§3.4).
func Unblock(ctx context.Context, c *xmpp.Client, all ...jid.JID) error {
	if len(all) == 0 { // which would mean everybody
		return ErrList
	}
	_, err := c.Set(ctx, jid.JID{}, Element("unblock", all...))
	return err
}

// UnblockAll lets everybody through (§3.5).
func UnblockAll(ctx context.Context, c *xmpp.Client) error {
	_, err := c.Set(ctx, jid.JID{}, Element("unblock"))
	return err
}

// Parse reads the addresses of a list, a block or an unblock.
func Parse(e *xmltree.Element) ([]jid.JID, error) {
	if e == nil || e.Name.Space != NS {
		return nil, ErrList
	}
	var all []jid.JID
	for c := range e.Named(NS, "item") {
		j, err := jid.Parse(c.Get("jid"))
		if err != nil || len(all) == maxBlocked {
			return nil, ErrList
		}
		all = append(all, j)
	}
	return all, nil
}

// Element is a list, a block or an unblock as it goes over the wire.
func Element(local string, all ...jid.JID) *xmltree.Element {
	e := xmltree.New(NS, local)
	for _, j := range all {
		e.Add(xmltree.New(NS, "item").Set("jid", j.String()))
	}
	return e
}
