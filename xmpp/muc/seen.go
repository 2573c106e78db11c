package muc

import (
	"slices"
	"strings"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
)

// seen takes each presence that is a room's. The address says whose it is: nobody else can send from it.
func (r *Rooms) seen(p *xmpp.Presence) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[p.From.Bare().String()]
	if room == nil {
		return false
	}
	nick := p.From.Resourcepart()
	room.heard = time.Now()
	switch {
	case p.Type == stanza.ErrorPresence:
		room.refused(p)
	case nick == "": // the room's own, as with an avatar
	case room.attempt == nil && room.state != Joined: // left over from before
	case p.Type == stanza.AvailablePresence:
		u := parseUser(p.Child(NSUser, "x"))
		room.present(p, nick, &u)
	case p.Type == stanza.UnavailablePresence:
		u := parseUser(p.Child(NSUser, "x"))
		room.absent(nick, &u)
	default:
		return false
	}
	return true
}

// present takes the presence of somebody who is in the room.
func (room *Room) present(p *xmpp.Presence, nick string, u *user) {
	table, joining := room.table()
	self := u.has(codeSelf)
	old := table.byNick[nick]
	o := new(Occupant)
	if old != nil {
		*o = *old
	} else {
		room.rooms.epoch++
		*o = Occupant{JID: p.From, Nick: strings.Clone(nick), Unsafe: p.Unsafe, Epoch: room.rooms.epoch}
	}
	o.Self = self || !joining && nick == room.nick
	o.update(p, u, room.info)
	if !table.put(o) {
		if !room.full {
			room.full = true
			room.rooms.log.Warn("muc: too many occupants: not all are shown", "room", room.key)
		}
		return
	}
	switch {
	case joining && self:
		room.joined(o, u)
	case joining:
	case old == nil:
		room.tell(Change{Kind: Entered, Occupant: *o})
	default:
		room.tell(Change{Kind: Updated, Occupant: *o, Before: *old, Reason: u.reason, Actor: u.actor})
	}
	if self && !joining && room.rename != nil && room.rename.nick == nick {
		room.rename.finish(nil) // it was the nick already
		room.rename = nil
	}
}

// table is where presence belongs to: on joining again, those who were there stay until the room has named all.
func (room *Room) table() (t *occupants, joining bool) {
	if room.attempt != nil {
		return &room.attempt.occupants, true
	}
	return &room.occupants, false
}

// joined takes our own presence, which is the last on joining (XEP-0045 §7.2.2).
func (room *Room) joined(o *Occupant, u *user) {
	room.occupants = room.attempt.occupants
	room.state, room.err = Joined, nil
	room.nick, room.codes = o.Nick, u.codes
	room.sessions++
	room.failures, room.doubtful = 0, false
	room.fail(nil)
	room.tell(Change{Kind: Synced, Occupant: *o, Codes: u.codes})
	room.schedule()
}

// absent takes that somebody is not in the room any more, or not under this nick.
func (room *Room) absent(nick string, u *user) {
	table, joining := room.table()
	self := u.has(codeSelf) || !joining && nick == room.nick
	if u.has(codeRenamed) && u.nick != "" {
		room.renamed(table, nick, u, joining)
		return
	}
	o := table.remove(nick)
	if o != nil && !joining {
		room.tell(Change{Kind: Gone, Occupant: *o, Cause: u.cause(), Reason: u.text(), Actor: u.actor})
	}
	if !self {
		return
	}
	out := &ExitError{u.cause(), u.text(), u.actor, u.destroyed}
	switch {
	case room.leaving:
		room.end(ErrLeft)
	case joining:
		room.fail(out)
	case out.Cause == CauseShutdown || out.Cause == CauseError:
		// Neither is meant against us: the service comes back, and so do we.
		room.interrupt(out, room.backoff())
	default:
		room.end(out)
	}
}

// text is why somebody was removed, by whichever element.
func (u *user) text() string {
	if u.destroyed != nil && u.reason == "" {
		return u.destroyed.Reason
	}
	return u.reason
}

// renamed takes a change of nick (§7.6), the first half: the presence under the new one follows.
func (room *Room) renamed(table *occupants, nick string, u *user, joining bool) {
	old := table.remove(nick)
	if old == nil {
		return // the presence that follows lets them in
	}
	o := new(Occupant)
	*o = *old
	o.JID, o.Unsafe = occupantJID(room.addr, strings.Clone(u.nick))
	o.Nick = o.JID.Resourcepart()
	self := u.has(codeSelf) || old.Self
	if !table.put(o) {
		return
	}
	if joining {
		return
	}
	if self {
		room.nick = o.Nick
	}
	room.tell(Change{Kind: Renamed, Occupant: *o, Before: *old})
	if self && room.rename != nil {
		room.rename.finish(nil)
		room.rename = nil
	}
}

// refused takes an error that the room answers a presence of ours with. Nothing else tells which one it was than its
// id, which rooms of old leave out.
func (room *Room) refused(p *xmpp.Presence) {
	is := func(a *attempt) bool { return a != nil && (p.ID == "" || p.ID == a.id) }
	switch {
	case is(room.attempt):
		room.fail(&JoinError{room.addr, room.attempt.nick, *p.Error})
	case is(room.rename):
		room.rename.finish(&JoinError{room.addr, room.rename.nick, *p.Error})
		room.rename = nil
	case room.state == Joined:
		room.doubt()
	}
}

// told takes what the room itself says in a message that nobody in it can send; true takes the message away.
func (room *Room) told(m *xmpp.Message) bool {
	x := m.Child(NSUser, "x")
	u := parseUser(x)
	switch d := x.Child(NSUser, "decline"); {
	case d != nil:
		room.tell(Change{Kind: Declined, Actor: Actor{JID: parseReal(d.Get("from"))}, Reason: clip(d.Child(NSUser, "reason").Text())})
		return true
	case room.voiceRequested(m):
		return true
	case len(u.codes) > 0 && m.Body() == "":
		codes := slices.DeleteFunc(u.codes, func(code int) bool { return code >= 200 })
		if len(codes) == 0 {
			return false
		}
		room.reconfigured(codes)
		return true
	case x.Child(NSUser, "item") != nil && u.real.Domainpart() != "" && m.Body() == "":
		room.tell(Change{Kind: AffiliationChanged, Member: Member{JID: u.real, Nick: clip(u.nick), Affiliation: u.affiliation}, Reason: u.reason, Actor: u.actor})
		return true
	}
	return false
}

// reconfigured takes a change of configuration (§10.2.1): what the room said of itself is out of date.
func (room *Room) reconfigured(codes []int) {
	for _, code := range codes {
		switch code {
		case codeLogged, codeNotLogged:
			room.setCode(codeLogged, code == codeLogged)
		case codeNowReal:
			room.setCode(codeReal, true)
		case codeSemiAnonymous, codeAnonymous:
			room.setCode(codeReal, false)
		}
	}
	room.tell(Change{Kind: Configured, Codes: codes})
	room.stale = true
	room.due = time.Now()
	room.rooms.nudge()
}

func (room *Room) setCode(code int, on bool) {
	codes := slices.DeleteFunc(slices.Clone(room.codes), func(c int) bool { return c == code })
	if on {
		codes = append(codes, code)
	}
	room.codes = codes
}

// message looks at each message. Those of people pass by.
func (r *Rooms) message(m *xmpp.Message) bool {
	if m.Type == stanza.ErrorMessage {
		return r.messageFailed(m)
	}
	if m.Type != stanza.GroupChatMessage && r.invited(m) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[m.From.Bare().String()]
	if room == nil {
		return false
	}
	room.heard = time.Now()
	if m.Type == stanza.GroupChatMessage {
		room.subjectSet(m)
	}
	return m.From.Resourcepart() == "" && room.told(m)
}

// messageFailed looks at errors: one that says that we are not in the room is a reason to ask (XEP-0410 §3.2).
func (r *Rooms) messageFailed(m *xmpp.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[m.From.Bare().String()]
	if room == nil {
		return false
	}
	if room.topic != nil && m.ID == room.topic.id {
		room.topic.finish(*m.Error)
		room.topic = nil
		return true
	}
	if room.state == Joined && m.From.Resourcepart() == "" && m.Error.Condition == stanza.NotAcceptable {
		room.doubt()
	}
	return false
}

// Author returns who has written a message of a room, of type groupchat or a
// private one. It is right in a hook for messages (Extension.Message) that comes after that of New,
// as an occupant's nick can be another's in the next moment.
//
// A message of the past, which the room repeats to who joins, has an author only where the room gives occupant-ids:
// then it may be somebody who is not there, of whom JID, Nick and ID are all that is
// known. It is false if the author is not known, or if the room itself has written. For messages out of an archive there is PastAuthor.
func (r *Rooms) Author(m *xmpp.Message) (Occupant, bool) { return r.author(m, delayed(m)) }

// PastAuthor returns who has written a message that the archive of a joined room has kept (XEP-0313), which has no delay of its own: who
// has the nick now tells nothing. It is as Author of a message of the past.
func (r *Rooms) PastAuthor(m *xmpp.Message) (Occupant, bool) { return r.author(m, true) }

func (r *Rooms) author(m *xmpp.Message, past bool) (Occupant, bool) {
	nick := m.From.Resourcepart()
	if nick == "" || m.Type == stanza.ErrorMessage {
		return Occupant{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[m.From.Bare().String()]
	if room == nil {
		return Occupant{}, false
	}
	id := ""
	if room.info.Has(NSOccupant) {
		id = occupantID(m.Payload)
	}
	o := room.occupants.byNick[nick]
	switch {
	case o != nil && id == "" && room.state == Joined && !past:
		return *o, true
	case id == "":
		return Occupant{}, false
	case o != nil && o.ID == id:
		return *o, true
	}
	if o = room.occupants.byID(id); o != nil {
		return *o, true
	}
	return Occupant{JID: m.From, Nick: nick, Unsafe: m.Unsafe, ID: id, Role: RoleNone, Affiliation: AffiliationNone}, true
}

// delayed tells whether the room repeats a message (XEP-0045 §7.2.14). Who really sends one with a delay of their
// own loses by it, and nobody else.
func delayed(m *xmpp.Message) bool {
	return m.Child(delay.NS, "delay") != nil || m.Child("jabber:x:delay", "x") != nil
}
