package interop

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// A callee gives early media at one address and answers with another address and codec: ours go to the
// first while it rings, and to the second, so encoded, once it is answered. Mobile networks do so.
func TestEarlyMediaElsewhere(t *testing.T) {
	t.Parallel()
	early, final := listenRTP(t), listenRTP(t)
	uas := peertest.StartSipp(t, peertest.SippConfig{
		Scenario: "uas_183_other_200", Hold: time.Second,
		Keys: map[string]string{"early_port": port(early), "final_port": port(final)},
	})
	eng := newEngine(t, nil)
	ua, _ := direct(t, "udp", func(c *sip.Config) { c.NewMedia = eng.NewSession })
	call, err := ua.Start(deadline(t, patience), "sip:sipp@"+uas.Addr+";transport=udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	payloadType(t, early, 0) // PCMU
	if state := call.State(); state != sip.CallRinging {
		t.Errorf("early media while the call is %v", state)
	}
	if err := call.Answered(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	payloadType(t, final, 8) // PCMA
	sess, ok := media.FromCall(call)
	if !ok {
		t.Fatal("the call has no session")
	}
	if s := sess.Stats(); s.Codec != "PCMA/8000" || fmt.Sprint(s.Remote.Port()) != port(final) {
		t.Errorf("sends %s to %v, want PCMA/8000 to port %s", s.Codec, s.Remote, port(final))
	}
	if err := errors.Join(call.Hangup(deadline(t, patience)), call.Wait(deadline(t, patience))); err != nil {
		t.Error(err)
	}
	uas.Wait(patience)
}

// listenRTP opens a socket that RTP can be sent to.
func listenRTP(t *testing.T) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func port(c net.PacketConn) string {
	return fmt.Sprint(c.LocalAddr().(*net.UDPAddr).Port)
}

// payloadType reads until an RTP packet of a payload type comes.
func payloadType(t *testing.T, c net.PacketConn, want byte) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatalf("no RTP of type %d: %v", want, err)
		}
		if n >= 12 && b[0]>>6 == 2 && b[1]&0x7f == want {
			return
		}
	}
}
