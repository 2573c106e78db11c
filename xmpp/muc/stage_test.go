package muc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// coven is the room of the XEP's examples; nick is ours in it, as in them.
var coven = jid.MustParse("coven@chat.shakespeare.lit")

const nick = "thirdwitch"

// stage is a client with rooms, and a script for its server.
type stage struct {
	*xmppstage.Stage
	rooms *Rooms
}

func onStage(t *testing.T, test func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stage)
		xmppstage.Run(t, func(c *xmpp.Client) (err error) {
			s.rooms, err = New(c)
			return err
		}, "", func(x *xmppstage.Stage) {
			s.Stage = x
			test(s)
		})
	})
}

// The parts of scripts: what a room says of itself, what it is asked on joining, how it lets us in.
const (
	features = "<feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/muc#stable_id'/>"
	asked    = `
C: <iq type='get' to='coven@chat.shakespeare.lit' id='{*}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
`
	enters = `
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{enter}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>
`
	others = `
S: <presence from='coven@chat.shakespeare.lit/firstwitch'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/></x></presence>
S: <presence from='coven@chat.shakespeare.lit/secondwitch'><show>away</show><status>brewing</status>
  <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='admin' role='moderator' jid='wiccarocks@shakespeare.lit/laptop'/></x></presence>
`
	self = `
S: <presence from='coven@chat.shakespeare.lit/thirdwitch'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/><status code='110'/></x></presence>
`
)

// info is the dialogue in which the room tells its features.
func info(id string, features string) string {
	return strings.ReplaceAll(asked, "{*}", "{"+id+"}") + `
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{` + id + `}'><query xmlns='http://jabber.org/protocol/disco#info'>
  <identity category='conference' type='text' name='A Dark Cave'/>` + features + `</query></iq>
`
}

// join joins the coven.
func (s *stage) join(script string, opts *Options) (*Room, error) {
	s.Helper()
	return xmppstage.During(s.Stage, script, func() (*Room, error) { return s.rooms.Join(s.Context(), coven, nick, opts) })
}

// joined is in the coven, with both other witches.
func (s *stage) joined(extra string) *Room {
	s.Helper()
	room, err := s.join(info("i", features+extra)+enters+others+self, nil)
	if err != nil {
		s.Fatal(err)
	}
	return room
}

// follow collects changes, described, until the function is called, which returns them.
func (s *stage) follow(room *Room) func() []Change {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan []Change, 1)
	go func() {
		var all []Change
		for c := range room.Changes(ctx) {
			all = append(all, c)
		}
		done <- all
	}()
	synctest.Wait()
	return func() []Change {
		synctest.Wait()
		cancel()
		return <-done
	}
}

// has compares changes with what they should be, in the words of describe.
func (s *stage) has(got []Change, want ...string) {
	s.Helper()
	var all []string
	for _, c := range got {
		all = append(all, describe(c))
	}
	if strings.Join(all, "\n") != strings.Join(want, "\n") {
		s.Errorf("changes are\n\t%s\nwant\n\t%s", strings.Join(all, "\n\t"), strings.Join(want, "\n\t"))
	}
}

var kinds = map[ChangeKind]string{
	Missed: "missed", Synced: "synced", Entered: "entered", Gone: "gone", Renamed: "renamed", Updated: "updated", SubjectChanged: "subject",
	Configured: "configured", InfoChanged: "info", AffiliationChanged: "affiliation", Declined: "declined", VoiceRequested: "voice", Left: "left", Ended: "ended",
}

func describe(c Change) string {
	s := kinds[c.Kind]
	add := func(format string, args ...any) { s += " " + fmt.Sprintf(format, args...) }
	switch c.Kind {
	case Synced, Entered:
		add("%s %s/%s", c.Occupant.Nick, c.Occupant.Affiliation, c.Occupant.Role)
	case Gone:
		add("%s %s", c.Occupant.Nick, c.Cause)
	case Renamed:
		add("%s to %s", c.Before.Nick, c.Occupant.Nick)
	case Updated:
		add("%s %s/%s/%s to %s/%s/%s", c.Occupant.Nick, c.Before.Affiliation, c.Before.Role, c.Before.Show, c.Occupant.Affiliation, c.Occupant.Role, c.Occupant.Show)
	case SubjectChanged:
		add("%q by %s", c.Subject, c.Occupant.Nick)
	case AffiliationChanged:
		add("%s %s", c.Member.JID, c.Member.Affiliation)
	case VoiceRequested:
		add("%s %s %s", c.Voice.JID, c.Voice.Nick, c.Voice.Role)
	}
	if c.Actor.Nick != "" || c.Actor.JID.Domainpart() != "" {
		add("by %s %s", c.Actor.Nick, c.Actor.JID)
	}
	if c.Reason != "" {
		add("%q", c.Reason)
	}
	if len(c.Codes) > 0 {
		add("%v", c.Codes)
	}
	if c.Destruction != nil {
		add("venue %s", c.Destruction.Venue)
	}
	if c.Err != nil {
		add("(%v)", c.Err)
	}
	return s
}

func parse(t testing.TB, s string) *xmltree.Element {
	t.Helper()
	e, err := xmltree.Parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func nicks(all []Occupant) string {
	var s []string
	for _, o := range all {
		s = append(s, o.Nick)
	}
	return strings.Join(s, " ")
}
