package siptest_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/sip"
)

func TestCall(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.TCP, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice, bob := l.phone("alice", over(l, transport)), l.phone("bob", over(l, transport))
				l.ClearTranscript()
				a, b := talk(t, alice, bob, "bob")
				if r := b.Remote(); r.URI != "sip:1001@pbx.example;user=phone" || r.Name != "Alice" {
					t.Errorf("bob sees %+v", r)
				}
				if err := a.Hangup(t.Context()); err != nil {
					t.Fatal(err)
				}
				ended(t, b, sip.Remote)
				l.idle()
				checkLines(t, l.lines("alice"), "alice> INVITE",
					"alice< 180 INVITE", "alice< 200 INVITE", "alice> ACK", "alice> BYE", "alice< 200 BYE")
				checkLines(t, l.lines("bob"), "bob< INVITE", "bob> 180 INVITE", "bob> 200 INVITE", "bob< ACK", "bob< BYE", "bob> 200 BYE")
			})
		})
	}
}
