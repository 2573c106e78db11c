package subscribe

import (
	"fmt"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// source has a state of one word.
type source struct {
	p      *party
	word   string
	status int
}

func (s *source) Authorize(time.Time, *sipgo.Request) int { return s.status }
func (s *source) State(_ time.Time, w *Watcher, full bool) (string, []byte) {
	return "text/plain", fmt.Appendf(nil, "%s %d %v", s.word, w.Version(), full)
}
func (s *source) Left(_ time.Time, _ *Watcher, err error) {
	s.p.log = append(s.p.log, fmt.Sprint("left ", err))
}

// notifier makes one for bob, and lets alice answer his NOTIFYs by hand.
func notifier(t *testing.T, change func(*NotifierConfig)) (w *world, alice, bob *party, n *Notifier, src *source) {
	w, alice, bob = newWorld(t, true)
	src = &source{p: bob, word: "state", status: 200}
	cfg := NotifierConfig{Package: "dialog", Types: []string{"text/plain"}}
	if change != nil {
		change(&cfg)
	}
	n = NewNotifier(env{bob}, cfg, src)
	bob.handler, bob.takes = n.OnSubscribe, n.OnSubscribe
	return w, alice, bob, n, src
}

// subscribe sends a SUBSCRIBE by hand: to begin, or in the dialog of d.
func (p *party) subscribe(d *dialog, lines ...string) *sipgo.Response {
	p.w.t.Helper()
	req := d.request(env{p}, sipgo.SUBSCRIBE)
	add(req, lines)
	a := &answer{}
	p.send(p.w.now, req, a)
	p.w.arrive()
	if a.r == nil {
		p.w.t.Fatal("no answer to the SUBSCRIBE:", a.err)
	}
	if d.remoteTag == "" && a.r.IsSuccess() {
		d.remoteTag = sipwire.ToTag(a.r)
		d.target = a.r.Contact().Address
	}
	return a.r
}

func (p *party) dialog() *dialog {
	p.ids++
	return &dialog{
		id: fmt.Sprint("call", p.ids), localTag: fmt.Sprint("tag", p.ids), localURI: uri("sip:alice@example.com"),
		remoteURI: uri("sip:bob@example.com"), target: uri("sip:bob@example.com"), localCSeq: 10,
	}
}

// told takes a NOTIFY and answers it.
func (p *party) told(state, body string) {
	p.w.t.Helper()
	tx := p.take("NOTIFY")
	req := tx.Request()
	header(p.w.t, req, "Subscription-State", state)
	header(p.w.t, req, "Event", "dialog")
	if string(req.Body()) != body {
		p.w.t.Errorf("body %q, want %q", req.Body(), body)
	}
	p.reply(tx, 200)
}

// RFC 6665 §4.2.1, §4.2.2: accepted, told at once, told of changes, refreshed,
// ended.
func TestNotifier(t *testing.T) {
	w, alice, bob, n, src := notifier(t, nil)
	d := alice.dialog()
	r := alice.subscribe(d, "Event: dialog", "Expires: 600", "Accept: text/*")
	header(t, r, "Expires", "600")
	header(t, r, "Contact", "<sip:bob@bob.invalid>")
	alice.told("active;expires=600", "state 0 true")
	src.word = "changed"
	n.Changed(w.now)
	tx := alice.take("NOTIFY")
	if req := tx.Request(); req.CSeq().SeqNo == 0 || sipwire.ToTag(req) != d.localTag || sipwire.FromTag(req) != d.remoteTag {
		t.Errorf("not in the dialog: %v", req)
	}
	// While one is out the others wait, and are one.
	src.word = "more"
	n.Changed(w.now)
	n.Changed(w.now)
	w.arrive()
	alice.none()
	alice.reply(tx, 200)
	alice.told("active;expires=600", "more 2 false")
	w.run(100*time.Second - w.now.Sub(epoch))
	header(t, alice.subscribe(d, "Event: dialog", "Expires: 60"), "Expires", "60")
	alice.told("active;expires=60", "more 3 true") // a refresh gets all of it
	if r := alice.subscribe(d, "Event: dialog", "Expires: 0"); r.StatusCode != 200 {
		t.Error("answer", r.StatusCode)
	}
	alice.told("terminated;reason=timeout", "more 4 true")
	bob.said("left <nil>")
	if r := alice.subscribe(d, "Event: dialog"); r.StatusCode != 481 {
		t.Error("answer", r.StatusCode)
	}
	if w.run(time.Hour); len(bob.dialogs) != 0 || w.q.Len() != 0 {
		t.Errorf("left: %v, %d timers", bob.dialogs, w.q.Len())
	}
}

// RFC 6665 §4.2.2: what is not refreshed ends when it was said to.
func TestNotifierExpires(t *testing.T) {
	w, alice, bob, _, _ := notifier(t, nil)
	alice.subscribe(alice.dialog(), "Event: dialog", "Expires: 60")
	alice.told("active;expires=60", "state 0 true")
	w.run(60*time.Second + 2*latency - 1 - w.now.Sub(epoch)) // bob said so at 10 ms
	alice.none()
	w.run(1)
	alice.told("terminated;reason=timeout", "state 1 false")
	bob.said("left <nil>")
}

// RFC 6665 §4.4.3: Expires: 0 at the beginning is a question.
func TestNotifierPoll(t *testing.T) {
	_, alice, bob, n, _ := notifier(t, nil)
	header(t, alice.subscribe(alice.dialog(), "Event: dialog", "Expires: 0"), "Expires", "0")
	alice.told("terminated;reason=timeout", "state 0 true")
	bob.said("left <nil>")
	if len(n.Watchers()) != 0 {
		t.Error("he still watches")
	}
}

func TestNotifierRefuses(t *testing.T) {
	_, alice, _, n, src := notifier(t, func(c *NotifierConfig) { c.Min, c.Max, c.MaxWatchers = time.Minute, time.Hour, 1 })
	for _, tt := range []struct {
		name         string
		lines        []string
		status       int
		field, value string
	}{
		{"§4.2.1.1: another package", []string{"Event: presence"}, 489, "Allow-Events", "dialog"},
		{"no Event", nil, 489, "Allow-Events", "dialog"},
		{"§4.2.1.1: too brief", []string{"Event: dialog", "Expires: 59"}, 423, "Min-Expires", "60"},
		{"no type that he can read", []string{"Event: dialog", "Accept: image/png"}, 406, "", ""},
	} {
		r := alice.subscribe(alice.dialog(), tt.lines...)
		if r.StatusCode != tt.status || tt.field != "" && sipwire.Header(r, tt.field) != tt.value {
			t.Errorf("%s: %v", tt.name, r)
		}
	}
	src.status = 403
	if r := alice.subscribe(alice.dialog(), "Event: dialog"); r.StatusCode != 403 {
		t.Error("not allowed:", r.StatusCode)
	}
	src.status = 200
	d := alice.dialog()
	header(t, alice.subscribe(d, "Event: dialog", "Expires: 100000"), "Expires", "3600") // shortened
	alice.told("active;expires=3600", "state 0 true")
	if r := alice.subscribe(alice.dialog(), "Event: dialog"); r.StatusCode != 503 {
		t.Error("one too many:", r.StatusCode)
	}
	d.localCSeq = 5
	if r := alice.subscribe(d, "Event: dialog"); r.StatusCode != 500 {
		t.Error("CSeq backwards:", r.StatusCode)
	}
	if len(n.Watchers()) != 1 {
		t.Errorf("%d watch", len(n.Watchers()))
	}
}

// RFC 6665 §4.2.2: a subscriber that does not know of it, or is silent, is none.
func TestNotifyRefused(t *testing.T) {
	for status, gone := range map[int]bool{481: true, 404: true, 489: true, 408: true, 500: false, 413: false, 415: false} {
		w, alice, bob, n, _ := notifier(t, nil)
		alice.subscribe(alice.dialog(), "Event: dialog", "Expires: 600")
		alice.reply(alice.take("NOTIFY"), status)
		if left := len(n.Watchers()) == 0; left != gone || left != (len(bob.log) == 1) {
			t.Errorf("%d: gone is %v, %v", status, left, bob.log)
		}
		if !gone {
			n.Changed(w.now)
			alice.told("active;expires=600", "state 1 true") // what he missed as well
		}
	}
	w, alice, bob, n, _ := notifier(t, nil)
	w.lose = func(_ *party, m sipgo.Message) bool {
		req, ok := m.(*sipgo.Request)
		return ok && req.Method == sipgo.NOTIFY
	}
	alice.subscribe(alice.dialog(), "Event: dialog", "Expires: 600")
	w.run(timerN - w.now.Sub(epoch) + latency - 1) // Timer F
	if len(n.Watchers()) != 1 {
		t.Error("gone too early")
	}
	w.run(1)
	if len(n.Watchers()) != 0 || len(bob.log) != 1 {
		t.Error("he still watches:", bob.log)
	}
}

// The interval: changes in between are told together when it is over.
func TestNotifierInterval(t *testing.T) {
	w, alice, _, n, src := notifier(t, func(c *NotifierConfig) { c.Interval = 5 * time.Second })
	alice.subscribe(alice.dialog(), "Event: dialog", "Expires: 600")
	alice.told("active;expires=600", "state 0 true") // sent at 10 ms
	for i := range 10 {
		src.word = fmt.Sprint("word", i)
		n.Changed(w.now)
	}
	w.run(5*time.Second + 2*latency - 1 - w.now.Sub(epoch))
	alice.none()
	w.run(1)
	alice.told("active;expires=595", "word9 1 false")
	n.Close(w.now, "deactivated") // does not wait
	alice.told("terminated;reason=deactivated", "word9 2 false")
}

// RFC 6665 §4.2.1.3: pending, until somebody has decided.
func TestNotifierPending(t *testing.T) {
	w, alice, _, n, src := notifier(t, nil)
	src.status = 202
	if r := alice.subscribe(alice.dialog(), "Event: dialog", "Expires: 600"); r.StatusCode != 200 {
		t.Error("answer", r.StatusCode)
	}
	alice.told("pending;expires=600", "")
	n.Watchers()[0].Activate(w.now)
	alice.told("active;expires=600", "state 1 true")
	n.Watchers()[0].End(w.now, "giveup", time.Minute)
	alice.told("terminated;reason=giveup;retry-after=60", "state 2 false")
}

// RFC 3515 §2.4.4 to §2.4.7: what a REFER makes, in a dialog of its own and in a
// call's.
func TestOnRefer(t *testing.T) {
	w, alice, bob, n, src := notifier(t, func(c *NotifierConfig) { c.Package, c.Types = "refer", nil })
	bob.takes = func(now time.Time, tx *transaction.Server) { n.OnRefer(now, tx, time.Minute, "", nil) }
	src.word = "SIP/2.0 100 Trying"
	req := alice.dialog().request(env{alice}, sipgo.REFER)
	a := &answer{}
	alice.send(w.now, req, a)
	tx := alice.take("NOTIFY")
	header(t, tx.Request(), "Event", "refer")
	header(t, tx.Request(), "Subscription-State", "active;expires=60")
	if a.r == nil || a.r.StatusCode != 202 {
		t.Error("answer", a.r)
	}
	alice.reply(tx, 200)
	src.word = "SIP/2.0 200 OK"
	n.Watchers()[0].End(w.now, "noresource", 0)
	tx = alice.take("NOTIFY")
	header(t, tx.Request(), "Subscription-State", "terminated;reason=noresource")
	alice.reply(tx, 200)
	bob.said("left <nil>")

	var carried []call.Within
	bob.takes = func(now time.Time, tx *transaction.Server) {
		n.OnRefer(now, tx, time.Minute, "inacall", func(_ time.Time, w call.Within) error {
			carried = append(carried, w)
			return nil
		})
	}
	alice.send(w.now, alice.dialog().request(env{alice}, sipgo.REFER), a)
	w.arrive()
	if len(carried) != 1 || sipwire.ToTag(a.r) != "inacall" || carried[0].Method != sipgo.NOTIFY || !carried[0].Apart || carried[0].Headers[0].Value() != "refer;id=11" {
		t.Fatalf("in the call's dialog: %+v", carried)
	}
	carried[0].Done(w.now, nil, transaction.ErrTimeout)
	bob.said("left " + transaction.ErrTimeout.Error())
}
