package call

import (
	"slices"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// RFC 3261 §12.2.1.1: loose routers stay in Route; a strict one goes into the
// Request-URI, and the target to the end of Route.
func TestRouteSet_RFC3261_12_2_1_1(t *testing.T) {
	tests := []struct {
		name   string
		set    []string // Record-Route of the 2xx
		target string
		routes []string
	}{
		{"no routes", nil, "sip:callee@u2.domain.com", nil},
		{"loose", []string{"<sip:p2.domain.com;lr>", "<sip:p1.example.com;lr=on;x=y>;param"}, "sip:callee@u2.domain.com",
			[]string{"<sip:p1.example.com;lr=on;x=y>;param", "<sip:p2.domain.com;lr>"}},
		{"LR", []string{"<sip:p1.example.com;LR>"}, "sip:callee@u2.domain.com", []string{"<sip:p1.example.com;LR>"}},
		{"strict", []string{"<sip:p2.domain.com;lr>", "<sip:p1.example.com;a=b?X=y>"}, "sip:p1.example.com;a=b",
			[]string{"<sip:p2.domain.com;lr>", "<sip:callee@u2.domain.com>"}},
	}
	for _, tt := range tests {
		w, alice, bob := newWorld(t, true)
		var ack *sipgo.Request
		answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
			switch req.Method {
			case sipgo.INVITE:
				r := sipwire.ResponseTo(req, 200, "", "x")
				for _, rr := range tt.set {
					r.AppendHeader(sipgo.NewHeader("Record-Route", rr))
				}
				r.AppendHeader(&sipgo.ContactHeader{Address: sipgo.Uri{Scheme: "sip", User: "callee", Host: "u2.domain.com"}})
				setSDP(r, []byte("answer"))
				bob.say(now, r)
			case sipgo.ACK:
				ack = req
			}
		})
		a := alice.call(none)
		w.run(time.Second)
		if ack == nil {
			t.Fatalf("%s: no ACK", tt.name)
		}
		if got := sipwire.FormatURI(&ack.Recipient); got != tt.target {
			t.Errorf("%s: to %s, want %s", tt.name, got, tt.target)
		}
		if got := slices.Collect(sipwire.Values(ack, "Route")); !slices.Equal(got, tt.routes) {
			t.Errorf("%s: Route %q, want %q", tt.name, got, tt.routes)
		}
		a.Hangup(w.now)
		w.over(alice)
	}
}

// RFC 3261 §12.1.1: where we are called the route set is that of the INVITE,
// in its order; the preloaded routes of our own INVITE do not count.
func TestRouteSetOfCallee(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	req := rawInvite(alice, "offer")
	req.AppendHeader(sipgo.NewHeader("Record-Route", "<sip:one;lr>"))
	req.AppendHeader(sipgo.NewHeader("Record-Route", "<sip:two;lr>"))
	var bye *sipgo.Request
	alice.script = func(now time.Time, m sipgo.Message) {
		switch m := m.(type) {
		case *sipgo.Response:
			if m.IsSuccess() {
				ack := ackFor(m)
				alice.via(ack)
				alice.say(now, ack)
			}
		case *sipgo.Request:
			bye = m
			alice.say(now, sipwire.ResponseTo(m, 200, "", ""))
		}
	}
	alice.say(w.now, req)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	b.Hangup(w.now)
	w.over(bob)
	if bye == nil {
		t.Fatal("no BYE")
	}
	if got := slices.Collect(sipwire.Values(bye, "Route")); !slices.Equal(got, []string{"<sip:one;lr>", "<sip:two;lr>"}) {
		t.Errorf("Route %q", got)
	}
}

// RFC 3261 §12.2.1.2, §12.2.2: target refresh requests and their 2xx move the
// remote target, other requests do not. The route set stays (§12.2).
func TestTargetRefresh(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	moved := func(m interface {
		sipgo.Message
		ReplaceHeader(sipgo.Header)
	}, host string) sipgo.Message {
		m.ReplaceHeader(&sipgo.ContactHeader{Address: sipgo.Uri{Scheme: "sip", Host: host}})
		return m
	}
	for _, method := range []sipgo.RequestMethod{sipgo.UPDATE, sipgo.INVITE, sipgo.OPTIONS} {
		req := a.active.request(method)
		alice.via(req)
		if req.Contact() == nil {
			req.AppendHeader(&sipgo.ContactHeader{})
		}
		moved(req, string(method)+".example.com")
		alice.say(w.now, req)
		w.run(time.Second)
		want := map[sipgo.RequestMethod]string{"UPDATE": "UPDATE.example.com", "INVITE": "INVITE.example.com", "OPTIONS": "INVITE.example.com"}[method]
		if got := b.active.target.Host; got != want {
			t.Errorf("after %s requests go to %s, want %s", method, got, want)
		}
	}
	// The INVITE was never acknowledged.
	w.run(time.Minute)
	if b.State() != Ended || b.End().Err != ErrNoAck {
		t.Errorf("%v, %+v", b.State(), b.End())
	}
	w.over(alice, bob)

	w, alice, bob = newWorld(t, true)
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			host := "first.example.com"
			if sipwire.ToTag(req) != "" {
				host = "second.example.com"
			}
			bob.say(now, moved(reply(req, 200, "x", "answer"), host))
		}
	})
	a = alice.call(none)
	w.run(time.Second)
	a.Reoffer(w.now, none, nil)
	w.run(time.Second)
	if got := a.active.target.Host; got != "second.example.com" {
		t.Errorf("after the 2xx of a re-INVITE requests go to %s", got)
	}
	a.Hangup(w.now)
	w.over(alice)
}

// A flow that is replaced takes the dialog along, and the answers to requests
// that came over the old one.
func TestMoved(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	if b.Flow() != bob.link {
		t.Fatal("the call is on another flow")
	}
	next := &flow{bob}
	b.Moved(&flow{bob}, next) // another's
	if b.Flow() != bob.link || b.server.Flow() != bob.link {
		t.Error("moved with a flow that it is not on")
	}
	b.Moved(bob.link, next)
	if b.Flow() != next || b.server.Flow() != next {
		t.Error("the dialog or the INVITE stayed behind")
	}
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(5 * time.Millisecond)
	last := &flow{bob}
	b.Moved(next, last)
	if b.accept == nil || b.accept.s.Flow() != last {
		t.Error("the 2xx that waits for its ACK stayed behind")
	}
	w.run(time.Second)
	bob.hold = true
	a.Reoffer(w.now, none, nil)
	w.run(time.Second)
	old := b.inward.Flow() // the re-INVITE came over it
	b.Moved(old, last)
	if b.inward.Flow() != last || b.Flow() != last {
		t.Error("the re-INVITE stayed behind")
	}
	bob.release()
	w.run(time.Second)
	if a.Flow() == nil || (&Call{}).Flow() != nil || (&Call{}).RemoteTag() != "" || (&Call{}).Streams() != nil {
		t.Error("flow, tag or streams of no dialog")
	}
	if !a.Outgoing() || b.Outgoing() || a.Media() != alice.media || a.Streams() != nil {
		t.Error("who called whom, or with which media")
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 5407 §3.2.1: BYEs that cross are both answered with 200. All else that
// comes then gets 481.
func TestByesCross(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	info := b.active.request(sipgo.UPDATE)
	bob.via(info)
	a.Hangup(w.now)
	b.Hangup(w.now)
	bob.say(w.now, info)
	w.over(alice, bob)
	w.check("alice BYE", "bob BYE", "bob UPDATE", "bob 200 BYE", "alice 200 BYE", "alice 481 UPDATE")
	if a.End().By != Local || b.End().By != Local {
		t.Errorf("ends %+v, %+v", a.End(), b.End())
	}
}

// A BYE that is not answered is over with its transaction.
func TestByeUnanswered(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	a, b := establish(t, w, alice, bob)
	bob.script = func(time.Time, sipgo.Message) {}
	a.Hangup(w.now)
	if a.State() != Ended || alice.ended != 0 {
		t.Errorf("%v, forgotten %d", a.State(), alice.ended)
	}
	w.run(32 * time.Second)
	if alice.ended != 1 {
		t.Error("not forgotten")
	}
	b.Abort(w.now, errNo)
	if b.End().Error() != errNo {
		t.Errorf("%v", b.End())
	}
	bob.script = nil
	w.over(alice, bob)
}

// A dialog that was ended as a fork's second answer is over, whatever its peer
// still wants.
func TestRequestsOfALostFork(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			bob.say(now, reply(req, 200, "one", "one"))
			bob.say(now, reply(req, 200, "two", "two"))
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	w.wire = nil
	for _, method := range []sipgo.RequestMethod{sipgo.INVITE, sipgo.BYE} {
		c := &Call{env: partyEnv{bob}, id: a.ID(), localTag: "two"}
		l := &leg{c: c, remoteTag: a.LocalTag(), localURI: a.active.remoteURI, remoteURI: a.active.localURI, target: a.active.localURI}
		req := l.request(method)
		bob.via(req)
		bob.say(w.now, req)
	}
	w.run(time.Second)
	w.check("bob INVITE", "bob BYE", "alice 481 INVITE", "alice 200 BYE")
	if a.State() != Established {
		t.Errorf("%v", a.State())
	}
	a.Hangup(w.now)
	w.over(alice)
}

// RFC 3261 §15: a callee does not end an early dialog with BYE; one that does
// loses that dialog, and the INVITE goes on.
func TestEarlyByeOfCallee(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Progress(w.now, none, func(time.Time, error) {})
	w.run(50 * time.Millisecond)
	bye := b.active.request(sipgo.BYE)
	bob.via(bye)
	bob.say(w.now, bye)
	w.run(50 * time.Millisecond)
	if len(a.legs) != 0 || a.State() != Ringing || !slices.Contains(alice.media.log, "closeleg "+b.LocalTag()) {
		t.Errorf("%d dialogs, %v, media %q", len(a.legs), a.State(), alice.media.log)
	}
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	if a.State() != Established {
		t.Errorf("%v", a.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3261 §12.2.2: methods and dialogs that are unknown.
func TestUnknownRequests(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	for _, method := range []sipgo.RequestMethod{sipgo.INFO, sipgo.OPTIONS} {
		req := a.active.request(method)
		alice.via(req)
		alice.say(w.now, req)
	}
	w.run(time.Second)
	w.check("alice INFO", "alice OPTIONS", "bob 405 INFO", "bob 405 OPTIONS")
	// An ACK for nothing, and one for another request.
	b.OnAck(w.now, a.active.request(sipgo.ACK))
	a.Reoffer(w.now, none, nil)
	w.run(15 * time.Millisecond)
	if b.accept == nil {
		t.Fatal("no 2xx is out")
	}
	other := a.active.request(sipgo.ACK)
	other.ReplaceHeader(&sipgo.CSeqHeader{SeqNo: b.accept.cseq - 1, MethodName: sipgo.ACK})
	if b.OnAck(w.now, other); b.accept == nil {
		t.Error("the ACK of another request counted")
	}
	if w.run(time.Second); b.accept != nil {
		t.Error("the ACK did not count")
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3891 §3: what a Replaces header is matched with: the dialogs of a call,
// whether they are early, and whose INVITE it was.
func TestDialogs_RFC3891_3(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			invite = req
			bob.say(now, reply(req, 180, "one", ""))
			bob.say(now, reply(req, 180, "two", ""))
		}
	})
	a := alice.call(none)
	if ds := a.Dialogs(); len(ds) != 0 {
		t.Errorf("before any response: %v", ds)
	}
	w.run(time.Second)
	if _, ok := a.Dialog(); ok {
		t.Error("a call that nobody has answered has its dialog")
	}
	one := Dialog{CallID: a.ID(), LocalTag: a.LocalTag(), RemoteTag: "one", Initiated: true}
	two := one
	two.RemoteTag = "two"
	if ds := a.Dialogs(); !slices.Equal(ds, []Dialog{one, two}) {
		t.Errorf("two forks: %v", ds)
	}
	if d, ok := a.DialogWith("two"); !ok || d != two {
		t.Errorf("the fork two: %v", d)
	}
	bob.say(w.now, reply(invite, 200, "two", "answer"))
	w.run(time.Second)
	two.Confirmed = true
	if d, ok := a.Dialog(); !ok || d != two || !slices.Equal(a.Dialogs(), []Dialog{two}) {
		t.Errorf("answered: %v, %v", d, a.Dialogs())
	}
	if _, ok := a.DialogWith("one"); ok {
		t.Error("the fork that lost is a dialog still")
	}
	a.Hangup(w.now)
	w.over(alice)

	w, alice, bob = newWorld(t, true)
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	theirs := Dialog{CallID: a.ID(), LocalTag: b.LocalTag(), RemoteTag: a.LocalTag()}
	if d, ok := b.Dialog(); !ok || d != theirs {
		t.Errorf("called: %v, want %v", d, theirs)
	}
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	theirs.Confirmed = true
	if d, _ := b.Dialog(); d != theirs {
		t.Errorf("answered: %v, want %v", d, theirs)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}
