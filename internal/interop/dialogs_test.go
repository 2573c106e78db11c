package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/sip"
)

// Kamailio tells a user's calls to his other devices (RFC 4235): it answers
// SUBSCRIBE, each change of a call is a NOTIFY, and its end too.
func TestDialogEvents(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"tls", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			k := peertest.StartKamailio(t, peertest.KamailioConfig{DialogEvents: true})
			desk, mobile, bob := newUA(t, account(k, "alice", "tls")), newUA(t, account(k, "alice", transport)), newUA(t, account(k, "bob", "tls"))
			for _, ua := range []*sip.UA{desk, mobile, bob} {
				register(t, ua)
			}
			sub, err := mobile.Subscribe(deadline(t, patience), mobile.AOR(), &sip.SubscribeOptions{Event: "dialog"})
			if err != nil {
				t.Fatalf("SUBSCRIBE: %v", err)
			}
			out, err := desk.Start(deadline(t, patience), bob.AOR(), nil)
			if err != nil {
				t.Fatal(err)
			}
			in := accept(t, bob)
			if err := in.Answer(deadline(t, patience), nil); err != nil {
				t.Fatal(err)
			}
			told(t, sub, "confirmed")
			if err := out.Hangup(deadline(t, patience)); err != nil {
				t.Error(err)
			}
			told(t, sub, "terminated")
			ended(t, out, in)
			if err := sub.Close(deadline(t, patience)); err != nil {
				t.Errorf("the end of the subscription: %v", err)
			}
		})
	}
}

// told waits until a subscription has told of a call in a state.
func told(t *testing.T, sub *sip.Subscription, state string) {
	t.Helper()
	for n := range sub.Notifications(deadline(t, patience)) {
		if n.Err != nil || n.State != sip.SubscriptionActive {
			t.Fatalf("notification %+v", n)
		}
		if len(n.Body) > 0 && n.ContentType != "application/dialog-info+xml" {
			t.Errorf("a body of type %q", n.ContentType)
		}
		if strings.Contains(string(n.Body), fmt.Sprintf("<state>%s</state>", state)) {
			return
		}
	}
	t.Fatalf("was not told of a call that is %s", state)
}
