package muc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
)

// State is how a room stands to us.
type State uint8

// The states.
const (
	Joining   State = iota // for the first time
	Joined                 // what the room shows is current
	Rejoining              // the session or the room was lost: it is joined again by itself
	Over                   // for good
)

// Room is a room that is joined. Its methods may be called by anybody at any
// time. It outlives sessions: after a lost one it is joined again, until Leave or until the room refuses.
type Room struct {
	rooms *Rooms
	addr  jid.JID // bare
	key   string  // addr as a string
	opts  Options // but for nicks

	// With the lock of rooms:
	state     State
	err       error // of Rejoining and Over
	nick      string
	codes     []int // of the latest own presence on joining
	occupants occupants
	full      bool   // that there are too many was logged
	sessions  uint64 // how often it was joined
	subject   string
	info      *xmpp.Info // nil if the room could not be asked
	attempt   *attempt   // to join; nil if there is none
	rename    *attempt   // to change the nick
	topic     *topic     // the change of subject that is awaited
	leaving   bool
	watchers  []*watcher
	done      chan struct{} // closed when Over

	heard    time.Time // when the room last gave a sign of life
	due      time.Time // when keep looks after it; zero is never
	busy     bool      // keep does
	doubtful bool      // ask whether the room knows us, however short the silence
	stale    bool      // info is not current
	failures int       // to join again, in a row
}

// ExitError is why a room does not have us any more.
type ExitError struct {
	Cause       Cause
	Reason      string
	Actor       Actor
	Destruction *Destruction // CauseDestroyed
}

func (e *ExitError) Error() string {
	s := "muc: out of the room: " + e.Cause.String()
	if e.Reason != "" {
		s += fmt.Sprintf(": %.200q", e.Reason)
	}
	return s
}

// Addr is the address of the room, bare.
func (room *Room) Addr() jid.JID { return room.addr }

// Nick is our nickname, which the room may have chosen.
func (room *Room) Nick() string {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	return room.nick
}

// State tells how the room stands to us, and why if that is Rejoining or Over.
func (room *Room) State() (State, error) {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	return room.state, room.err
}

// Session counts how often the room was joined: what was said between two
// of them was not heard. A message of type groupchat that a hook sees belongs to the session of that moment.
func (room *Room) Session() uint64 {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	return room.sessions
}

// Created tells that the room did not exist and was made by the latest joining
// (201): others cannot enter before it is configured, with AcceptDefaults or Configure.
func (room *Room) Created() bool { return room.has(codeCreated) }

// Logged tells that conversations are logged in public, as the room said on joining (170).
func (room *Room) Logged() bool { return room.has(codeLogged) }

// ShowsReal tells that everybody in the room sees everybody's real address (100).
func (room *Room) ShowsReal() bool { return room.has(codeReal) }

func (room *Room) has(code int) bool {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	return slices.Contains(room.codes, code)
}

// Subject is what the room is about at the moment.
func (room *Room) Subject() string {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	return room.subject
}

// Occupants returns those in the room, ordered by nick. In state Rejoining they are those who were there last.
func (room *Room) Occupants() []Occupant {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	all := make([]Occupant, 0, len(room.occupants.byNick))
	for _, o := range room.occupants.byNick {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b Occupant) int { return strings.Compare(a.Nick, b.Nick) })
	return all
}

// Occupant returns the occupant with a nick.
func (room *Room) Occupant(nick string) (Occupant, bool) {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	if o := room.occupants.byNick[nick]; o != nil {
		return *o, true
	}
	return Occupant{}, false
}

// Self returns us as the room has us: above all what we may do.
func (room *Room) Self() (Occupant, bool) {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	if o := room.occupants.byNick[room.nick]; o != nil && room.state != Joining {
		return *o, true
	}
	return Occupant{}, false
}

// Wait waits until we are out of the room for good and tells why: ErrLeft, an *ExitError, a *JoinError, or
// what the client ended with. If ctx ends first, it is ctx's error.
func (room *Room) Wait(ctx context.Context) error {
	select {
	case <-room.done:
		_, err := room.State()
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// interrupt puts the room into the state from which keep joins it again, in d. The lock is held.
func (room *Room) interrupt(err error, d time.Duration) {
	room.state, room.err = Rejoining, err
	room.due, room.doubtful = time.Now().Add(d), false
	room.settle(err)
	room.tell(Change{Kind: Left, Err: err})
	room.rooms.nudge()
}

// end is for good. The lock is held.
func (room *Room) end(err error) {
	if room.state == Over {
		return
	}
	c := Change{Kind: Ended, Err: err}
	if e, ok := err.(*ExitError); ok {
		c.Cause, c.Reason, c.Actor, c.Destruction = e.Cause, e.Reason, e.Actor, e.Destruction
	}
	room.state, room.err = Over, err
	room.fail(err)
	room.settle(err)
	room.tell(c)
	close(room.done)
	delete(room.rooms.rooms, room.key)
	room.rooms.nudge()
}

// fail ends the attempt to join. The lock is held.
func (room *Room) fail(err error) {
	if room.attempt != nil {
		room.attempt.finish(err)
		room.attempt = nil
	}
}

// settle ends what waits for the room in the present session. The lock is held.
func (room *Room) settle(err error) {
	if room.rename != nil {
		room.rename.finish(err)
		room.rename = nil
	}
	if room.topic != nil {
		room.topic.finish(err)
		room.topic = nil
	}
}
