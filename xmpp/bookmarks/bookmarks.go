// Package bookmarks keeps the rooms of an account on its server: in a node of
// its own (XEP-0402) where the server keeps older clients in step with that, else where those look (XEP-0048 in XEP-0049).
package bookmarks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/feed"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of bookmarks.
const (
	NS        = "urn:xmpp:bookmarks:1"        // XEP-0402, which is the node's name, too
	NSCompat  = "urn:xmpp:bookmarks:1#compat" // the server keeps both in step
	NSLegacy  = "storage:bookmarks"           // XEP-0048
	NSPrivate = "jabber:iq:private"           // XEP-0049
)

// maxBookmarks bounds what is taken.
const maxBookmarks = 5000

// maxChanges bounds what waits for Changes.
const maxChanges = 256

// ErrBookmark says that an element is no bookmark.
var ErrBookmark = errors.New("bookmarks: not a bookmark")

// Bookmark is a room (XEP-0402 §3).
type Bookmark struct {
	JID      jid.JID // of the room
	Name     string
	Nick     string // ours in it; "" leaves it open
	Password string
	Autojoin bool
	// Extensions are what other programs have noted with it. They must be kept (§3.1); XEP-0048 has no place for them.
	Extensions []*xmltree.Element
}

// Parse reads an item of the node: its id is the room.
func Parse(i pubsub.Item) (Bookmark, error) {
	if !i.Payload.Is(NS, "conference") {
		return Bookmark{}, ErrBookmark
	}
	b, err := parse(i.Payload, i.ID)
	for e := range i.Payload.Child(NS, "extensions").Elements() {
		b.Extensions = append(b.Extensions, e.Clone())
	}
	return b, err
}

func parse(e *xmltree.Element, room string) (Bookmark, error) {
	j, err := jid.Parse(room)
	if err != nil || j.Localpart() == "" || j.Resourcepart() != "" {
		return Bookmark{}, fmt.Errorf("%w: %.100q is not a room", ErrBookmark, room)
	}
	auto := e.Get("autojoin")
	space := e.Name.Space
	return Bookmark{JID: j, Name: strings.Clone(e.Get("name")), Autojoin: auto == "true" || auto == "1",
		Nick: strings.Clone(e.Child(space, "nick").Text()), Password: strings.Clone(e.Child(space, "password").Text())}, nil
}

// Element is the bookmark as XEP-0402 has it.
func (b *Bookmark) Element() *xmltree.Element {
	e := b.element(NS)
	if len(b.Extensions) > 0 {
		e.Add(xmltree.New(NS, "extensions", b.Extensions...))
	}
	return e
}

func (b *Bookmark) element(space string) *xmltree.Element {
	e := xmltree.New(space, "conference").Set("name", b.Name)
	if b.Autojoin {
		e.Set("autojoin", "true")
	}
	if b.Nick != "" {
		e.Add(xmltree.NewText(space, "nick", b.Nick))
	}
	if b.Password != "" {
		e.Add(xmltree.NewText(space, "password", b.Password))
	}
	return e
}

// Change is what another client of ours has done.
type Change struct {
	Bookmark Bookmark // only JID if it is removed
	Removed  bool
	All      bool // all are gone: Removed without a JID
}

// Bookmarks are those of a client's account.
type Bookmarks struct {
	c       *xmpp.Client
	changes *feed.Feed[Change]

	legacy sync.Mutex // held while the whole of XEP-0048 is read and written
}

// New makes the bookmarks of a client, which must not be connected yet.
func New(c *xmpp.Client) (*Bookmarks, error) {
	b := &Bookmarks{c: c, changes: feed.New[Change](maxChanges, c.Wait)}
	// §3: only from ourselves. Others could make us join (CVE-2023-28686).
	if err := pubsub.Listen(c, pubsub.Listener{Node: NS, Notify: true, From: c.FromOwn, Event: b.event}); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bookmarks) event(ev *pubsub.Event) {
	put := func(ch Change) {
		if !b.changes.Put(ch) {
			b.c.Logger().Warn("bookmarks: a change found no room")
		}
	}
	for _, i := range ev.Items {
		if bm, err := Parse(i); err == nil {
			put(Change{Bookmark: bm})
		} else {
			b.c.Logger().Warn("bookmarks: a change was left out", "err", err)
		}
	}
	for _, id := range ev.Retracted {
		if j, err := jid.Parse(id); err == nil {
			put(Change{Bookmark: Bookmark{JID: j}, Removed: true})
		}
	}
	if ev.Purged || ev.Deleted {
		put(Change{Removed: true, All: true})
	}
}

// Changes yields what other clients do (and this one, as the server echoes it), until ctx or the client ends. Up to 256 wait; more are dropped and
// logged, and List tells how it is. Servers without NSCompat tell nothing.
func (b *Bookmarks) Changes(ctx context.Context) iter.Seq[Change] { return b.changes.All(ctx) }

// Legacy tells whether bookmarks are kept by XEP-0048: the server does not announce NSCompat.
func (b *Bookmarks) Legacy(ctx context.Context) (bool, error) {
	info, err := b.c.Info(ctx, b.c.Account(), "")
	if err != nil {
		return false, err
	}
	return !info.Has(NSCompat), nil
}

// List asks for all bookmarks. Those that are none are left out and logged.
func (b *Bookmarks) List(ctx context.Context) ([]Bookmark, error) {
	legacy, err := b.Legacy(ctx)
	if err != nil {
		return nil, err
	}
	if legacy {
		storage, err := b.storage(ctx)
		return b.parseStorage(storage), err
	}
	var all []Bookmark
	for i, err := range pubsub.Items(ctx, b.c, jid.JID{}, NS, 0) {
		switch {
		case errors.Is(err, pubsub.ErrNoItem):
			return nil, nil
		case err != nil:
			return all, err
		case len(all) == maxBookmarks:
			return all, fmt.Errorf("bookmarks: more than %d", maxBookmarks)
		}
		if bm, err := Parse(i); err == nil {
			all = append(all, bm)
		} else {
			b.c.Logger().Warn("bookmarks: one was left out", "err", err)
		}
	}
	return all, nil
}

// options are what the node must be like (XEP-0402 §3).
var options = []form.Field{form.Text("pubsub#max_items", "max"), form.Text("pubsub#send_last_published_item", "never")}

// Set adds a bookmark, or changes the one of its room.
func (b *Bookmarks) Set(ctx context.Context, bm Bookmark) error {
	if bm.JID.Localpart() == "" || bm.JID.Resourcepart() != "" {
		return fmt.Errorf("%w: %s is not a room", ErrBookmark, bm.JID)
	}
	legacy, err := b.Legacy(ctx)
	if err != nil {
		return err
	}
	if legacy {
		return b.change(ctx, bm.JID, bm.element(NSLegacy).Set("jid", bm.JID.String()))
	}
	return pubsub.PublishPrivate(ctx, b.c, NS, pubsub.Item{ID: bm.JID.String(), Payload: bm.Element()}, options...)
}

// Remove removes the bookmark of a room. It is no error if there is none.
func (b *Bookmarks) Remove(ctx context.Context, room jid.JID) error {
	legacy, err := b.Legacy(ctx)
	if err != nil {
		return err
	}
	if legacy {
		return b.change(ctx, room, nil)
	}
	if err = pubsub.Retract(ctx, b.c, jid.JID{}, NS, room.String(), true); errors.Is(err, pubsub.ErrNoItem) {
		return nil
	}
	return err
}

// storage is all that XEP-0048 keeps: bookmarks of pages, too, which must survive.
func (b *Bookmarks) storage(ctx context.Context) (*xmltree.Element, error) {
	answer, err := b.c.Get(ctx, jid.JID{}, xmltree.New(NSPrivate, "query", xmltree.New(NSLegacy, "storage")))
	if err != nil {
		return nil, err
	}
	if s := answer.Child(NSLegacy, "storage"); s != nil {
		return s, nil
	}
	return nil, ErrBookmark
}

func (b *Bookmarks) parseStorage(s *xmltree.Element) []Bookmark {
	var all []Bookmark
	for e := range s.Named(NSLegacy, "conference") {
		bm, err := parse(e, e.Get("jid"))
		if err != nil || len(all) == maxBookmarks {
			b.c.Logger().Warn("bookmarks: one was left out", "err", err)
			continue
		}
		all = append(all, bm)
	}
	return all
}

// change puts e in place of what stands for a room. The whole is written at once (XEP-0049): of two clients at the same time one loses.
func (b *Bookmarks) change(ctx context.Context, room jid.JID, e *xmltree.Element) error {
	b.legacy.Lock()
	defer b.legacy.Unlock()
	s, err := b.storage(ctx)
	if err != nil {
		return err
	}
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n xmltree.Node) bool {
		if !n.Element.Is(NSLegacy, "conference") {
			return false
		}
		j, err := jid.Parse(n.Element.Get("jid"))
		return err == nil && j.Equal(room)
	})
	_, err = b.c.Set(ctx, jid.JID{}, xmltree.New(NSPrivate, "query", s.Add(e)))
	return err
}
