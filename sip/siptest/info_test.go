package siptest_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
)

// INFO goes through, and its answer comes back (RFC 6086 §4.2.2).
func TestInfo(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a, b := connect(alice, bob)
		for _, status := range []int{200, 415} {
			a.request("INFO", "Signal=5\r\nDuration=160\r\n", "Content-Type: application/dtmf-relay")
			req := b.expect("INFO")
			if string(req.Body()) != "Signal=5\r\nDuration=160\r\n" || sipwire.Header(req, "Content-Type") != "application/dtmf-relay" {
				t.Errorf("what comes: %s", sipwire.Append(nil, req))
			}
			b.reply(req, status, "")
			a.response("INFO", status)
		}
		a.hangup()
		b.bye()

		// The lab's own numbers take none.
		c := alice.dial("echo", alice.describe())
		c.response("INVITE", 200)
		c.request("INFO", "Signal=5\r\n", "Content-Type: application/dtmf-relay")
		c.response("INFO", 415)
		c.hangup()
		l.nothingLeft(alice, bob)
	})
}

// RFC 3261 §12.2.1.2: 481 and 408 say of one device's dialog that it is over.
// They are not passed on to the other one: his is not, and here he is on his way
// to somebody else.
func TestOtherEndGone(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob, carol := l.device("alice", on), l.device("bob", on), l.device("carol", on)
		a, b := connect(alice, bob)
		for _, status := range []int{481, 408} {
			a.request("INFO", "Signal=5\r\n", "Content-Type: application/dtmf-relay")
			b.reply(b.expect("INFO"), status, "")
			a.response("INFO", 480)
		}
		b.refer("<sip:carol@pbx.example>", 202, "Refer-Sub: false")
		c := carol.ring()
		a.request("INVITE", alice.describe())
		req := b.expect("INVITE")
		b.hangup()
		b.reply(req, 481, "")
		a.response("INVITE", 491)
		c.reply(c.invite, 200, carol.describe())
		a.reinvited("carol 1")
		c.expect("ACK")
		a.hangup()
		c.bye()
		l.nothingLeft(alice, bob, carol)
	})
}
