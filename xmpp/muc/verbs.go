package muc

import (
	"context"
	"errors"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Message makes a message to all in the room (XEP-0045 §7.4), with a new id, for [xmpp.Client.Send].
func (room *Room) Message(payload ...*xmltree.Element) *xmpp.Message {
	m := &xmpp.Message{Payload: payload}
	m.ID, m.To, m.Type = xmpp.NewID(), room.addr, stanza.GroupChatMessage
	return m
}

// Private makes a message to one occupant through the room (§7.5), marked as
// such, so that our other clients know that it belongs to the room.
func (room *Room) Private(nick string, payload ...*xmltree.Element) *xmpp.Message {
	m := &xmpp.Message{Payload: append(payload, xmltree.New(NSUser, "x"))}
	m.ID, m.Type = xmpp.NewID(), stanza.ChatMessage
	m.To, _ = occupantJID(room.addr, nick)
	return m
}

// IsPrivate tells whether a message came from an occupant to us alone: of which room, and from whom, is in its From.
// It is false for rooms that are not joined, where only the mark of §7.5 tells.
func (r *Rooms) IsPrivate(m *xmpp.Message) bool {
	return m.Type != stanza.GroupChatMessage && m.From.Resourcepart() != "" && r.Room(m.From) != nil
}

// Leave leaves the room (§7.14), with a text for those who stay or "", and waits until the room has confirmed
// it. If ctx ends first, the room is not joined any more all the same, as far as we are concerned.
func (room *Room) Leave(ctx context.Context, status string) error {
	r := room.rooms
	r.mu.Lock()
	state, err := room.state, room.err
	to, _ := occupantJID(room.addr, room.nick)
	if state == Rejoining {
		room.end(ErrLeft) // which ends an attempt to join again, too
	}
	room.leaving = true
	r.mu.Unlock()
	switch state {
	case Over:
		return err
	case Rejoining:
		if r.c.Status().State == xmpp.Online {
			room.withdraw(to)
		}
		return nil
	}
	p := new(xmpp.Presence)
	p.To, p.Type = to, stanza.UnavailablePresence
	if status != "" {
		p.Payload = append(p.Payload, xmltree.NewText(xmpp.NSClient, "status", status))
	}
	if _, err = r.c.Send(ctx, p); err == nil {
		select {
		case <-room.done:
			return nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	room.end(ErrLeft)
	return err
}

// away tells why the room cannot do anything now. The lock is held.
func (room *Room) away() error {
	switch room.state {
	case Joined:
		return nil
	case Over:
		return room.err
	}
	return ErrAway
}

// ErrAway says that we are not in the room at the moment, but will be again.
var ErrAway = errors.New("muc: the room is not joined at the moment")

// ErrBusy says that the same was begun before and has not ended.
var ErrBusy = errors.New("muc: the one before has not ended")

// SetNick changes our nick (§7.6), and waits until the room has done it or refused: then
// it is a *JoinError, with ErrNickConflict above all.
func (room *Room) SetNick(ctx context.Context, nick string) error {
	to, err := room.addr.WithResource(nick)
	if err != nil || nick == "" {
		return ErrNick
	}
	a := newAttempt(to.Resourcepart())
	r := room.rooms
	r.mu.Lock()
	err = room.away()
	if err == nil && room.rename != nil {
		err = ErrBusy
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	room.rename = a
	r.mu.Unlock()
	p := room.presenceTo(to)
	p.ID = a.id
	if _, err = r.c.Send(ctx, p); err == nil {
		select {
		case err := <-a.done:
			return err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if room.rename != a {
		return <-a.done
	}
	room.rename = nil
	return err
}

// topic is a change of subject under way.
type topic struct {
	id, subject string
	done        chan error
}

func (t *topic) finish(err error) { t.done <- err }

// SetSubject changes what the room is about (§8.1), and waits until the room tells
// everybody so, or refuses with a stanza.Error: mostly Forbidden.
func (room *Room) SetSubject(ctx context.Context, subject string) error {
	m := room.Message(xmltree.NewText(xmpp.NSClient, "subject", subject))
	t := &topic{m.ID, subject, make(chan error, 1)}
	r := room.rooms
	r.mu.Lock()
	err := room.away()
	if err == nil && room.topic != nil {
		err = ErrBusy
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	room.topic = t
	r.mu.Unlock()
	if _, err = r.c.Send(ctx, m); err == nil {
		select {
		case err := <-t.done:
			return err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if room.topic != t {
		return <-t.done
	}
	room.topic = nil
	return err
}

// subjectSet looks at a message of type groupchat: one with a subject and no body
// sets it (§8.1), also if it is empty. The lock is held.
func (room *Room) subjectSet(m *xmpp.Message) {
	s := m.Child(xmpp.NSClient, "subject")
	if s == nil || m.Child(xmpp.NSClient, "body") != nil || m.Child(xmpp.NSClient, "thread") != nil {
		return
	}
	room.subject = clip(s.Text())
	c := Change{Kind: SubjectChanged, Subject: room.subject}
	if o := room.occupants.byNick[m.From.Resourcepart()]; o != nil && !delayed(m) {
		c.Occupant = *o
	} else if nick := m.From.Resourcepart(); nick != "" {
		c.Occupant = Occupant{JID: m.From, Nick: nick, Unsafe: m.Unsafe}
	}
	room.tell(c)
	// Rooms may change ids: then it is known by what it says and who says it.
	if t := room.topic; t != nil && (m.ID == t.id || c.Occupant.Nick == room.nick && room.subject == t.subject) {
		t.finish(nil)
		room.topic = nil
	}
}

// VoiceRequest is a visitor who wants to speak (§8.6).
type VoiceRequest struct {
	JID  jid.JID
	Nick string
	Role Role // that is asked for
}

const nsRequest = NS + "#request"

// RequestVoice asks the moderators for leave to speak (§7.13). The answer is a change of our role, or none.
func (room *Room) RequestVoice(ctx context.Context) error {
	return room.say(ctx, form.Submit(nsRequest, form.Text("muc#role", string(RoleParticipant))).Element())
}

// AnswerVoice grants or refuses a request (§8.6).
func (room *Room) AnswerVoice(ctx context.Context, v *VoiceRequest, allow bool) error {
	return room.say(ctx, form.Submit(nsRequest, form.Text("muc#role", string(v.Role)), form.Text("muc#jid", v.JID.String()),
		form.Text("muc#roomnick", v.Nick), form.Flag("muc#request_allow", allow)).Element())
}

// say tells the room itself something, to which there is no answer but an error, which the client's Messages yield.
func (room *Room) say(ctx context.Context, payload *xmltree.Element) error {
	m := room.Message(payload)
	m.Type = stanza.NormalMessage
	_, err := room.rooms.c.Send(ctx, m)
	return err
}

// voiceRequested takes a form for moderators (§8.6). The lock is held.
func (room *Room) voiceRequested(m *xmpp.Message) bool {
	d, err := form.Parse(m.Child(form.NS, "x"))
	if err != nil || d.FormType() != nsRequest || d.Type != form.TypeForm {
		return false
	}
	room.tell(Change{Kind: VoiceRequested, Voice: &VoiceRequest{JID: parseReal(d.Get("muc#jid")), Nick: clip(d.Get("muc#roomnick")), Role: parseRole(d.Get("muc#role"))}})
	return true
}
