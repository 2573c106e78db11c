package siptest_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/sip"
)

// The callee's 2xx says something else than its 183 did. The caller has the
// answer of the 183 for good (RFC 3261 §13.2.1), so the two agree anew.
func TestAnswerDiffersFromEarly(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a := alice.dial("bob", alice.describe())
		b := bob.ring()
		b.reply(b.invite, 183, bob.describe())
		a.learn(183)
		b.answer()
		check(t, a.response("INVITE", 200), "bob 1")
		a.reply(a.expect("INVITE"), 200, alice.describe())
		b.reinvited("alice 2")
		check(t, a.expect("ACK"), "bob 3")
		a.hangup()
		b.bye()
		l.nothingLeft(alice, bob)
	})
}

// After early media a hold goes to the callee as any other.
func TestHoldAfterEarly(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a := alice.dial("bob", alice.describe())
		b := bob.ring()
		sdp := bob.describe()
		b.reply(b.invite, 183, sdp)
		a.learn(183)
		b.reply(b.invite, 200, sdp)
		b.expect("ACK")
		check(t, a.response("INVITE", 200), "bob 1")
		a.request("INVITE", alice.describe())
		b.reinvited("alice 2")
		check(t, a.response("INVITE", 200), "bob 2")
		a.hangup()
		b.bye()
		l.nothingLeft(alice, bob)
	})
}
