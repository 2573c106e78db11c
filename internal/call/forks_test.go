package call

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// show writes forks down: tag, status, m for media, h for those heard.
func show(fs []Fork) string {
	var out []string
	for _, f := range fs {
		s := fmt.Sprint(f.RemoteTag, " ", f.Status)
		if f.Media {
			s += " m"
		}
		if f.Heard {
			s += " h"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// RFC 3261 §12.1.2, §13.2.2.4: each early dialog is its own, with its media; one
// of them is heard, the first or the one that was chosen; who answers gets the
// call, and a second 2xx gets ACK and BYE.
func TestForks(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	var got []string
	answerer(bob, &got, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			invite = req
		}
	})
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	say := func(r *sipgo.Response, want string) {
		t.Helper()
		bob.say(w.now, r)
		w.run(50 * time.Millisecond)
		if s := show(a.Forks()); s != want {
			t.Errorf("after %d of %q: forks %q, want %q", r.StatusCode, r.To().Params, s, want)
		}
	}
	asserted := reply(invite, 180, "two", "")
	asserted.AppendHeader(sipgo.NewHeader("P-Asserted-Identity", "<sip:carol@example.com>"))
	say(reply(invite, 180, "one", ""), "one 180")
	say(asserted, "one 180, two 180")
	say(reply(invite, 183, "two", "early two"), "one 180, two 183 m h")
	say(reply(invite, 183, "one", "early one"), "one 183 m, two 183 m h")
	if f := a.Forks(); f[0].Asserted != "" || f[1].Asserted != "<sip:carol@example.com>" || f[0].Target.Host != "one.invalid" {
		t.Errorf("%+v", f)
	}
	listen := func(tag string) error {
		return alice.asked(func(now time.Time, done func(time.Time, error)) { a.Listen(now, tag, done) })
	}
	if err := listen("three"); err != ErrFork {
		t.Errorf("nobody: %v", err)
	}
	say(reply(invite, 180, "three", ""), "one 183 m, two 183 m h, three 180")
	if err := listen("three"); err != ErrFork {
		t.Errorf("no media: %v", err)
	}
	if err := listen("one"); err != nil || show(a.Forks()) != "one 183 m h, two 183 m, three 180" {
		t.Errorf("%v, %q", err, show(a.Forks()))
	}
	// The one that is heard goes: another is.
	a.legFor("one").drop(w.now)
	w.run(50 * time.Millisecond)
	if s := show(a.Forks()); s != "two 183 m h, three 180" {
		t.Errorf("after the end of one: %q", s)
	}
	bob.say(w.now, reply(invite, 200, "three", "answer three"))
	bob.say(w.now, reply(invite, 200, "two", "answer two"))
	w.run(time.Second)
	if a.State() != Established || a.RemoteTag() != "three" || len(a.Forks()) != 0 {
		t.Errorf("%v with %q, %d forks", a.State(), a.RemoteTag(), len(a.Forks()))
	}
	if want := []string{"INVITE ", "ACK three", "ACK two", "BYE two"}; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("bob got %q, want %q", got, want)
	}
	if err := listen("three"); err != ErrState {
		t.Errorf("once answered: %v", err)
	}
	a.Hangup(w.now)
	if err := listen("three"); err != ErrEnded {
		t.Errorf("once ended: %v", err)
	}
	w.over(alice)
}
