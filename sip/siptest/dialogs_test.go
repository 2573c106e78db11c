package siptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/dialoginfo"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// subscribe asks for an event package of a user's.
func (d *device) subscribe(to, event string, headers ...string) *dialog {
	d.t.Helper()
	d.n++
	g := &dialog{
		d: d, t: d.t, id: fmt.Sprintf("%s-%s-%d@%s", d.name, event, d.n, d.addr), target: "sip:" + to + "@pbx.example",
		local: "<sip:" + d.user + "@pbx.example>;tag=s" + event, remote: "<sip:" + to + "@pbx.example>",
	}
	g.request("SUBSCRIBE", "", append([]string{"Event: " + event}, headers...)...)
	return g
}

// subscribed takes the 200 of a SUBSCRIBE.
func (g *dialog) subscribed() *sipgo.Response {
	g.t.Helper()
	res := g.response("SUBSCRIBE", 200)
	g.remote = sipwire.Header(res, "To")
	g.target = sipwire.FormatURI(&res.Contact().Address)
	return res
}

// dialogInfo takes a NOTIFY of the dialog package, and checks what it says on the
// outside.
func (g *dialog) dialogInfo(state string) *dialoginfo.Document {
	g.t.Helper()
	req := g.expect("NOTIFY")
	g.reply(req, 200, "")
	if got := sipwire.Header(req, "Subscription-State"); !strings.HasPrefix(got, state) {
		g.t.Errorf("Subscription-State %q, want %s", got, state)
	}
	if got := sipwire.Header(req, "Event"); got != "dialog" {
		g.t.Errorf("Event %q", got)
	}
	doc, err := dialoginfo.Parse(req.Body())
	if err != nil {
		g.t.Fatalf("%v:\n%s", err, req.Body())
	}
	return doc
}

// A user's other device is told of his calls as they go (RFC 4235 §3): all of
// them at first, then what changes, with the dialog identifiers that Replaces
// takes (RFC 3891 §3).
func TestDialogEvents(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		bob, alice, watcher := l.device("bob", on), l.device("alice", on), l.device("alice", on)
		s := watcher.subscribe("alice", "dialog", "Expires: 3600", "Accept: application/dialog-info+xml")
		s.subscribed()
		if doc := s.dialogInfo("active;expires=3600"); !doc.Full || doc.Version != 0 || len(doc.Dialogs) != 0 || doc.Entity != "sip:alice@pbx.example" {
			t.Errorf("at first: %+v", doc)
		}

		a := alice.dial("bob", alice.describe())
		b := bob.ring()
		state := dialoginfo.State{Entity: "sip:alice@pbx.example"}
		if err := state.Apply(&dialoginfo.Document{Entity: state.Entity, Full: true}); err != nil {
			t.Fatal(err)
		}
		// until applies what comes until the only dialog is in a state.
		until := func(want dialoginfo.DialogState) dialoginfo.Dialog {
			t.Helper()
			for {
				doc := s.dialogInfo("active")
				if doc.Full {
					t.Fatalf("a full document in between: %+v", doc)
				}
				if len(doc.Dialogs) != 1 {
					t.Fatalf("%d dialogs", len(doc.Dialogs))
				}
				if err := state.Apply(doc); err != nil {
					t.Fatal(err)
				}
				if doc.Dialogs[0].State == want {
					return doc.Dialogs[0]
				}
			}
		}
		if d := until(dialoginfo.Early); d.CallID != a.id || d.Direction != dialoginfo.Initiator || d.LocalTag != "t1" ||
			d.Remote.Identity() != (dialoginfo.Identity{URI: "sip:bob@pbx.example"}) || d.HasDuration {
			t.Errorf("ringing: %+v", d)
		}
		b.answer()
		a.response("INVITE", 200)
		d := until(dialoginfo.Confirmed)
		local, remote := a.tags()
		if d.CallID != a.id || d.LocalTag != local || d.RemoteTag != remote || d.Local.Held() || !d.HasDuration ||
			d.Remote.Identity() != (dialoginfo.Identity{URI: "sip:1002@pbx.example;user=phone", Display: "Bob"}) ||
			d.Local.Target != "sip:alice@pbx.example;gr="+alice.instance() {
			t.Errorf("talking: %+v", d)
		}

		// Hold shows as a target that renders nothing (RFC 4235 §5.2).
		held := strings.Replace(alice.describe(), "m=audio", "a=sendonly\r\nm=audio", 1)
		a.request("INVITE", held)
		b.reinvited("alice 2")
		a.response("INVITE", 200)
		if d := until(dialoginfo.Confirmed); !d.Local.Held() {
			t.Errorf("held: %+v", d)
		}

		// A refresh tells everything, and how long it has lasted.
		<-time.After(10 * time.Second)
		s.request("SUBSCRIBE", "", "Event: dialog", "Expires: 60")
		s.subscribed()
		if doc := s.dialogInfo("active;expires=60"); !doc.Full || len(doc.Dialogs) != 1 || doc.Dialogs[0].Duration != 10*time.Second {
			t.Errorf("refreshed: %+v", doc)
		}

		// The device that watches takes the call: one dialog goes, one comes.
		c := watcher.dial("bob", watcher.describe(), "Replaces: "+d.CallID+";to-tag="+d.RemoteTag+";from-tag="+d.LocalTag)
		b.reinvited("alice#2 1")
		c.response("INVITE", 200)
		a.bye()
		seen := map[string]dialoginfo.DialogState{}
		for seen[a.id] != dialoginfo.Terminated || seen[c.id] != dialoginfo.Confirmed {
			for _, d := range s.dialogInfo("active").Dialogs {
				seen[d.CallID] = d.State
			}
		}

		// Unsubscribed with a last document (RFC 6665 §4.1.2.3).
		s.request("SUBSCRIBE", "", "Event: dialog", "Expires: 0")
		s.subscribed()
		if doc := s.dialogInfo("terminated;reason=timeout"); !doc.Full || len(doc.Dialogs) != 1 || doc.Dialogs[0].CallID != c.id {
			t.Errorf("at last: %+v", doc)
		}
		b.hangup()
		c.bye()
		l.nothingLeft(alice, bob, watcher)
	})
}

// Who may watch whom, and for how long (RFC 6665 §4.2.1).
func TestSubscribeRefused(t *testing.T) {
	mod := func(c *siptest.Config) {
		c.Events = siptest.Events{MinExpires: time.Minute, MaxExpires: time.Hour}
		for i := range c.Users {
			if c.Users[i].Name != "carol" {
				c.Users[i].Group = "sales"
			}
		}
	}
	both(t, mod, func(t *testing.T, l *lab, on sip.Transport) {
		alice, carol := l.device("alice", on), l.device("carol", on)
		for _, c := range []struct {
			who     *device
			to      string
			event   string
			expires string
			status  int
		}{
			{alice, "alice", "weather", "3600", 489},
			{alice, "nobody", "dialog", "3600", 404},
			{carol, "alice", "dialog", "3600", 403},
			{alice, "alice", "dialog", "59", 423},
		} {
			g := c.who.subscribe(c.to, c.event, "Expires: "+c.expires)
			res := g.response("SUBSCRIBE", c.status)
			switch c.status {
			case 489:
				if got := sipwire.Header(res, "Allow-Events"); !strings.Contains(got, "dialog") {
					t.Errorf("Allow-Events %q", got)
				}
			case 423:
				if got := sipwire.Header(res, "Min-Expires"); got != "60" {
					t.Errorf("Min-Expires %q", got)
				}
			}
		}
		// Colleagues see each other's; one document is enough where none is to follow.
		poll := alice.subscribe("bob", "dialog", "Expires: 0")
		poll.subscribed()
		if doc := poll.dialogInfo("terminated;reason=timeout"); !doc.Full || doc.Entity != "sip:bob@pbx.example" {
			t.Errorf("polled: %+v", doc)
		}
		long := alice.subscribe("alice", "dialog", "Expires: 7200")
		long.subscribed()
		long.dialogInfo("active;expires=3600")
		// Nobody answers any more: the subscription ends by itself.
		<-time.After(time.Hour)
		long.dialogInfo("terminated;reason=timeout")
		// Not known (RFC 6665 §4.4.1).
		long.request("SUBSCRIBE", "", "Event: dialog", "Expires: 60")
		long.response("SUBSCRIBE", 481)
		l.nothingLeft(alice, carol)
	})
}
