package siptest

import (
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// referral is a REFER outside of calls on its way from one device to another,
// and the NOTIFYs on their way back: two dialogs, which know nothing of each
// other.
type referral struct {
	l     *life
	refer *sipgo.Request  // as it came
	from  *transport.Flow // where from
	tag   string          // the lab's, to its sender
	cseq  uint32          // of the latest NOTIFY to him
	key   legKey          // of the dialog with the device
	life  timerq.Timer
}

const (
	// maxReferrals bounds those that wait for NOTIFYs: more get 503.
	maxReferrals = 1000
	// referralTime is how long the lab waits for the next one. RFC 3515 §2.4.4
	// leaves it to the device how long that goes on.
	referralTime = 5 * time.Minute
)

// referOutside passes a REFER on to the device that it is for: a GRUU's, or the
// one that the user has registered last (RFC 3515 §2.4.4: a REFER may begin a
// dialog). That device is told who asks, and decides.
func (l *life) referOutside(now time.Time, s *transaction.Server) {
	req := s.Request()
	caller, ok := l.callerOf(now, s)
	if !ok {
		return
	}
	uri := &req.Recipient
	if c := l.conferenceAt(uri); c != nil {
		c.referred(now, s, caller, nil)
		return
	}
	_, status := parseRefer(req)
	callee, devices, found := l.locate(now, uri, userPart(uri))
	switch {
	case status != 0:
	case l.cfg.Calls.NoTransfer:
		status = sipgo.StatusForbidden
	case uri.Scheme != "tel" && !l.ours(uri), !found:
		status = sipgo.StatusNotFound
	case len(devices) == 0:
		status = sipgo.StatusTemporarilyUnavailable
	case len(l.referrals) >= maxReferrals:
		status = sipgo.StatusServiceUnavailable
	}
	if status != 0 {
		l.respond(now, s, status)
		return
	}
	r := &referral{l: l, refer: req, from: s.Flow().(*transport.Flow), tag: l.tag()}
	r.key = legKey{l.callID(), l.tag()}
	r.life.F = r.end
	l.referrals[r.key] = r
	l.ep.Q.Set(&r.life, now.Add(referralTime))
	d := devices[len(devices)-1]
	l.send(now, d.flow, r.toward(caller, callee, d, hops(req)-1), func(now time.Time, status int, res *sipgo.Response) {
		if res != nil && !res.IsSuccess() {
			status = refusedStatus(res.StatusCode)
		}
		out := sipwire.ResponseTo(req, status, "", r.tag)
		if status >= 300 {
			r.end(now)
		} else {
			out.AppendHeader(contactOf(r.from))
			if sub, ok := sipwire.ParseReferSub(sipwire.Header(res, "Refer-Sub")); ok && !sub {
				// "the recipient [...] will not create an implicit
				// subscription" (RFC 4488 §4).
				out.AppendHeader(sipgo.NewHeader("Refer-Sub", "false"))
				r.end(now)
			}
		}
		decorate(out)
		s.Respond(now, out)
	})
}

// refusedStatus is what a device's refusal means to somebody else.
func refusedStatus(status int) int {
	switch status {
	case sipgo.StatusUnauthorized, sipgo.StatusProxyAuthRequired:
		return sipgo.StatusTemporarilyUnavailable
	case sipgo.StatusServiceUnavailable:
		return sipgo.StatusInternalServerError
	}
	return status
}

// carried are the header fields of a REFER that are for the device.
var carried = []string{"Refer-To", "Refer-Sub", "Supported", "Require", "Target-Dialog", "Accept"}

// toward is the REFER to the device.
func (r *referral) toward(caller, callee *User, d *binding, hops int) *sipgo.Request {
	l := r.l
	from := l.identity(caller, false)
	if caller == callee {
		// His own device is to see that it is himself, not just his number.
		from.from = caller.aor(l.cfg.Domain)
		from.asserted = sipwire.FormatNameAddr(caller.DisplayName, &from.from, nil)
	}
	req := l.outside(sipgo.REFER, d, hops, r.key,
		&sipgo.FromHeader{DisplayName: from.name, Address: from.from},
		&sipgo.ToHeader{DisplayName: callee.DisplayName, Address: callee.uri(l.cfg.Domain)})
	req.AppendHeader(contactOf(d.flow))
	for _, name := range carried {
		for _, h := range r.refer.GetHeaders(name) {
			req.AppendHeader(h)
		}
	}
	uri := caller.uri(l.cfg.Domain)
	req.AppendHeader(sipgo.NewHeader("Referred-By", "<"+sipwire.FormatURI(&uri)+">"))
	req.AppendHeader(sipgo.NewHeader("P-Asserted-Identity", from.asserted))
	decorate(req)
	return req
}

// notified passes on a NOTIFY about a referral. It returns false for any
// other request.
func (l *life) notified(now time.Time, s *transaction.Server) bool {
	in := s.Request()
	id := in.CallID()
	if in.Method != sipgo.NOTIFY || id == nil {
		return false
	}
	r := l.referrals[legKey{string(*id), sipwire.ToTag(in)}]
	if r == nil {
		return false
	}
	target := r.refer.From().Address
	if c := r.refer.Contact(); c != nil {
		target = c.Address
	}
	r.cseq++
	req := sipgo.NewRequest(sipgo.NOTIFY, target)
	forwards := sipgo.MaxForwardsHeader(70)
	callID := *r.refer.CallID()
	to, from := r.refer.From(), r.refer.To()
	req.AppendHeader(&forwards)
	req.AppendHeader(&sipgo.FromHeader{DisplayName: from.DisplayName, Address: from.Address, Params: sipgo.HeaderParams{{K: "tag", V: r.tag}}})
	req.AppendHeader(&sipgo.ToHeader{DisplayName: to.DisplayName, Address: to.Address, Params: to.Params})
	req.AppendHeader(&callID)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: r.cseq, MethodName: sipgo.NOTIFY})
	req.AppendHeader(contactOf(r.from))
	for _, name := range []string{"Event", "Subscription-State", "Content-Type"} {
		if h := in.GetHeader(name); h != nil {
			req.AppendHeader(h)
		}
	}
	req.SetBody(in.Body())
	decorate(req)
	state, _, _ := sipwire.ParseValue(sipwire.Header(in, "Subscription-State"))
	if strings.EqualFold(state, "terminated") {
		r.end(now)
	} else {
		l.ep.Q.Set(&r.life, now.Add(referralTime))
	}
	l.send(now, r.from, req, func(now time.Time, status int, res *sipgo.Response) {
		if status >= 300 {
			r.end(now)
		}
		l.respond(now, s, status)
	})
	return true
}

func (r *referral) end(now time.Time) {
	r.l.ep.Q.Stop(&r.life)
	delete(r.l.referrals, r.key)
}

// outside is a request to a device outside of calls.
func (l *life) outside(method sipgo.RequestMethod, d *binding, hops int, key legKey, from *sipgo.FromHeader, to *sipgo.ToHeader) *sipgo.Request {
	req := sipgo.NewRequest(method, d.contact)
	for _, p := range d.path {
		req.AppendHeader(sipgo.NewHeader("Route", p))
	}
	forwards := sipgo.MaxForwardsHeader(hops)
	callID := sipgo.CallIDHeader(key.callID)
	from.Params = sipgo.HeaderParams{{K: "tag", V: key.tag}}
	req.AppendHeader(&forwards)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: 1, MethodName: method})
	return req
}

// send sends a request outside of calls to a device. done gets the final
// status; res is nil where none came.
func (l *life) send(now time.Time, f *transport.Flow, req *sipgo.Request, done func(now time.Time, status int, res *sipgo.Response)) {
	l.ep.Send(now, &endpoint.Outgoing{
		Req: req, Flow: f, Pinned: true,
		Prepare: func(_ *transport.Flow, req *sipgo.Request) {
			if via := req.Via(); via != nil {
				via.Params.Add("branch", "z9hG4bKBroadWorks."+l.ep.ID(20))
			}
		},
		OnResponse: func(now time.Time, r *sipgo.Response) {
			if r.StatusCode >= 200 {
				done(now, r.StatusCode, r)
			}
		},
		OnFailed: func(now time.Time, err error) { done(now, statusOf(err), nil) },
	})
}
