package endpoint

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// RFC 3263 §4.3: a request goes to the next server after a timeout, a failure
// of the transport and a 503: with a new branch, all else the same.
func TestFailover_RFC3263_4_3(t *testing.T) {
	bubble(t, "timeout, 503, answer", func(t *testing.T, r *rig) {
		a, fa := r.udp("10.0.0.2:5060")
		b, fb := r.udp("10.0.0.3:5060", "503")
		c, fc := r.udp("10.0.0.4:5060", "180|200")
		r.route = along(fa, fb, fc)
		o, out := r.outgoing(sipgo.INVITE, nil)
		begin := time.Now()
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(32*time.Second - 1)
		if len(b.requests()) != 0 {
			t.Error("did not wait for the first server")
		}
		r.pass(1)
		if took := time.Since(begin); took != 32*time.Second || out.String() != "[180 200]" {
			t.Errorf("%v after %v", out, took)
		}
		if len(a.requests()) != 7 || b.methods() != "INVITE ACK" || c.methods() != "INVITE" {
			t.Errorf("%d; %s; %s", len(a.requests()), b.methods(), c.methods())
		}
		branches := map[string]bool{}
		for _, req := range []*sipgo.Request{a.requests()[0], b.requests()[0], c.requests()[0]} {
			branches[sipwire.TopBranch(req)] = true
			if req.CSeq().SeqNo != 1 || len(req.GetHeaders("Via")) != 1 {
				t.Errorf("sent %v", req)
			}
		}
		if len(branches) != 3 {
			t.Errorf("branches %v", branches)
		}
		if !o.Done() {
			t.Error("not done")
		}
	})
	bubble(t, "the last 503 is the answer", func(t *testing.T, r *rig) {
		_, fa := r.udp("10.0.0.2:5060")
		_, fb := r.udp("10.0.0.3:5060", "503\nRetry-After: 60")
		r.route = along(fa, fb)
		o, out := r.outgoing(sipgo.OPTIONS, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Minute)
		if out.String() != "[503]" || out.failed != 0 {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "the last timeout is the error", func(t *testing.T, r *rig) {
		_, fa := r.udp("10.0.0.2:5060", "503")
		_, fb := r.udp("10.0.0.3:5060")
		r.route = along(fa, fb)
		o, out := r.outgoing(sipgo.OPTIONS, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Minute)
		if !errors.Is(out.err, transaction.ErrTimeout) || out.failed != 1 {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "no server at all", func(t *testing.T, r *rig) {
		r.route = along()
		o, out := r.outgoing(sipgo.OPTIONS, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		if out.err != errNowhere {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "the servers tried are bounded", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060", strings.Fields(strings.Repeat("503 ", 100))...)
		r.route = func(now time.Time, _ *Outgoing, ready func(time.Time, *transport.Flow, error)) { ready(now, f, nil) }
		o, out := r.outgoing(sipgo.OPTIONS, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Minute)
		if len(s.requests()) != maxTries+1 || out.String() != "[503]" {
			t.Errorf("%d requests, outcome %v", len(s.requests()), out)
		}
	})
	bubble(t, "no failover once it has begun to ring", func(t *testing.T, r *rig) {
		for _, status := range []string{"100|180|503", "183"} {
			r := newRig(t, nil)
			_, fa := r.tcp("10.0.0.2:5060", status)
			b, fb := r.udp("10.0.0.3:5060", "200")
			r.route = along(fa, fb)
			o, out := r.outgoing(sipgo.INVITE, nil)
			r.do(func(now time.Time) { r.e.Send(now, o) })
			r.pass(time.Second)
			fa.Close(errNowhere)
			r.pass(time.Second)
			if len(b.requests()) != 0 || out.err == nil && out.responses[len(out.responses)-1] != 503 {
				t.Errorf("%s: outcome %v, the other server got %s", status, out, b.methods())
			}
		}
	})
	bubble(t, "100 is no ringing", func(t *testing.T, r *rig) {
		_, fa := r.tcp("10.0.0.2:5060", "100")
		_, fb := r.udp("10.0.0.3:5060", "486")
		r.route = along(fa, fb)
		o, out := r.outgoing(sipgo.INVITE, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		fa.Close(errNowhere)
		r.pass(time.Second)
		if out.String() != "[100 486]" {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "what cannot be sent goes to the next", func(t *testing.T, r *rig) {
		_, fb := r.udp("10.0.0.3:5060", "200")
		unreachable := r.sock.Flow(addrPort("[2001:db8::9]:5060")) // an IPv6 address from an IPv4 socket
		r.route = along(unreachable, fb)
		o, out := r.outgoing(sipgo.OPTIONS, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Millisecond)
		if out.String() != "[200]" || len(o.Tried) != 1 {
			t.Errorf("outcome %v, tried %d", out, len(o.Tried))
		}
	})
}

// A request with a flow of its own stays there, unless that has ended; one that
// is pinned even then.
func TestFlowOfARequest(t *testing.T) {
	bubble(t, "503 and timeouts are the dialog's", func(t *testing.T, r *rig) {
		_, fa := r.udp("10.0.0.2:5060", "503")
		b, fb := r.udp("10.0.0.3:5060", "200")
		r.route = along(fb, fb)
		o, out := r.outgoing(sipgo.BYE, fa)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		o2, out2 := r.outgoing(sipgo.BYE, fa)
		r.do(func(now time.Time) { r.e.Send(now, o2) })
		r.pass(time.Minute)
		if out.String() != "[503]" || !errors.Is(out2.err, transaction.ErrTimeout) || len(b.requests()) != 0 {
			t.Errorf("outcomes %v, %v; the other server got %s", out, out2, b.methods())
		}
	})
	bubble(t, "ended before", func(t *testing.T, r *rig) {
		_, fa := r.tcp("10.0.0.2:5060")
		_, fb := r.udp("10.0.0.3:5060", "200")
		fa.Close(errNowhere)
		r.route = along(fb)
		o, out := r.outgoing(sipgo.BYE, fa)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		if out.String() != "[200]" {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "ends meanwhile", func(t *testing.T, r *rig) {
		_, fa := r.tcp("10.0.0.2:5060")
		b, fb := r.udp("10.0.0.3:5060", "200")
		r.route = func(now time.Time, o *Outgoing, ready func(time.Time, *transport.Flow, error)) {
			if len(o.Tried) != 1 || o.Tried[0] != fa {
				t.Errorf("tried %v", o.Tried)
			}
			ready(now, fb, nil)
		}
		o, out := r.outgoing(sipgo.BYE, fa)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		fa.Close(errNowhere)
		r.pass(time.Second)
		if out.String() != "[200]" || b.methods() != "BYE" {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "pinned", func(t *testing.T, r *rig) {
		_, fa := r.tcp("10.0.0.2:5060")
		o, out := r.outgoing(sipgo.REGISTER, fa)
		o.Pinned = true
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		fa.Close(errNowhere)
		r.pass(time.Second)
		if lost, ok := errors.AsType[*FlowError](out.err); !ok || lost.Err != errNowhere || lost.Error() == "" {
			t.Errorf("outcome %v", out)
		}
		o, out = r.outgoing(sipgo.REGISTER, fa)
		o.Pinned = true
		r.do(func(now time.Time) { r.e.Send(now, o) })
		if !errors.Is(out.err, transport.ErrClosed) {
			t.Errorf("outcome %v", out)
		}
	})
}

const challenge = "\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\""

// RFC 3261 §22: challenges are answered with the next CSeq.
func TestChallenges_RFC3261_22(t *testing.T) {
	run := func(name string, fn func(t *testing.T, r *rig)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fn(t, newRig(t, testDigest)) })
		})
	}
	send := func(r *rig, method sipgo.RequestMethod, f *transport.Flow) *outcome {
		o, out := r.outgoing(method, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		return out
	}
	run("401, then 407, then the answer", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060", "401"+challenge, "407\nProxy-Authenticate: Digest realm=\"p\", nonce=\"n\", qop=\"auth\"", "200")
		out := send(r, sipgo.INVITE, f)
		if out.String() != "[200]" || s.methods() != "INVITE ACK INVITE ACK INVITE" {
			t.Fatalf("outcome %v of %s", out, s.methods())
		}
		last := s.requests()[4]
		if last.CSeq().SeqNo != 3 || sipwire.Header(last, "Authorization") == "" || sipwire.Header(last, "Proxy-Authorization") == "" {
			t.Errorf("sent %v", last)
		}
		// The next request has them from the start.
		s.then("200")
		if out := send(r, sipgo.OPTIONS, f); out.String() != "[200]" || sipwire.Header(s.requests()[5], "Authorization") == "" {
			t.Errorf("outcome %v of %v", out, s.requests()[5])
		}
	})
	run("a wrong password", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "401"+challenge, "401"+challenge)
		out := send(r, sipgo.REGISTER, f)
		if _, ok := errors.AsType[*digest.AuthError](out.err); !ok || out.responses != nil {
			t.Errorf("outcome %v", out)
		}
	})
	run("a server that is never content", func(t *testing.T, r *rig) {
		var stale []string
		for i := range 100 {
			stale = append(stale, fmt.Sprintf("401\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n%d\", qop=\"auth\", stale=true", i))
		}
		s, f := r.udp("10.0.0.2:5060", stale...)
		out := send(r, sipgo.REGISTER, f)
		if out.err == nil || len(s.requests()) > 10 {
			t.Errorf("%d requests, outcome %v", len(s.requests()), out)
		}
	})
	run("a challenge that cannot be answered", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "401\nWWW-Authenticate: Bearer x")
		out := send(r, sipgo.REGISTER, f)
		if _, ok := errors.AsType[*digest.ChallengeError](out.err); !ok {
			t.Errorf("outcome %v", out)
		}
	})
	run("401 without a challenge is a refusal", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "401")
		if out := send(r, sipgo.REGISTER, f); out.String() != "[401]" {
			t.Errorf("outcome %v", out)
		}
	})
	run("a request that is not to be repeated", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "401"+challenge)
		o, out := r.outgoing(sipgo.REGISTER, f)
		o.NextCSeq = nil
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		if out.String() != "[401]" {
			t.Errorf("outcome %v", out)
		}
	})
	run("a server that does not know the password", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060", "401"+challenge, "200\nAuthentication-Info: rspauth=\"00\", cnonce=\"x\", nc=00000001, qop=auth")
		out := send(r, sipgo.REGISTER, f)
		if !errors.Is(out.err, digest.ErrRspAuth) {
			t.Errorf("outcome %v of %s", out, s.methods())
		}
		s.then("200\nAuthentication-Info: nonsense")
		if out := send(r, sipgo.REGISTER, f); out.String() != "[200]" {
			t.Errorf("outcome %v", out)
		}
	})
	run("cancelled meanwhile", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "180", "401"+challenge)
		o, out := r.outgoing(sipgo.INVITE, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(100 * time.Millisecond)
		// The CANCEL is answered with a challenge too, which nobody answers
		// (RFC 3261 §22.1); then comes the INVITE's.
		r.do(func(now time.Time) { o.Cancel(now) })
		r.pass(100 * time.Millisecond)
		res := sipwire.ResponseTo(o.Req, 401, "", "far")
		res.AppendHeader(sipgo.NewHeader("WWW-Authenticate", `Digest realm="r", nonce="n", qop="auth"`))
		r.do(func(now time.Time) { r.e.Table.Receive(now, f, res) })
		r.pass(100 * time.Millisecond)
		if out.err != ErrCancelled {
			t.Errorf("outcome %v", out)
		}
	})
	run("nobody to answer challenges", func(t *testing.T, _ *rig) {
		r := newRig(t, nil)
		_, f := r.udp("10.0.0.2:5060", "401"+challenge)
		if out := send(r, sipgo.REGISTER, f); out.String() != "[401]" {
			t.Errorf("outcome %v", out)
		}
	})
}

// Cancel, in every stage of a request.
func TestCancel(t *testing.T) {
	bubble(t, "while a way is looked for", func(t *testing.T, r *rig) {
		var ready func(time.Time, *transport.Flow, error)
		r.route = func(_ time.Time, _ *Outgoing, fn func(time.Time, *transport.Flow, error)) { ready = fn }
		s, f := r.udp("10.0.0.2:5060")
		o, out := r.outgoing(sipgo.INVITE, nil)
		r.do(func(now time.Time) {
			r.e.Send(now, o)
			o.Cancel(now)
			o.Cancel(now)
			ready(now, f, nil)
		})
		r.pass(time.Second)
		if out.err != ErrCancelled || out.failed != 1 || len(s.requests()) != 0 || !o.Done() {
			t.Errorf("outcome %v, sent %s", out, s.methods())
		}
	})
	bubble(t, "before a provisional response", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060")
		o, out := r.outgoing(sipgo.INVITE, f)
		r.do(func(now time.Time) { r.e.Send(now, o); o.Cancel(now) })
		r.pass(time.Minute)
		if strings.Contains(s.methods(), "CANCEL") {
			t.Errorf("RFC 3261 §9.1: sent %s", s.methods())
		}
		if !errors.Is(out.err, transaction.ErrTimeout) {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "after a provisional response", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060", "180", "200")
		o, out := r.outgoing(sipgo.INVITE, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		r.do(func(now time.Time) { o.Cancel(now, sipgo.NewHeader("Reason", "SIP;cause=200")) })
		r.pass(time.Second)
		if s.methods() != "INVITE CANCEL" || sipwire.Header(s.requests()[1], "Reason") != "SIP;cause=200" {
			t.Fatalf("sent %s", s.methods())
		}
		r.do(func(now time.Time) { r.e.Table.Receive(now, f, sipwire.ResponseTo(o.Req, 487, "", "far")) })
		if out.String() != "[180 487]" {
			t.Errorf("outcome %v", out)
		}
		r.do(func(now time.Time) { o.Cancel(now) }) // nothing any more
	})
	bubble(t, "no failover for who does not want it", func(t *testing.T, r *rig) {
		_, fa := r.udp("10.0.0.2:5060")
		b, fb := r.udp("10.0.0.3:5060", "200")
		r.route = along(fa, fb)
		o, out := r.outgoing(sipgo.INVITE, nil)
		r.do(func(now time.Time) { r.e.Send(now, o); o.Cancel(now) })
		r.pass(time.Minute)
		if !errors.Is(out.err, transaction.ErrTimeout) || len(b.requests()) != 0 {
			t.Errorf("outcome %v, the other server got %s", out, b.methods())
		}
	})
	bubble(t, "while the next server is looked for", func(t *testing.T, r *rig) {
		_, fa := r.udp("10.0.0.2:5060", "503")
		_, fb := r.udp("10.0.0.3:5060", "200")
		var ready func(time.Time, *transport.Flow, error)
		r.route = func(now time.Time, o *Outgoing, fn func(time.Time, *transport.Flow, error)) {
			if len(o.Tried) == 0 {
				fn(now, fa, nil)
				return
			}
			ready = fn
		}
		o, out := r.outgoing(sipgo.INVITE, nil)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		r.do(func(now time.Time) { o.Cancel(now); ready(now, fb, nil) })
		if out.err != ErrCancelled || out.failed != 1 {
			t.Errorf("outcome %v", out)
		}
	})
	bubble(t, "while a stream is looked for", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060")
		var ready func(time.Time, *transport.Flow, error)
		r.widen = func(_ time.Time, _ *transport.Flow, fn func(time.Time, *transport.Flow, error)) { ready = fn }
		o, out := r.outgoing(sipgo.INVITE, f)
		o.Req.SetBody(make([]byte, 1400))
		r.do(func(now time.Time) { r.e.Send(now, o); o.Cancel(now); ready(now, f, nil) })
		r.pass(time.Second)
		if out.err != ErrCancelled || len(s.requests()) != 0 {
			t.Errorf("outcome %v, sent %s", out, s.methods())
		}
	})
}

// RFC 3261 §18.1.1: a large request over a stream, if there is one.
func TestWiden_RFC3261_18_1_1(t *testing.T) {
	for _, wide := range []bool{true, false} {
		bubble(t, fmt.Sprint("stream ", wide), func(t *testing.T, r *rig) {
			s, f := r.udp("10.0.0.2:5060", "200")
			s2, f2 := r.tcp("10.0.0.3:5060", "200")
			asked := 0
			r.widen = func(now time.Time, from *transport.Flow, ready func(time.Time, *transport.Flow, error)) {
				asked++
				if from != f {
					t.Error("another flow")
				}
				if wide {
					ready(now, f2, nil)
				} else {
					ready(now, nil, errNowhere)
				}
			}
			o, out := r.outgoing(sipgo.OPTIONS, f)
			o.Req.SetBody(make([]byte, 1400))
			prepared := 0
			o.Prepare = func(*transport.Flow, *sipgo.Request) { prepared++ }
			o.ViaParams = []sipgo.HeaderKV{{K: "keep"}}
			r.do(func(now time.Time) { r.e.Send(now, o) })
			r.pass(time.Second)
			if out.String() != "[200]" || asked != 1 || prepared != 2 || len(s2.requests()) != map[bool]int{true: 1, false: 0}[wide] {
				t.Fatalf("outcome %v, asked %d times, prepared %d times; %s, %s", out, asked, prepared, s.methods(), s2.methods())
			}
			req := append(s.requests(), s2.requests()...)[0]
			via := sipwire.Header(req, "Via")
			if want := map[bool]string{true: "SIP/2.0/TCP", false: "SIP/2.0/UDP"}[wide]; !strings.HasPrefix(via, want) || !strings.Contains(via, ";keep") || len(req.GetHeaders("Via")) != 1 {
				t.Errorf("Via %s", via)
			}
		})
	}
	bubble(t, "a small one is not asked about", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "200")
		o, out := r.outgoing(sipgo.OPTIONS, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		if r.pass(time.Second); out.String() != "[200]" {
			t.Errorf("outcome %v", out)
		}
	})
}

// RFC 3261 §13.2.2.4, §22.1: the ACK of a 2xx is sent again as it was, with the
// credentials of its INVITE.
func TestAck_RFC3261_13_2_2_4(t *testing.T) {
	bubble(t, "again", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060")
		invite, _ := r.outgoing(sipgo.INVITE, f)
		invite.Req.AppendHeader(sipgo.NewHeader("Authorization", "Digest x"))
		ack, _ := r.outgoing(sipgo.ACK, nil)
		for range 2 {
			r.do(func(now time.Time) { r.e.SendAck(now, f, ack.Req, invite) })
		}
		r.pass(time.Second)
		if s.methods() != "ACK ACK" || s.requests()[0].String() != s.requests()[1].String() || sipwire.Header(s.requests()[1], "Authorization") != "Digest x" {
			t.Errorf("sent %v", s.requests())
		}
	})
	bubble(t, "over the next flow", func(t *testing.T, r *rig) {
		_, fa := r.tcp("10.0.0.2:5060")
		b, fb := r.udp("10.0.0.3:5060")
		r.route = along(fb)
		fa.Close(errNowhere)
		ack, _ := r.outgoing(sipgo.ACK, nil)
		r.do(func(now time.Time) { r.e.SendAck(now, fa, ack.Req, nil) })
		r.pass(time.Second)
		if b.methods() != "ACK" {
			t.Errorf("sent %s", b.methods())
		}
		r.route = along()
		r.do(func(now time.Time) { r.e.SendAck(now, fa, ack.Req, nil) })
		if r.pass(time.Second); len(b.requests()) != 1 {
			t.Errorf("sent %s", b.methods())
		}
	})
}

// A request that cannot start a transaction fails at once.
func TestBadRequest(t *testing.T) {
	bubble(t, "CANCEL", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060")
		o, out := r.outgoing(sipgo.CANCEL, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		if !errors.Is(out.err, transaction.ErrBadRequest) {
			t.Errorf("outcome %v", out)
		}
	})
}

// RFC 6026 §7.2: each further 2xx of an INVITE is its user's.
func TestFurther2xx_RFC6026_7_2(t *testing.T) {
	bubble(t, "fork", func(t *testing.T, r *rig) {
		_, f := r.udp("10.0.0.2:5060", "200|200|486|180")
		o, out := r.outgoing(sipgo.INVITE, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(time.Second)
		if out.String() != "[200 200]" {
			t.Errorf("outcome %v", out)
		}
	})
}
