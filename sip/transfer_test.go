package sip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// accepts waits for a REFER to him and answers it with 202 and the first NOTIFY.
func (a *actor) accepts(lines ...string) *sipgo.Request {
	a.s.t.Helper()
	r := a.s.request("REFER")
	r.reply(202, lines...)
	return r.req
}

// tells sends a NOTIFY about a REFER, and waits for its answer.
func (a *actor) tells(answer int, state, body string, lines ...string) {
	a.s.t.Helper()
	a.say("NOTIFY", append(append([]string{"Event: refer", "Subscription-State: " + state, "Content-Type: message/sipfrag"}, lines...), "", body)...)
	a.s.response(answer)
}

// held answers the re-INVITE that puts him on hold.
func (a *actor) held() {
	a.s.t.Helper()
	r := a.s.request("INVITE")
	r.reply(200, "Contact: <sip:"+a.name+"@10.0.0.2:5070>", sdpBody)
	a.s.request("ACK")
}

// transferring runs a transfer in the background.
func transferring(fn func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- fn() }()
	return ch
}

// RFC 5589 §6.1, as the transferor: the peer is put on hold, told whom to call,
// tells how it goes, and is hung up.
func TestBlindTransfer_RFC5589_6_1(t *testing.T) {
	const done = "SIP/2.0 200 OK"
	blind := func(t *testing.T, s *stage, o *TransferOptions) (*actor, *Call, <-chan error) {
		bob := s.actor("bob")
		c := bob.calls()
		result := transferring(func() error { return c.Transfer(t.Context(), "carol", o) })
		if o == nil || !o.NoHold {
			bob.held()
		}
		return bob, c, result
	}
	onStage(t, "succeeds", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		got := make(chan *Transfer, 1)
		go func() {
			tr, err := c.StartTransfer(t.Context(), "carol", nil)
			if err != nil {
				t.Error(err)
			}
			got <- tr
		}()
		bob.held()
		refer := bob.accepts()
		tr := <-got
		if v := sipwire.Header(refer, "Refer-To"); v != "<sip:carol@example.com>" {
			t.Error(v)
		}
		if v := sipwire.Header(refer, "Referred-By"); v != "<sip:alice@example.com>" || refer.Contact() == nil || !sipwire.HasToken(refer, "Supported", "norefersub") {
			t.Errorf("%v", refer)
		}
		if _, err := c.StartTransfer(t.Context(), "dave", &TransferOptions{NoHold: true}); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		bob.tells(200, "active;expires=60", "SIP/2.0 100 Trying")
		bob.tells(200, "active;expires=60", "SIP/2.0 180 Ringing")
		bob.tells(200, "terminated;reason=noresource", done)
		bob.bye()
		synctest.Wait() // the transfer is over before its BYE is answered
		if err := tr.Wait(t.Context()); err != nil || c.End().Cause != CauseTransferred {
			t.Errorf("%v, %+v", err, c.End())
		}
		var statuses []int
		for e := range tr.Events(t.Context()) {
			statuses = append(statuses, e.Status)
		}
		if fmt.Sprint(statuses) != "[202 100 180 200]" {
			t.Error(statuses)
		}
	})
	// RFC 5589 §6.3: the target is busy. The call is still there, on hold.
	onStage(t, "the target is busy", nil, func(t *testing.T, s *stage) {
		bob, c, result := blind(t, s, nil)
		bob.accepts()
		bob.tells(200, "active", "SIP/2.0 100 Trying")
		bob.tells(200, "terminated;reason=noresource", "SIP/2.0 486 Busy Here\r\n")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Method != "INVITE" || se.Code != 486 || se.Phrase != "Busy Here" {
			t.Error(err)
		}
		// NOTIFY for nothing (RFC 6665 §4.1.3).
		bob.tells(481, "active", "SIP/2.0 100 Trying")
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
	})
	onStage(t, "the peer refuses, and says what nobody asked", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		bob.tells(481, "active", "SIP/2.0 100 Trying")
		result := transferring(func() error { return c.Transfer(t.Context(), "carol", &TransferOptions{NoHold: true}) })
		s.request("REFER").reply(603)
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Method != "REFER" || se.Code != 603 {
			t.Error(err)
		}
		bob.tells(481, "active", done)
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
	})
	onStage(t, "the peer never tells", nil, func(t *testing.T, s *stage) {
		bob, c, result := blind(t, s, nil)
		bob.accepts()
		at := time.Now()
		if err := <-result; !errors.Is(err, ErrNoNotify) || time.Since(at) > 33*time.Second {
			t.Errorf("%v after %v", err, time.Since(at))
		}
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
	})
	onStage(t, "the peer ends without having told", nil, func(t *testing.T, s *stage) {
		bob, _, result := blind(t, s, nil)
		bob.accepts()
		bob.tells(200, "active", "SIP/2.0 100 Trying")
		bob.tells(200, "terminated;reason=noresource", "SIP/2.0 180 Ringing")
		if err := <-result; !errors.Is(err, ErrTransferUnknown) {
			t.Error(err)
		}
	})
	onStage(t, "the peer hangs up at once", nil, func(t *testing.T, s *stage) {
		bob, c, result := blind(t, s, nil)
		bob.accepts()
		bob.say("BYE")
		s.response(200)
		if err := <-result; !errors.Is(err, ErrTransferUnknown) {
			t.Error(err)
		}
		if c.State() != CallEnded {
			t.Error(c.State())
		}
		s.quiet(time.Minute)
	})
	// RFC 4488 §4.
	onStage(t, "norefersub", nil, func(t *testing.T, s *stage) {
		bob, _, result := blind(t, s, &TransferOptions{NoSubscription: true, NoHold: true})
		if refer := bob.accepts("Refer-Sub: false"); sipwire.Header(refer, "Refer-Sub") != "false" {
			t.Errorf("%v", refer)
		}
		bob.bye()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	onStage(t, "norefersub, which the peer does not know", nil, func(t *testing.T, s *stage) {
		bob, _, result := blind(t, s, &TransferOptions{NoSubscription: true, NoHold: true})
		bob.accepts()
		bob.tells(200, "terminated;reason=noresource", done)
		bob.bye()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	onStage(t, "hold is refused", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		result := transferring(func() error { return c.Transfer(t.Context(), "carol", nil) })
		s.request("INVITE").reply(488)
		s.request("ACK")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 488 {
			t.Error(err)
		}
		if err := c.Transfer(t.Context(), "mailto:carol@example.com", nil); err == nil {
			t.Error("a target that is no telephone")
		}
	})
}

// RFC 5589 §7.1, as the transferor: the REFER has the target's Contact and the
// dialog with him to be replaced.
func TestAttendedTransfer_RFC5589_7_1(t *testing.T) {
	attended := func(t *testing.T, s *stage) (bob, carol *actor, c, other *Call, result <-chan error) {
		bob, carol = s.actor("bob"), s.actor("carol")
		c, other = bob.calls(), carol.calls()
		result = transferring(func() error { return c.TransferTo(t.Context(), other, &TransferOptions{NoHold: true}) })
		refer := bob.accepts()
		// carol compares to-tag with her own tag.
		want := fmt.Sprintf("<sip:carol@10.0.0.2:5070?Replaces=%s%%3Bto-tag%%3D%s%%3Bfrom-tag%%3D%s>", carol.id, carol.local, carol.remote)
		if v := sipwire.Header(refer, "Refer-To"); v != want {
			t.Errorf("%s, want %s", v, want)
		}
		return bob, carol, c, other, result
	}
	onStage(t, "succeeds", nil, func(t *testing.T, s *stage) {
		bob, carol, c, other, result := attended(t, s)
		bob.tells(200, "active", "SIP/2.0 100 Trying")
		carol.say("BYE") // replaced
		s.response(200)
		bob.tells(200, "terminated;reason=noresource", "SIP/2.0 200 OK")
		bob.bye()
		synctest.Wait()
		if err := <-result; err != nil || c.End().Cause != CauseTransferred || other.State() != CallEnded {
			t.Errorf("%v, %+v, %v", err, c.End(), other.State())
		}
	})
	onStage(t, "a server ends both calls", nil, func(t *testing.T, s *stage) {
		bob, carol, _, _, result := attended(t, s)
		bob.say("BYE")
		s.response(200)
		carol.say("BYE")
		s.response(200)
		if err := <-result; err != nil {
			t.Error(err)
		}
		s.quiet(time.Minute)
	})
	onStage(t, "only one of them", nil, func(t *testing.T, s *stage) {
		bob, _, _, other, result := attended(t, s)
		bob.say("BYE")
		s.response(200)
		at := time.Now()
		if err := <-result; err == nil || time.Since(at) > graceFor {
			t.Errorf("%v after %v", err, time.Since(at))
		}
		if other.State() != CallEstablished {
			t.Error(other.State())
		}
	})
	onStage(t, "the target refuses", nil, func(t *testing.T, s *stage) {
		bob, _, c, other, result := attended(t, s)
		bob.tells(200, "terminated;reason=noresource", "SIP/2.0 603 Decline")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 603 {
			t.Error(err)
		}
		if c.State() != CallEstablished || other.State() != CallEstablished {
			t.Errorf("%v, %v", c.State(), other.State())
		}
		if err := c.TransferTo(t.Context(), c, nil); !errors.Is(err, ErrState) {
			t.Error(err)
		}
	})
}

// RFC 3515 §4.1: a REFER outside of a dialog, with a subscription of its own.
func TestReferOutside_RFC3515_4_1(t *testing.T) {
	onStage(t, "to a device, by GRUU", nil, func(t *testing.T, s *stage) {
		const gruu = "sip:alice@example.com;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128"
		tr, err := s.ua.Refer(t.Context(), gruu, "sip:bob@example.com", &ReferOptions{Replaces: &Dialog{"id", "1", "2"}})
		if err != nil {
			t.Fatal(err)
		}
		desk := s.actor("desk")
		r := s.request("REFER")
		desk.id, desk.remote = string(*r.req.CallID()), sipwire.FromTag(r.req)
		if got := sipwire.FormatURI(&r.req.Recipient); got != gruu {
			t.Error(got)
		}
		if v := sipwire.Header(r.req, "Refer-To"); v != "<sip:bob@example.com?Replaces=id%3Bto-tag%3D2%3Bfrom-tag%3D1>" {
			t.Error(v)
		}
		res := sipwire.ResponseTo(r.req, 202, "", desk.local)
		if err := r.flow.Send([]byte(withLines(res, "", []string{"Contact: <sip:desk@10.0.0.2:5070>"}))); err != nil {
			t.Fatal(err)
		}
		desk.tells(200, "active;expires=55", "SIP/2.0 100 Trying")
		desk.tells(200, "terminated;reason=noresource", "SIP/2.0 200 OK")
		if err := tr.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		desk.tells(481, "active", "SIP/2.0 100 Trying")
	})
	onStage(t, "refused", nil, func(t *testing.T, s *stage) {
		tr, err := s.ua.Refer(t.Context(), "desk", "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.request("REFER").reply(404)
		var se *StatusError
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := tr.Wait(ctx); !errors.As(err, &se) || se.Code != 404 || se.Method != "REFER" {
			t.Error(err)
		}
		for _, o := range []*ReferOptions{{Replaces: &Dialog{}}, {Headers: [][2]string{{"Refer-To", "x"}}}} {
			if _, err := s.ua.Refer(t.Context(), "desk", "bob", o); err == nil {
				t.Errorf("%+v was taken", o)
			}
		}
		if _, err := s.ua.Refer(t.Context(), strings.Repeat(" ", 3), "bob", nil); err == nil {
			t.Error("nobody to ask")
		}
	})
}
