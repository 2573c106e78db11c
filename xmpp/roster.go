package xmpp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsRoster = "jabber:iq:roster"

// maxContacts bounds a roster; what a server sends beyond is left out and logged.
const maxContacts = 20000

// Subscription is who sees whose presence (RFC 6121 §2.1.2.5).
type Subscription string

// The subscriptions.
const (
	SubscriptionNone Subscription = "none"
	SubscriptionTo   Subscription = "to"   // we see theirs
	SubscriptionFrom Subscription = "from" // they see ours
	SubscriptionBoth Subscription = "both"
)

// Contact is an entry of the roster (RFC 6121 §2.1.2).
type Contact struct {
	JID    jid.JID // bare
	Name   string  // that the user gave; "" is none
	Groups []string

	Subscription Subscription
	Pending      bool // we have asked to see theirs, and there is no answer yet
	Approved     bool // they may see ours when they ask (§3.4)
}

// Roster is the list of contacts that the server keeps for the account. Its
// methods may be called by anybody. What it knows outlives a connection.
type Roster struct {
	c *Client

	mu       sync.Mutex
	version  string
	contacts map[string]*entry
	requests *queue[*Presence]
	watchers watchers
}

// entry is what is known of an address: a contact, and what is there of it.
type entry struct {
	contact   *Contact             // nil if it is only seen
	resources map[string]*Presence // those that are available
}

// Bounds of what is remembered of who is there.
const (
	maxResources = 64    // of one contact
	maxSeen      = 20000 // addresses that are no contacts
	maxAsked     = 256   // requests that wait for Requests
)

func newRoster(c *Client) *Roster {
	return &Roster{c: c, contacts: make(map[string]*entry), requests: newQueue[*Presence](maxAsked)}
}

// Roster is the account's list of contacts. It is fetched at the beginning of a session, and followed.
func (c *Client) Roster() *Roster { return c.roster }

func (r *Roster) extension() *Extension {
	return &Extension{
		Name:  "roster",
		IQ:    map[IQName]IQHandler{{stanza.SetIQ, nsRoster, "query"}: r.push},
		Bound: r.fetch,
	}
}

// fetch asks for the roster, or for what has changed since the version that is known (§2.6).
func (r *Roster) fetch(ctx context.Context) error {
	r.forgetPresence()
	q := xmltree.New(nsRoster, "query")
	r.mu.Lock()
	if r.c.offers("urn:xmpp:features:rosterver", "ver") {
		q.Attr = append(q.Attr, attr("ver", r.version)) // empty, too: it says that we can
	}
	r.mu.Unlock()
	answer, err := r.c.Get(ctx, jid.JID{}, q)
	if err != nil || answer == nil { // nothing: what is known is current, and pushes tell the rest
		return err
	}
	if !answer.Is(nsRoster, "query") {
		return errors.New("the server's roster is none")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[string]bool)
	for item := range answer.Named(nsRoster, "item") {
		if key, ok := r.set(item); ok {
			known[key] = true
		}
	}
	for key, e := range r.contacts {
		if e.contact != nil && !known[key] {
			r.remove(key)
		}
	}
	r.version = answer.Get("ver")
	return nil
}

// push takes a change from the server (§2.1.6). Anybody may send such a request; it counts only from our own server.
func (r *Roster) push(_ context.Context, iq *IQ) (*xmltree.Element, error) {
	if iq.From.Domainpart() != "" && !iq.From.Equal(r.c.Account()) {
		r.c.log.Warn("xmpp: a roster push from a stranger", "from", iq.From.String())
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	}
	item := iq.Payload.Child(nsRoster, "item")
	if item == nil {
		return nil, stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(item)
	if v, ok := iq.Payload.Lookup("", "ver"); ok {
		r.version = v
	}
	return nil, nil
}

// set takes an item; r.mu is held.
func (r *Roster) set(item *xmltree.Element) (key string, ok bool) {
	j, err := jid.Parse(item.Get("jid"))
	if err != nil || j.Resourcepart() != "" {
		r.c.log.Warn("xmpp: a contact without a usable address was left out", "jid", fmt.Sprintf("%.100q", item.Get("jid")), "err", err)
		return "", false
	}
	key = j.String()
	c := &Contact{
		JID: j, Name: strings.Clone(item.Get("name")), Subscription: Subscription(strings.Clone(item.Get("subscription"))),
		Pending: item.Get("ask") == "subscribe", Approved: isTrue(item.Get("approved")),
	}
	if c.Subscription == "remove" {
		r.remove(key)
		return key, false
	}
	for g := range item.Named(nsRoster, "group") {
		if name := g.Text(); name != "" && !slices.Contains(c.Groups, name) {
			c.Groups = append(c.Groups, strings.Clone(name))
		}
	}
	if c.Subscription == "" {
		c.Subscription = SubscriptionNone
	}
	e := r.contacts[key]
	switch {
	case e == nil && len(r.contacts) >= maxContacts+maxSeen:
		r.c.log.Warn("xmpp: too many contacts: one was left out", "jid", key)
		return "", false
	case e == nil:
		e = new(entry)
		r.contacts[key] = e
	}
	e.contact = c
	r.watchers.changed(key)
	return key, true
}

func isTrue(s string) bool { return s == "true" || s == "1" }

// remove forgets a contact; r.mu is held.
func (r *Roster) remove(key string) {
	e := r.contacts[key]
	if e == nil || e.contact == nil {
		return
	}
	if e.contact = nil; len(e.resources) == 0 {
		delete(r.contacts, key)
	}
	r.watchers.changed(key)
}

// All returns the contacts, ordered by address.
func (r *Roster) All() []Contact {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Contact
	for _, e := range r.contacts {
		if e.contact != nil {
			all = append(all, e.contact.clone())
		}
	}
	slices.SortFunc(all, func(a, b Contact) int { return strings.Compare(a.JID.String(), b.JID.String()) })
	return all
}

func (c *Contact) clone() Contact {
	cp := *c
	cp.Groups = slices.Clone(c.Groups)
	return cp
}

// Get returns a contact by its bare address.
func (r *Roster) Get(j jid.JID) (Contact, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.contacts[j.Bare().String()]; e != nil && e.contact != nil {
		return e.contact.clone(), true
	}
	return Contact{}, false
}

// Set adds a contact or changes its name and groups (§2.3, §2.4). The rest of c is the server's business.
func (r *Roster) Set(ctx context.Context, c Contact) error {
	item := xmltree.New(nsRoster, "item").Set("jid", c.JID.Bare().String()).Set("name", c.Name)
	for _, g := range c.Groups {
		item.Add(xmltree.NewText(nsRoster, "group", g))
	}
	_, err := r.c.Set(ctx, jid.JID{}, xmltree.New(nsRoster, "query", item))
	return err
}

// Remove takes a contact away, and with it all subscriptions (§2.5).
func (r *Roster) Remove(ctx context.Context, j jid.JID) error {
	item := xmltree.New(nsRoster, "item").Set("jid", j.Bare().String()).Set("subscription", "remove")
	_, err := r.c.Set(ctx, jid.JID{}, xmltree.New(nsRoster, "query", item))
	return err
}

// Subscribe asks to see somebody's presence (§3.1). The answer shows in the
// contact's Subscription.
func (r *Roster) Subscribe(ctx context.Context, j jid.JID) error {
	return r.send(ctx, j, stanza.SubscribePresence)
}

// Unsubscribe ends seeing somebody's presence (§3.3).
func (r *Roster) Unsubscribe(ctx context.Context, j jid.JID) error {
	return r.send(ctx, j, stanza.UnsubscribePresence)
}

// Approve lets somebody see our presence: who has asked, or, where the server can do that, who will ask (§3.1.5, §3.4).
func (r *Roster) Approve(ctx context.Context, j jid.JID) error {
	return r.send(ctx, j, stanza.SubscribedPresence)
}

// Deny refuses who has asked to see our presence, or ends that (§3.1.6, §3.2).
func (r *Roster) Deny(ctx context.Context, j jid.JID) error {
	return r.send(ctx, j, stanza.UnsubscribedPresence)
}

func (r *Roster) send(ctx context.Context, j jid.JID, typ stanza.PresenceType) error {
	p := new(Presence)
	p.To, p.Type, p.ID = j.Bare(), typ, NewID()
	_, err := r.c.Send(ctx, p)
	return err
}

// Requests yields the wishes of others to see our presence (§3.1), to be answered with
// Approve or Deny; the server repeats those without an answer in the next session. Up to 256 wait; more are left to the next session.
func (r *Roster) Requests(ctx context.Context) iter.Seq[*Presence] { return r.requests.all(ctx) }

// Changes yields the address of each contact that has changed, or whose
// presence has; Get and Presence tell how it is now. Changes of the same contact that nobody has looked at are one.
// It begins with those that are known. It ends with ctx or the client.
func (r *Roster) Changes(ctx context.Context) iter.Seq[jid.JID] {
	return func(yield func(jid.JID) bool) {
		r.mu.Lock()
		w := r.watchers.add()
		for key := range r.contacts {
			w.dirty[key] = struct{}{}
		}
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			r.watchers.drop(w)
			r.mu.Unlock()
		}()
		for {
			r.mu.Lock()
			keys, wake := w.take()
			r.mu.Unlock()
			for _, key := range keys {
				if j, err := jid.Parse(key); err == nil && !yield(j) {
					return
				}
			}
			if len(keys) > 0 {
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			case <-r.c.done:
				return
			}
		}
	}
}

// watchers are those who follow changes by key.
type watchers []*watcher

type watcher struct {
	dirty map[string]struct{} // bounded by what there is to watch
	wake  chan struct{}
}

func (ws *watchers) add() *watcher {
	w := &watcher{dirty: make(map[string]struct{}), wake: make(chan struct{}, 1)}
	*ws = append(*ws, w)
	return w
}

func (ws *watchers) drop(w *watcher) {
	*ws = slices.DeleteFunc(*ws, func(o *watcher) bool { return o == w })
}

func (ws watchers) changed(key string) {
	for _, w := range ws {
		w.dirty[key] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) take() ([]string, <-chan struct{}) {
	keys := make([]string, 0, len(w.dirty))
	for key := range w.dirty {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	clear(w.dirty)
	return keys, w.wake
}
