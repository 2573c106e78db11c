package call

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// RFC 3261 §13.2.1: after a reliable answer, what later responses to the INVITE
// say is ignored, and the call lives; also of a 2xx that comes twice. Where media
// have refused the reliable answer, that of the 2xx counts.
func TestAnsweredTwice_RFC3261_13_2_1(t *testing.T) {
	for _, refused := range []bool{false, true} {
		w, alice, bob := newWorld(t, true)
		if refused {
			alice.media.refuse = map[string]error{"setanswer": errNo}
		}
		var invite *sipgo.Request
		answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
			switch req.Method {
			case sipgo.INVITE:
				invite = req
			case sipgo.PRACK:
				bob.say(now, reply(req, 200, "", ""))
			}
		})
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		for i, sdp := range []string{"first", "second"} {
			r := reply(invite, 183, "x", sdp)
			r.AppendHeader(sipgo.NewHeader("Require", "100rel"))
			r.AppendHeader(sipgo.NewHeader("RSeq", fmt.Sprint(i+1)))
			bob.say(w.now, r)
			w.run(50 * time.Millisecond)
		}
		bob.say(w.now, reply(invite, 183, "x", "third"))
		w.run(50 * time.Millisecond)
		alice.media.refuse = nil
		bob.say(w.now, reply(invite, 200, "x", "fourth"))
		bob.say(w.now, reply(invite, 200, "x", "fifth"))
		w.run(time.Second)
		want := []string{"offer", "setanswer first false"}
		if refused {
			want = append(want, "setanswer fourth false")
		}
		if a.State() != Established || !slices.Equal(alice.media.log, want) {
			t.Errorf("refused %v: %v, media %q, want %q", refused, a.State(), alice.media.log, want)
		}
		a.Hangup(w.now)
		w.over(alice)
	}
}
