package muc

import (
	"context"
	"errors"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	// maxSilence is how long nothing may come from a room before it is asked whether we are in it (XEP-0410 §3).
	maxSilence = 15 * time.Minute
	// pingAnswer is how long it has for that.
	pingAnswer = time.Minute
	// undecided is when it is asked again if the answer told nothing.
	undecided = 2 * time.Minute
	// minBackoff and maxBackoff bound the wait between attempts to join again, which doubles.
	minBackoff, maxBackoff = 30 * time.Second, 10 * time.Minute
	// maxAtOnce is how many rooms are looked after at once.
	maxAtOnce = 16
)

// nudge makes keep look again. The lock is held.
func (r *Rooms) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// keep starts looking after the rooms, which one goroutine does as long as there are some. The lock is held.
func (r *Rooms) keep() {
	if r.keeping {
		r.nudge()
		return
	}
	r.keeping = true
	go func() {
		ctx, cancel := context.WithCancelCause(context.Background())
		go func() { cancel(r.c.Wait(ctx)) }()
		r.look(ctx)
		cancel(nil)
	}()
}

// look starts what is due, room by room.
func (r *Rooms) look(ctx context.Context) {
	tokens := make(chan struct{}, maxAtOnce)
	timer := time.NewTimer(maxSilence)
	defer timer.Stop()
	for {
		next, ok := r.start(ctx, tokens)
		if !ok {
			return
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
			r.closed(context.Cause(ctx))
			return
		}
		for s := range r.c.Statuses(ctx) {
			if s.State == xmpp.Online || s.State == xmpp.Closed {
				break
			}
		}
	}
}

// start tends the rooms that are due and tells when the next one is; false if there are no rooms.
func (r *Rooms) start(ctx context.Context, tokens chan struct{}) (next time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rooms) == 0 {
		r.keeping = false
		return 0, false
	}
	online := r.c.Status().State == xmpp.Online
	next = maxSilence
	for _, room := range r.rooms {
		if room.busy || room.due.IsZero() || room.state == Joining || room.leaving {
			continue
		}
		if wait := time.Until(room.due); wait > 0 || !online {
			next = min(next, max(wait, 0))
			continue
		}
		room.busy = true
		go func() {
			select {
			case tokens <- struct{}{}:
				room.tend(ctx)
				<-tokens
			case <-ctx.Done():
			}
			r.mu.Lock()
			room.busy = false
			r.nudge()
			r.mu.Unlock()
		}()
	}
	return next, true
}

// closed ends all rooms with the client.
func (r *Rooms) closed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, room := range r.rooms {
		if room.state != Joining { // Join ends those
			room.end(err)
		}
	}
	r.keeping = false
}

// schedule says when the room is looked after next, if nothing happens. The lock is held.
func (room *Room) schedule() {
	room.due = room.heard.Add(maxSilence)
	if room.stale {
		room.due = time.Now()
	}
	room.rooms.nudge()
}

// doubt makes keep ask the room whether we are in it. The lock is held.
func (room *Room) doubt() {
	room.doubtful, room.due = true, time.Now()
	room.rooms.nudge()
}

// backoff is the wait before the next attempt to join again. The lock is held.
func (room *Room) backoff() time.Duration {
	d := min(minBackoff<<min(room.failures, 10), maxBackoff)
	room.failures++
	return d
}

// tend does what is due in a room.
func (room *Room) tend(ctx context.Context) {
	r := room.rooms
	r.mu.Lock()
	state, stale := room.state, room.stale
	silent := room.doubtful || time.Since(room.heard) >= maxSilence
	r.mu.Unlock()
	switch {
	case state == Rejoining:
		room.rejoin(ctx)
	case state == Joined && stale:
		room.reread(ctx)
	case state == Joined && silent:
		room.ask(ctx)
	case state == Joined:
		r.mu.Lock()
		room.schedule()
		r.mu.Unlock()
	}
}

// reread asks what the room is, after it was configured.
func (room *Room) reread(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingAnswer)
	defer cancel()
	room.rooms.mu.Lock()
	room.stale = false
	room.rooms.mu.Unlock()
	err := room.refresh(ctx)
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	if room.state != Joined {
		return
	}
	if err == nil {
		room.tell(Change{Kind: InfoChanged})
	}
	room.schedule()
}

// ask sends a ping to ourselves through the room (XEP-0410 §3.1), and acts on the answer (§3.2).
func (room *Room) ask(ctx context.Context) {
	r := room.rooms
	r.mu.Lock()
	to, _ := occupantJID(room.addr, room.nick)
	room.doubtful = false
	session := room.sessions
	r.mu.Unlock()
	limit, cancel := context.WithTimeout(ctx, pingAnswer)
	_, err := r.c.Get(limit, to, xmltree.New("urn:xmpp:ping", "ping"))
	cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil || room.state != Joined || room.sessions != session {
		return
	}
	switch pinged(err) {
	case pingJoined:
		room.heard = time.Now()
		room.schedule()
	case pingOut:
		room.interrupt(err, 0)
	default:
		room.due, room.doubtful = time.Now().Add(undecided), true
		r.nudge()
	}
}

// pingResult is what the answer to a ping to ourselves tells.
type pingResult uint8

const (
	pingUnknown pingResult = iota
	pingJoined
	pingOut
)

// pinged reads the answer (XEP-0410 §3.2). Some errors come from our other clients under the same nick: they, and so we, are in the room.
func pinged(err error) pingResult {
	var e stanza.Error
	switch {
	case err == nil:
		return pingJoined
	case !errors.As(err, &e):
		return pingUnknown
	}
	switch e.Condition {
	case stanza.ServiceUnavailable, stanza.FeatureNotImplemented, stanza.ItemNotFound:
		return pingJoined
	case stanza.RemoteServerNotFound, stanza.RemoteServerTimeout:
		return pingUnknown
	}
	return pingOut
}

// rejoin joins the room again, as we were there before.
func (room *Room) rejoin(ctx context.Context) {
	err := room.enter(ctx, History{})
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	if err == nil || ctx.Err() != nil || room.state != Rejoining {
		return
	}
	var refused *JoinError
	if out := (*ExitError)(nil); errors.As(err, &out) && out.Cause != CauseShutdown && out.Cause != CauseError || errors.As(err, &refused) && !refused.passing() {
		room.end(err)
		return
	}
	room.err = err
	room.due = time.Now().Add(room.backoff())
}

// refresh asks what the room is (§6.4). A room that refuses to tell, or does not exist yet, is joined all the same.
func (room *Room) refresh(ctx context.Context) error {
	info, err := room.rooms.c.Info(ctx, room.addr, "")
	for errors.Is(err, xmpp.ErrUnknown) && ctx.Err() == nil {
		info, err = room.rooms.c.Info(ctx, room.addr, "")
	}
	var refused stanza.Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	room.info = info
	for _, o := range room.occupants.byNick {
		o.vouch(info)
	}
	return nil
}

// SetPresence tells the rooms that are joined, and those that will be, how we are; to the contacts of the roster it
// is [xmpp.Client.SetPresence]. To must be empty, and Type AvailablePresence.
func (r *Rooms) SetPresence(ctx context.Context, p *xmpp.Presence) error {
	own := *p
	own.ID, own.Type, own.To = "", stanza.AvailablePresence, jid.JID{}
	r.mu.Lock()
	r.presence = &own
	r.mu.Unlock()
	for _, room := range r.All() {
		if state, _ := room.State(); state != Joined {
			continue
		}
		to, _ := occupantJID(room.addr, room.Nick())
		if _, err := r.c.Send(ctx, room.presenceTo(to)); err != nil {
			return err
		}
	}
	return nil
}
