package muc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Options say how a room is joined. The zero value joins without a password and without history.
type Options struct {
	// Password of the room; "" is none (XEP-0045 §7.2.6).
	Password string
	// Alternatives are nicks to try, in this order, if the one asked for is somebody else's.
	Alternatives []string
	// History is how much of what was said before the room should repeat. It is
	// asked for on joining the first time alone, as it would be repeated after each loss of a session; who wants to miss
	// nothing asks the room's archive (XEP-0313).
	History History
	// Timeout bounds an attempt to join. Zero means 1 min. Rooms of far
	// servers can take long, those that do not answer at all too.
	Timeout time.Duration
}

// History is what a room repeats to who joins (§7.2.14). The zero value is nothing.
type History struct {
	// Stanzas is how many messages at most. Zero means none, or as many as the room likes if Since is set.
	Stanzas int
	// Since is from when on; the zero time is from the beginning.
	Since time.Time
}

func (h History) element() *xmltree.Element {
	e := xmltree.New(NS, "history")
	if h.Stanzas > 0 || h.Since.IsZero() {
		e.Set("maxstanzas", strconv.Itoa(max(h.Stanzas, 0)))
	}
	if !h.Since.IsZero() {
		e.Set("since", delay.FormatTime(h.Since))
	}
	return e
}

// Why a room does not let us in, or refuses a nick (§7.2, §7.6), to be tested with errors.Is. The room's own words
// are in the *JoinError, and in it a stanza.Error for errors.As.
var (
	ErrPassword     = errors.New("the room has a password, which was not the one given")   // not-authorized
	ErrMembersOnly  = errors.New("the room is for members only")                           // registration-required
	ErrBanned       = errors.New("banned from the room")                                   // forbidden
	ErrNickConflict = errors.New("somebody else has the nickname")                         // conflict
	ErrNickReserved = errors.New("the room wants the nickname that is registered with it") // not-acceptable
	ErrFull         = errors.New("the room is full")                                       // service-unavailable
	ErrNoRoom       = errors.New("the room does not exist or is locked")                   // item-not-found
	ErrNotAllowed   = errors.New("the room does not exist, and may not be made; or nicknames may not be changed")
	ErrLimit        = errors.New("too many rooms are joined, says the service") // resource-constraint
	ErrDestroyed    = errors.New("the room was destroyed")                      // gone
)

var refusals = map[stanza.Condition]error{
	stanza.NotAuthorized: ErrPassword, stanza.RegistrationRequired: ErrMembersOnly, stanza.Forbidden: ErrBanned,
	stanza.Conflict: ErrNickConflict, stanza.NotAcceptable: ErrNickReserved, stanza.ServiceUnavailable: ErrFull,
	stanza.ItemNotFound: ErrNoRoom, stanza.NotAllowed: ErrNotAllowed, stanza.ResourceConstraint: ErrLimit, stanza.Gone: ErrDestroyed,
	stanza.JIDMalformed: ErrNick,
}

// JoinError is why a room does not let us in, or not under a nick.
type JoinError struct {
	Room   jid.JID
	Nick   string
	Reason stanza.Error // as it came
}

func (e *JoinError) Error() string {
	return fmt.Sprintf("muc: %s as %.100q: %v", e.Room, e.Nick, errors.Join(e.Unwrap()...))
}

// Unwrap returns which of the errors above it is, if one, and the stanza.Error.
func (e *JoinError) Unwrap() []error {
	if err := refusals[e.Reason.Condition]; err != nil {
		return []error{err, e.Reason}
	}
	return []error{e.Reason}
}

// passing tells whether it may mend by itself. Service-unavailable is a full room or none at the moment, and a conflict
// on joining again mostly our own ghost.
func (e *JoinError) passing() bool {
	switch e.Reason.Condition {
	case stanza.RemoteServerNotFound, stanza.RemoteServerTimeout, stanza.ServiceUnavailable, stanza.ResourceConstraint,
		stanza.InternalServerError, stanza.Conflict, stanza.RecipientUnavailable:
		return true
	}
	return e.Reason.Type == stanza.Wait
}

// attempt is one to join, or to change the nick.
type attempt struct {
	id, nick  string
	occupants occupants // that the room has named so far
	done      chan error
}

func newAttempt(nick string) *attempt {
	return &attempt{id: xmpp.NewID(), nick: nick, done: make(chan error, 1)}
}

// finish is called once.
func (a *attempt) finish(err error) { a.done <- err }

// Join joins a room, and makes it if it does not exist and the service allows that: see [Room.Created].
// It waits until the room has named all who are there; if ctx ends first, the room is left. The
// error is ErrJoined, ErrTooMany, ErrAddress, ErrNick, a *JoinError, or ctx's. Without a connection it waits for one.
//
// The room stays joined, over all connections of the client, until Leave or [Room.Wait] returns.
func (r *Rooms) Join(ctx context.Context, addr jid.JID, nick string, opts *Options) (*Room, error) {
	if addr.Localpart() == "" || addr.Domainpart() == "" || addr.Resourcepart() != "" {
		return nil, ErrAddress
	}
	full, err := addr.WithResource(nick)
	if err != nil || nick == "" {
		return nil, ErrNick
	}
	room := &Room{rooms: r, addr: addr, key: addr.String(), nick: full.Resourcepart(), done: make(chan struct{})}
	if opts != nil {
		room.opts = *opts
	}
	if room.opts.Timeout <= 0 {
		room.opts.Timeout = time.Minute
	}
	r.mu.Lock()
	switch {
	case r.rooms[room.key] != nil:
		r.mu.Unlock()
		return nil, ErrJoined
	case len(r.rooms) >= maxRooms:
		r.mu.Unlock()
		return nil, ErrTooMany
	}
	r.rooms[room.key] = room
	r.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(r.c.Wait(ctx)) }()
	if err := room.enter(ctx, room.opts.History); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		room.end(err)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep()
	return room, nil
}

// enter asks what the room is, and joins it.
func (room *Room) enter(ctx context.Context, h History) error {
	ctx, cancel := context.WithTimeoutCause(ctx, room.opts.Timeout, errSilent)
	defer cancel()
	if err := room.refresh(ctx); err != nil {
		return err
	}
	room.rooms.mu.Lock()
	nicks := append([]string{room.nick}, room.opts.Alternatives...)
	room.rooms.mu.Unlock()
	var first error
	for _, nick := range nicks {
		err := room.try(ctx, nick, h)
		for err == xmpp.ErrUnknown && ctx.Err() == nil { // the session went away meanwhile, and with it the attempt
			err = room.try(ctx, nick, h)
		}
		if err == nil {
			break
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, ErrNickConflict) {
			return err
		}
		if nick == nicks[len(nicks)-1] {
			return first
		}
	}
	if room.Created() && room.refresh(ctx) != nil { // only now there is something to ask
		room.rooms.mu.Lock()
		defer room.rooms.mu.Unlock()
		room.stale, room.due = true, time.Now() // we are in all the same
	}
	return nil
}

// errSilent says that a room did not answer.
var errSilent = errors.New("muc: the room does not answer")

// try asks to be let in under a nick, and waits for the answer.
func (room *Room) try(ctx context.Context, nick string, h History) error {
	to, err := room.addr.WithResource(nick)
	if err != nil || nick == "" {
		return ErrNick
	}
	a := newAttempt(to.Resourcepart())
	x := xmltree.New(NS, "x", h.element())
	if room.opts.Password != "" {
		x.Add(xmltree.NewText(NS, "password", room.opts.Password))
	}
	p := room.presenceTo(to)
	p.ID = a.id
	p.Payload = append(p.Payload, x)
	room.rooms.mu.Lock()
	if room.state == Over {
		room.rooms.mu.Unlock()
		return room.err
	}
	room.attempt = a
	room.rooms.mu.Unlock()
	if _, err = room.rooms.c.Send(ctx, p); err == nil {
		select {
		case err := <-a.done:
			return err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err = room.give(a, err); err != nil {
		room.withdraw(to)
	}
	return err
}

// give ends an attempt from our side, unless it has ended from the other.
func (room *Room) give(a *attempt, err error) error {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	if room.attempt == a {
		room.attempt = nil
		return err
	}
	return <-a.done
}

// withdraw leaves a room that may let us in later, when nobody waits for it any more.
func (room *Room) withdraw(to jid.JID) {
	p := new(xmpp.Presence)
	p.To, p.Type = to, stanza.UnavailablePresence
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	room.rooms.c.Send(ctx, p)
}

// presenceTo is what the room sees of us.
func (room *Room) presenceTo(to jid.JID) *xmpp.Presence {
	p := new(xmpp.Presence)
	room.rooms.mu.Lock()
	if shown := room.rooms.presence; shown != nil {
		*p = *shown
		p.Payload = append([]*xmltree.Element(nil), shown.Payload...)
	}
	room.rooms.mu.Unlock()
	p.To = to
	return p
}
