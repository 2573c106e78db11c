package endpoint

import (
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// maxLate bounds the dialogs that a fork can make of an INVITE whose call is over.
const maxLate = 32

// late answers the 2xx that still come to an INVITE whose call is over. The
// transaction waits 64*T1 for them (RFC 6026 §7.2); with the call that would be
// most of the memory of a user agent that makes many. All it needs is in the
// responses.
type late struct {
	e     *Endpoint
	auth  []sipgo.Header    // credentials of the INVITE, for its ACK (RFC 3261 §22.1)
	ended []string          // remote tags of dialogs that have had their BYE
	cseqs map[string]uint32 // of dialogs that have had other requests, by remote tag
}

// Release lets go of whoever sent an INVITE that was answered, once the call
// is over. A 2xx that still comes is acknowledged and, unless it is that of the
// dialog with the given remote tag, ended with BYE (RFC 3261 §13.2.2.4). cseqs are
// the numbers of the dialogs, by remote tag, that have had requests besides the
// INVITE. In the loop.
func (o *Outgoing) Release(remoteTag string, cseqs map[string]uint32) {
	if o.client == nil || !o.done || !o.client.Final() {
		return
	}
	l := &late{e: o.e, cseqs: cseqs, ended: []string{strings.Clone(remoteTag)}} // a tag is a part of a whole message
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		l.auth = append(l.auth, o.Req.GetHeaders(name)...)
	}
	o.client.SetUser(l)
}

func (l *late) Response(now time.Time, c *transaction.Client, r *sipgo.Response) {
	cseq := r.CSeq()
	if !r.IsSuccess() || cseq == nil || r.From() == nil || r.To() == nil || r.CallID() == nil {
		return
	}
	ack := inDialog(r, sipgo.ACK, cseq.SeqNo)
	f, _ := c.Flow().(*transport.Flow)
	ack.PrependHeader(l.e.via(f))
	for _, h := range l.auth {
		ack.AppendHeader(h)
	}
	(*sink)(l.e).Send(now, f, ack)

	tag := sipwire.ToTag(r)
	if slices.Contains(l.ended, tag) || len(l.ended) > maxLate {
		return
	}
	l.ended = append(l.ended, tag)
	next := max(cseq.SeqNo, l.cseqs[tag]) + 1
	l.e.Send(now, &Outgoing{
		Req: inDialog(r, sipgo.BYE, next), Flow: f,
		NextCSeq:   func() uint32 { next++; return next },
		OnResponse: func(time.Time, *sipgo.Response) {},
		OnFailed:   func(time.Time, error) {},
	})
}

// Failed is not called after a final response.
func (*late) Failed(time.Time, *transaction.Client, error) {}

// inDialog makes a request in the dialog of a 2xx to our INVITE (RFC 3261 §12.1.2).
func inDialog(r *sipgo.Response, method sipgo.RequestMethod, cseq uint32) *sipgo.Request {
	target := r.To().Address
	if contact := r.Contact(); contact != nil && contact.Address.Host != "" {
		target = contact.Address
	}
	routes := slices.Collect(sipwire.Values(r, "Record-Route"))
	slices.Reverse(routes)
	target, routes = sipwire.RouteTo(target, routes)
	req := sipgo.NewRequest(method, target)
	for _, route := range routes {
		req.AppendHeader(sipgo.NewHeader("Route", route))
	}
	maxForwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	for _, h := range []sipgo.Header{r.From(), r.To(), r.CallID()} {
		req.AppendHeader(h)
	}
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: cseq, MethodName: method})
	return req
}
