// Package muc is Multi-User Chat (XEP-0045) on a client: rooms that one joins
// once and stays in, also when the connection does not last.
//
//	rooms := muc.New(c) // before c.Connect
//	…
//	room, err := rooms.Join(ctx, jid.MustParse("coven@chat.example.com"), "thirdwitch", nil)
//	if err != nil { … }
//	for change := range room.Changes(ctx) { … }
//
// The package follows who is in a room and what they may do, and has the verbs of
// occupants, moderators, admins and owners. What people say in a room is left to
// those who come after it: messages of type groupchat pass by untouched, in the order of the wire, and
// [Rooms.Author] tells in that moment who has written one. New therefore comes before any
// extension that wants the messages of rooms.
//
// Only a room speaks for itself: changes of configuration, invitations by the room, removals
// and the like count from its bare address alone, where no occupant can write from.
package muc

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/feed"
	"github.com/hoorn-phone/hoorn/xmpp"
)

// Namespaces of rooms.
const (
	NS         = "http://jabber.org/protocol/muc"
	NSUser     = "http://jabber.org/protocol/muc#user"
	NSAdmin    = "http://jabber.org/protocol/muc#admin"
	NSOwner    = "http://jabber.org/protocol/muc#owner"
	NSDirect   = "jabber:x:conference"    // XEP-0249
	NSOccupant = "urn:xmpp:occupant-id:0" // XEP-0421
)

// Bounds.
const (
	maxRooms     = 1000    // joined at once
	maxOccupants = 20000   // of a room
	maxNickBytes = 4 << 20 // of all nicks in a room
	maxText      = 8 << 10 // of a reason, a status text: more is cut off
	maxCodes     = 32      // status codes in one stanza
	maxHats      = 32      // of one occupant
)

// Errors of rooms.
var (
	// ErrJoined says that the room is joined already, or being joined.
	ErrJoined = errors.New("muc: the room is joined already")
	// ErrTooMany says that 1,000 rooms are joined.
	ErrTooMany = errors.New("muc: too many rooms are joined")
	// ErrLeft says that we have left the room.
	ErrLeft = errors.New("muc: the room was left")
	// ErrAddress says that an address is not that of a room.
	ErrAddress = errors.New("muc: that is not the address of a room")
	// ErrNick says that a nickname cannot be one (RFC 7622 §3.4).
	ErrNick = errors.New("muc: that cannot be a nickname")
)

// Rooms are the rooms of a client. Its methods may be called by anybody at any time.
type Rooms struct {
	c           *xmpp.Client
	log         *slog.Logger
	invitations *feed.Feed[*Invitation]

	mu       sync.Mutex
	rooms    map[string]*Room
	presence *xmpp.Presence // what rooms see of us; nil is nothing but that we are there
	epoch    uint64         // of the occupant that came last
	keeping  bool           // keep runs
	wake     chan struct{}  // for keep
}

// New adds rooms to a client. It must come before [xmpp.Client.Connect], and
// before extensions that want to see the messages of rooms with their state of that moment. After Connect it is
// [xmpp.ErrStarted].
func New(c *xmpp.Client) (*Rooms, error) {
	r := &Rooms{
		c: c, log: c.Logger(), invitations: feed.New[*Invitation](maxInvitations, c.Wait),
		rooms: make(map[string]*Room), wake: make(chan struct{}, 1),
		// Never the same in two runs of a program: epochs are kept with messages.
		epoch: rand.Uint64(),
	}
	err := c.Use(&xmpp.Extension{
		Name: "muc", Features: []string{NS, NSDirect},
		Message: r.message, Presence: r.seen, Bound: r.bound, Resumed: r.resumed,
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// All returns the rooms that are joined, or will be again, ordered by address.
func (r *Rooms) All() []*Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Room, 0, len(r.rooms))
	for _, room := range r.rooms {
		all = append(all, room)
	}
	slices.SortFunc(all, func(a, b *Room) int { return strings.Compare(a.key, b.key) })
	return all
}

// Room returns the room of an address, or of an occupant's, if it is among All; else nil.
func (r *Rooms) Room(j jid.JID) *Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rooms[j.Bare().String()]
}

// bound begins anew: no room knows the new session.
func (r *Rooms) bound(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, room := range r.rooms {
		room.fail(xmpp.ErrUnknown)
		if room.state == Joined {
			room.interrupt(xmpp.ErrUnknown, 0)
		} else if room.state == Rejoining {
			room.due = time.Now()
		}
	}
	r.nudge()
	return nil
}

// resumed asks each room whether it still knows us (XEP-0410 §3): it may have been told that we are gone, or be gone itself.
func (r *Rooms) resumed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, room := range r.rooms {
		if room.state == Joined {
			room.doubt()
		}
	}
	r.nudge()
}

// clip bounds a text from the network, and does not hold the stanza.
func clip(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return strings.Clone(s)
}
