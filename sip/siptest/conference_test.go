package siptest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/confinfo"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// create calls the factory, and returns the dialog and the conference URI.
func (d *device) create() (*dialog, string) {
	d.t.Helper()
	g := d.dial("conference", d.describe())
	res := g.response("INVITE", 200)
	c := res.Contact()
	if _, ok := c.Params.Get("isfocus"); !ok || c.Address.Host != "pbx.example" {
		d.t.Fatalf("Contact %q is no conference URI", sipwire.Header(res, "Contact"))
	}
	return g, sipwire.FormatURI(&c.Address)
}

// reported takes NOTIFYs of a REFER until the last, which has this status.
func (g *dialog) reported(status string) {
	g.t.Helper()
	for {
		req := g.expect("NOTIFY")
		g.reply(req, 200, "")
		if !strings.HasPrefix(sipwire.Header(req, "Subscription-State"), "terminated") {
			continue
		}
		if got := string(req.Body()); !strings.HasPrefix(got, "SIP/2.0 "+status) {
			g.t.Errorf("the outcome is %q, want %s", got, status)
		}
		return
	}
}

// Who calls the factory has a conference, which others join by its URI and by
// invitation (RFC 4579 §5.1, §5.2, §5.4, §5.5), and which ends with the last.
func TestConference(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, uri := alice.create()
		b := bob.dial(uri, bob.describe())
		b.response("INVITE", 200)

		// The focus dials out; its INVITE says that it is one.
		a.request("REFER", "", "Refer-To: <sip:carol@pbx.example>")
		a.response("REFER", 202)
		c := carol.ring()
		if got := sipwire.Header(c.invite, "Contact"); got != "<"+uri+">;isfocus" {
			t.Errorf("Contact %q", got)
		}
		if got := whose(c.invite); got != "lab" {
			t.Errorf("the offer is of %q", got)
		}
		c.answer()
		a.reported("200")

		all := l.Conferences()
		if len(all) != 1 || all[0].URI != uri || all[0].Creator != "alice" || len(all[0].Members) != 3 {
			t.Fatalf("the conferences: %+v", all)
		}
		for i, want := range []string{"alice", "bob", "carol"} {
			if m := all[0].Members[i]; m.User != want || !m.In || m.Invited != (want == "carol") {
				t.Errorf("member %d: %+v", i, m)
			}
		}

		// Only who has made it may let others leave (RFC 4579 §5.11).
		b.request("REFER", "", "Refer-To: <sip:carol@pbx.example;method=BYE>")
		b.response("REFER", 403)
		a.request("REFER", "", "Refer-To: <sip:carol@pbx.example;method=BYE>")
		a.response("REFER", 202)
		c.bye()
		a.reported("200")
		a.hangup()
		b.hangup()
	})
}

// A call of the creator's goes into the conference: his leg of it ends
// (Replaces in Refer-To, RFC 3515 §2.1, RFC 3891).
func TestConferenceTakesCall(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		x, b := connect(alice, bob)
		a, uri := alice.create()
		a.request("REFER", "", "Refer-To: <sip:bob@pbx.example?Replaces="+strings.NewReplacer(";", "%3B", "=", "%3D", "@", "%40").Replace(x.replaces())+">")
		a.response("REFER", 202)
		req := b.expect("INVITE")
		if whose(req) != "lab" || sipwire.Header(req, "Contact") != "<"+uri+">;isfocus" {
			t.Errorf("the re-INVITE:\n%s", sipwire.Append(nil, req))
		}
		b.reply(req, 200, bob.describe())
		b.expect("ACK")
		x.bye()
		a.reported("200")
		if err := l.EndConference(uri); err != nil {
			t.Error(err)
		}
		a.bye()
		b.bye()
		l.nothingLeft(alice, bob)
	})
	t.Run("refused", func(t *testing.T) {
		both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
			alice, bob := l.device("alice", on), l.device("bob", on)
			x, b := connect(alice, bob)
			a, _ := alice.create()
			a.request("REFER", "", "Refer-To: <sip:bob@pbx.example?Replaces="+strings.NewReplacer(";", "%3B", "=", "%3D", "@", "%40").Replace(x.replaces())+">")
			a.response("REFER", 202)
			b.reply(b.expect("INVITE"), 488, "")
			a.reported("488")
			a.hangup()
			// The call is where it was.
			x.hangup()
			b.bye()
			l.nothingLeft(alice, bob)
		})
	})
}

// What is refused: strangers, and more parties and conferences than may be.
func TestConferenceLimits(t *testing.T) {
	mod := func(c *siptest.Config) {
		c.Conference = siptest.Conferences{MaxMembers: 2, MaxConferences: 1, EndsWithCreator: true}
	}
	three(t, mod, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, uri := alice.create()
		carol.dial("9010", carol.describe()).response("INVITE", 503)
		b := bob.dial(uri, bob.describe())
		b.response("INVITE", 200)
		carol.dial(uri, carol.describe()).response("INVITE", 486)
		a.request("REFER", "", "Refer-To: <sip:carol@pbx.example>")
		a.response("REFER", 486)
		if err := l.MuteMember(uri, "carol", true); !errors.Is(err, siptest.ErrNoMember) {
			t.Errorf("muting who is not there: %v", err)
		}
		a.hangup() // who has made it
		b.bye()
		bob.dial(uri, bob.describe()).response("INVITE", 404)
	})
}

// A conference by redirection waits a minute for its first party.
func TestConferenceRedirect(t *testing.T) {
	both(t, func(c *siptest.Config) { c.Conference.Redirect = true }, func(t *testing.T, l *lab, on sip.Transport) {
		alice := l.device("alice", on)
		res := alice.dial("conference", alice.describe()).response("INVITE", 302)
		uri := sipwire.FormatURI(&res.Contact().Address)
		a := alice.dial(uri, alice.describe())
		a.response("INVITE", 200)
		<-time.After(2 * time.Minute)
		if n := len(l.Conferences()); n != 1 {
			t.Errorf("%d conferences", n)
		}
		a.hangup()
		alice.dial("conference", alice.describe()).response("INVITE", 302)
		<-time.After(59 * time.Second)
		if n := len(l.Conferences()); n != 1 {
			t.Errorf("%d conferences wait", n)
		}
		l.nothingLeft(alice)
	})
}

// Each of three hears the other two, and nobody who is muted.
func TestConferenceSound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		tones := []float64{440, 650, 975}
		alice, bob, carol := l.caller("alice", nil), l.caller("bob", nil), l.caller("carol", nil, over(l, sip.UDP))
		a, _, ea := listen(t, alice, "conference", media.NewTone(rate, -24, tones[0]))
		uri := l.Conferences()[0].URI
		b, _, eb := listen(t, bob, uri, media.NewTone(rate, -24, tones[1]))
		c, _, ec := listen(t, carol, uri, media.NewTone(rate, -24, tones[2]))
		hears := func(step string, want ...[]bool) {
			t.Helper()
			wait(t, time.Second)
			from := []int{len(ea.heard()), len(eb.heard()), len(ec.heard())}
			wait(t, time.Second)
			for i, e := range []*ear{ea, eb, ec} {
				for j, hz := range tones {
					if got := mediatest.ToneShare(e.heard()[from[i]:], rate, hz) > 0.1; got != want[i][j] {
						t.Errorf("%s: %d hears %v Hz: %v", step, i, hz, got)
					}
				}
			}
		}
		type f = []bool
		hears("all", f{false, true, true}, f{true, false, true}, f{true, true, false})
		if err := l.MuteMember(uri, "carol", true); err != nil {
			t.Error(err)
		}
		hears("carol muted", f{false, true, false}, f{true, false, false}, f{true, true, false})
		if err := l.DropMember(uri, "carol"); err != nil {
			t.Error(err)
		}
		ended(t, c, sip.Remote)
		a.Hangup(t.Context())
		b.Hangup(t.Context())
		l.idle()
	})
}

// roster takes NOTIFYs of the conference package until it says what is wanted.
func (g *dialog) roster(state *confinfo.State, want string) {
	g.t.Helper()
	for {
		req := g.expect("NOTIFY")
		g.reply(req, 200, "")
		doc, err := confinfo.Parse(req.Body())
		if err != nil {
			g.t.Fatalf("%v:\n%s", err, req.Body())
		}
		if first := doc.Version == 0; doc.Part == confinfo.Full != first {
			g.t.Errorf("version %d is %s", doc.Version, doc.Part)
		}
		if err := state.Apply(doc); err != nil {
			g.t.Fatal(err)
		}
		var got []string
		for _, u := range state.Users() {
			for _, e := range u.Endpoints {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(u.Entity, "sip:"), "@pbx.example")+" "+string(e.Status)+" "+e.Joining)
			}
		}
		if strings.Join(got, ", ") == want {
			return
		}
	}
}

// The roster: full at first, then what changes, and that the conference is
// over (RFC 4575 §4.4). Strangers get 403.
func TestConferenceRoster(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, uri := alice.create()
		id, _, _ := strings.Cut(strings.TrimPrefix(uri, "sip:"), "@")
		bob.subscribe(id, "conference").response("SUBSCRIBE", 403)
		alice.subscribe(id, "dialog").response("SUBSCRIBE", 489)
		s := alice.subscribe(id, "conference", "Accept: "+confinfo.ContentType)
		s.subscribed()
		state := &confinfo.State{Entity: uri}
		s.roster(state, "alice connected dialed-in")
		b := bob.dial(uri, bob.describe())
		b.response("INVITE", 200)
		s.roster(state, "alice connected dialed-in, bob connected dialed-in")
		sb := bob.subscribe(id, "conference")
		sb.subscribed()
		sb.roster(&confinfo.State{Entity: uri}, "alice connected dialed-in, bob connected dialed-in")

		a.request("REFER", "", "Refer-To: <sip:carol@pbx.example>", "Refer-Sub: false")
		a.response("REFER", 202)
		c := carol.ring()
		s.roster(state, "alice connected dialed-in, bob connected dialed-in, carol alerting dialed-out")
		c.reply(c.invite, 486, "")
		c.expect("ACK")
		s.roster(state, "alice connected dialed-in, bob connected dialed-in")

		if err := l.MuteMember(uri, "bob", true); err != nil {
			t.Error(err)
		}
		s.roster(state, "alice connected dialed-in, bob muted-via-focus dialed-in")
		// Who leaves is told no more (RFC 6665 §4.1.3).
		b.hangup()
		for {
			req := sb.expect("NOTIFY")
			sb.reply(req, 200, "")
			if strings.HasPrefix(sipwire.Header(req, "Subscription-State"), "terminated;reason=rejected") {
				break
			}
		}
		s.roster(state, "alice connected dialed-in")
		a.hangup()
		s.roster(state, "")
		if !state.Over() {
			t.Error("the conference is not over")
		}
	})
}
