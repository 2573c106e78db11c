package muc

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const ping = `
C: <iq type='get' to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><ping xmlns='urn:xmpp:ping'/></iq>
`

// pinged plays a ping through the room and its answer.
func (s *stage) pings(id, answer string) {
	s.Helper()
	typ := "error"
	if answer == "" {
		typ = "result"
	} else {
		answer = "<error type='cancel'><" + answer + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
	}
	s.Play(`C: <iq type='get' to='coven@chat.shakespeare.lit/thirdwitch' id='{` + id + `}'><ping xmlns='urn:xmpp:ping'/></iq>
S: <iq type='` + typ + `' from='coven@chat.shakespeare.lit/thirdwitch' id='{` + id + `}'>` + answer + `</iq>`)
}

// rejoins is how we come back.
func rejoins(id string) string {
	return info(id, features) + `
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>
` + others + self
}

// XEP-0410 §3: after 15 minutes of silence the room is asked whether we are in it; the answers of §3.2.
func TestSelfPing(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   pingResult
	}{
		{"", pingJoined}, {"service-unavailable", pingJoined}, {"feature-not-implemented", pingJoined}, {"item-not-found", pingJoined},
		{"remote-server-not-found", pingUnknown}, {"remote-server-timeout", pingUnknown},
		{"not-acceptable", pingOut}, {"not-allowed", pingOut}, {"forbidden", pingOut},
	} {
		t.Run("answer "+c.answer, func(t *testing.T) {
			onStage(t, func(s *stage) {
				room := s.joined("")
				start := time.Now()
				s.pings("1", c.answer)
				if d := time.Since(start); d != 15*time.Minute {
					s.Errorf("asked after %v", d)
				}
				start = time.Now()
				switch c.want {
				case pingJoined:
					s.pings("2", "")
					if d := time.Since(start); d != 15*time.Minute || room.Session() != 1 {
						s.Errorf("asked again after %v, session %d", d, room.Session())
					}
				case pingUnknown:
					s.pings("2", "")
					if d := time.Since(start); d != 2*time.Minute || room.Session() != 1 {
						s.Errorf("asked again after %v, session %d", d, room.Session())
					}
				case pingOut:
					s.Play(rejoins("2"))
					s.sync()
					if d := time.Since(start); d != 0 || room.Session() != 2 {
						s.Errorf("joined again after %v, session %d", d, room.Session())
					}
				}
			})
		})
	}
}

// Without an answer nothing is known: it is asked again, a minute for the answer and two later. What the room says meanwhile puts it off.
func TestSelfPingTiming(t *testing.T) {
	onStage(t, func(s *stage) {
		room := s.joined("")
		start := time.Now()
		s.Play(ping + ping)
		if d := time.Since(start); d != 18*time.Minute {
			s.Errorf("asked the second time after %v", d)
		}
		s.pings("3", "")
		if d := time.Since(start); d != 21*time.Minute {
			s.Errorf("asked the third time after %v", d)
		}
		// Ten minutes later somebody moves.
		timer := time.NewTimer(10 * time.Minute)
		<-timer.C
		s.Play(from("hag", "", "<item role='visitor'/>"))
		s.sync()
		start = time.Now()
		s.pings("4", "")
		if d := time.Since(start); d != 15*time.Minute || room.Session() != 1 {
			s.Errorf("after a sign of life asked after %v", d)
		}
	})
}

// XEP-0410 §3: a session that is resumed says nothing of the room.
func TestResumed(t *testing.T) {
	onStage(t, func(s *stage) {
		s.joined("")
		start := time.Now()
		s.rooms.resumed()
		s.pings("1", "")
		if d := time.Since(start); d != 0 {
			s.Errorf("asked after %v", d)
		}
	})
}

// An error that says that we are not in the room is a reason to ask (XEP-0410 §3.2), whoever caused it.
func TestDoubt(t *testing.T) {
	for name, script := range map[string]string{
		"message":  "S: <message from='coven@chat.shakespeare.lit' type='error' id='x'><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
		"presence": "S: <presence from='coven@chat.shakespeare.lit/thirdwitch' type='error'><error type='cancel'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				s.joined("")
				start := time.Now()
				s.Play(script)
				s.pings("1", "")
				if d := time.Since(start); d != 0 {
					s.Errorf("asked after %v", d)
				}
			})
		})
	}
}

// A new session joins the rooms again; what is known of them stays until it is known better.
func TestRejoin(t *testing.T) {
	onStage(t, func(s *stage) {
		room := s.joined("")
		s.Play(says("from='coven@chat.shakespeare.lit/secondwitch' type='groupchat'", "<subject>Fire</subject>"))
		s.sync()
		before, _ := room.Occupant("secondwitch")
		changes := s.follow(room)
		s.Again("")
		s.Play(info("i", features))
		if state, err := room.State(); state != Rejoining || !errors.Is(err, xmpp.ErrUnknown) || room.Subject() != "Fire" || len(room.Occupants()) != 3 {
			s.Errorf("meanwhile %v, %v, %d occupants", state, err, len(room.Occupants()))
		}
		if err := room.SetNick(s.Context(), "x"); err != ErrAway {
			s.Errorf("a new nick meanwhile: %v", err)
		}
		s.Play(enters + from("secondwitch", "", "<item role='moderator'/>") + self)
		s.sync()
		after, _ := room.Occupant("secondwitch")
		if state, err := room.State(); state != Joined || err != nil || room.Session() != 2 || len(room.Occupants()) != 2 || after.Epoch == before.Epoch {
			s.Errorf("then %v, %v, session %d, %d occupants, epochs %d and %d", state, err, room.Session(), len(room.Occupants()), before.Epoch, after.Epoch)
		}
		s.has(changes(), "left ("+xmpp.ErrUnknown.Error()+")", "synced thirdwitch member/participant [110]")
	})
}

// A room that does not let us in again is tried later, or never, by what it says.
func TestRejoinRefused(t *testing.T) {
	refused := func(typ, condition string) string {
		return info("i"+condition, features) + `
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{p` + condition + `}'><any/></presence>
S: <presence from='coven@chat.shakespeare.lit/thirdwitch' id='{p` + condition + `}' type='error'><error type='` + typ + `'><` + condition + ` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>`
	}
	onStage(t, func(s *stage) {
		room := s.joined("")
		s.Again("")
		start := time.Now()
		for i, c := range []string{"conflict", "remote-server-timeout", "service-unavailable"} {
			s.Play(refused("cancel", c))
			if d, want := time.Since(start), []time.Duration{0, 30 * time.Second, 90 * time.Second}[i]; d != want {
				s.Errorf("attempt %d after %v, want %v", i, d, want)
			}
		}
		s.Play(refused("auth", "forbidden"))
		if err := room.Wait(s.Context()); !errors.Is(err, ErrBanned) || time.Since(start) != 210*time.Second {
			s.Errorf("after %v: %v", time.Since(start), err)
		}
		if len(s.rooms.All()) != 0 {
			s.Error("the room is among those that are joined")
		}
	})
}

// A session that is lost while a room is being joined takes nothing from Join.
func TestJoinOverSessions(t *testing.T) {
	onStage(t, func(s *stage) {
		type result struct {
			*Room
			error
		}
		done := make(chan result, 1)
		go func() {
			room, err := s.rooms.Join(s.Context(), coven, nick, nil)
			done <- result{room, err}
		}()
		s.Play(info("i", features) + enters + others)
		s.Again("")
		s.Play("C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><any/></presence>\n" + self)
		if r := <-done; r.error != nil || nicks(r.Occupants()) != nick {
			s.Errorf("%v, %v", r.Room, r.error)
		}
	})
}

// Presence for rooms goes to all, and to those that are joined later.
func TestSetPresence(t *testing.T) {
	onStage(t, func(s *stage) {
		s.joined("")
		p := &xmpp.Presence{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "show", "dnd")}}
		p.Type = stanza.UnavailablePresence // which it cannot be
		if err := s.Do("C: <presence to='coven@chat.shakespeare.lit/thirdwitch'><show>dnd</show></presence>", func() error { return s.rooms.SetPresence(s.Context(), p) }); err != nil {
			s.Error(err)
		}
		s.Again("")
		s.Play(info("i", features) + "C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><show>dnd</show><x xmlns='http://jabber.org/protocol/muc'><any/></x></presence>" + self)
	})
}

// A room that is left while it is joined again is left.
func TestLeaveMeanwhile(t *testing.T) {
	onStage(t, func(s *stage) {
		room := s.joined("")
		s.Again("")
		s.Play(info("i", features) + "C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><any/></presence>")
		synctest.Wait()
		_, err := xmppstage.During(s.Stage, "C: <presence to='coven@chat.shakespeare.lit/thirdwitch' type='unavailable'/>", func() (int, error) { return 0, room.Leave(s.Context(), "") })
		if err != nil || room.Wait(s.Context()) != ErrLeft {
			s.Error(err, room.Wait(s.Context()))
		}
		s.Play(self) // too late
		s.sync()
		if len(s.rooms.All()) != 0 {
			s.Error("the room is back")
		}
	})
}
