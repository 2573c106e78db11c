package endpoint

import (
	"errors"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// Outgoing is a request on its way: through server location, failover and
// authentication until there is a final response or nothing left to try. Its
// fields are set before [Endpoint.Send] and not changed after.
type Outgoing struct {
	// Req is complete but for its Via.
	Req *sipgo.Request
	// Flow to send on; nil asks Handler.Route, and so does a flow that has
	// ended.
	Flow *transport.Flow
	// ViaParams are added to the Via (RFC 6223 keep).
	ViaParams []sipgo.HeaderKV
	// Pinned says that no other flow will do: the request fails with Flow.
	Pinned bool
	// Prepare, if not nil, completes the request for the flow it goes out on.
	Prepare func(f *transport.Flow, req *sipgo.Request)
	// NextCSeq numbers a repeat of the request (RFC 3261 §22.2). Nil: not
	// repeated.
	NextCSeq func() uint32

	// OnResponse gets every provisional and final response but the
	// challenges that were answered; of an INVITE also each further 2xx.
	OnResponse func(now time.Time, r *sipgo.Response)
	// OnFailed is told, instead of a final response, why there is none.
	OnFailed func(now time.Time, err error)

	// Tried are the flows that failed so far, for Handler.Route.
	Tried []*transport.Flow

	e         *Endpoint
	client    *transaction.Client
	attempt   digest.Attempt
	lastErr   error // of the attempt before this
	routed    bool  // by Handler.Route, so that it may be asked again
	widened   bool  // a stream was asked for, since the request is large
	progress  bool  // a response came: no failover any more
	done      bool
	cancelled bool
	cancelHdr []sipgo.Header
}

// maxTries bounds the servers one request is offered to (RFC 3263 §4.3).
const maxTries = 8

// ErrCancelled is what a request fails with that was cancelled before it left.
var ErrCancelled = errors.New("cancelled before it was sent")

// Send starts a request. In the loop.
func (e *Endpoint) Send(now time.Time, o *Outgoing) {
	o.e = e
	if o.Flow != nil && o.Flow.Err() == nil {
		o.send(now, o.Flow)
		return
	}
	if o.Pinned {
		o.fail(now, &FlowError{transport.ErrClosed})
		return
	}
	o.route(now)
}

func (o *Outgoing) route(now time.Time) {
	o.routed = true
	o.e.cfg.Handler.Route(now, o, func(now time.Time, f *transport.Flow, err error) {
		switch {
		case o.done:
		case o.cancelled:
			o.fail(now, ErrCancelled)
		case err != nil:
			if o.lastErr != nil {
				err = o.lastErr // what the servers that were tried had to say
			}
			o.fail(now, err)
		default:
			o.send(now, f)
		}
	})
}

func (o *Outgoing) send(now time.Time, f *transport.Flow) {
	o.Flow = f
	req := o.Req
	for req.RemoveHeader("Via") {
	}
	via := o.e.via(f)
	via.Params = append(via.Params, o.ViaParams...)
	req.PrependHeader(via)
	if o.Prepare != nil {
		o.Prepare(f, req)
	}
	if d := o.e.cfg.Digest; d != nil {
		for req.RemoveHeader("Authorization") {
		}
		for req.RemoveHeader("Proxy-Authorization") {
		}
		uri := sipwire.FormatURI(&req.Recipient)
		for _, h := range d.Authorize(&o.attempt, string(req.Method), uri, req.Body()) {
			req.AppendHeader(sipgo.NewHeader(h.Name, h.Value))
		}
	}
	if mtu := f.MTU(); mtu > 0 && !o.widened && len(o.e.write(req)) > mtu {
		o.e.written = nil // it will change
		// "If a request is within 200 bytes of the path MTU, or if it is
		// larger than 1300 bytes and the path MTU is unknown, the request
		// MUST be sent using an RFC 2914 congestion controlled transport
		// protocol, such as TCP" (RFC 3261 §18.1.1) - if there is one; if
		// not, it goes over UDP after all.
		o.widened = true
		o.e.cfg.Handler.Widen(now, f, func(now time.Time, wide *transport.Flow, err error) {
			switch {
			case o.done:
			case o.cancelled:
				o.fail(now, ErrCancelled)
			case err != nil:
				o.send(now, f)
			default:
				o.send(now, wide)
			}
		})
		return
	}
	client, err := o.e.Table.Send(now, f, req, (*user)(o)) // which need not be written again
	o.e.written = nil
	if err != nil {
		o.fail(now, err)
		return
	}
	if !o.done {
		o.client = client
	}
}

// Cancel ends an INVITE (RFC 3261 §9.1). What was not sent yet fails with
// ErrCancelled at once; otherwise a final response is still to come.
func (o *Outgoing) Cancel(now time.Time, headers ...sipgo.Header) {
	if o.done || o.cancelled {
		return
	}
	o.cancelled, o.cancelHdr = true, headers
	if o.client == nil {
		o.fail(now, ErrCancelled)
		return
	}
	o.client.Cancel(now, headers...)
}

// Done tells whether the request got its final response or failed.
func (o *Outgoing) Done() bool { return o.done }

// Unavailable is the 503 of the last server there was to try.
type Unavailable struct{ Response *sipgo.Response }

func (e *Unavailable) Error() string {
	return "503 " + e.Response.Reason
}

func (o *Outgoing) fail(now time.Time, err error) {
	if o.done {
		return
	}
	o.done = true
	if u, ok := errors.AsType[*Unavailable](err); ok {
		o.OnResponse(now, u.Response) // a response after all
		return
	}
	o.OnFailed(now, err)
}

// user is the transaction's side of an Outgoing.
type user Outgoing

func (u *user) Response(now time.Time, c *transaction.Client, r *sipgo.Response) {
	o := (*Outgoing)(u)
	if o.client != nil && c != o.client {
		return // an earlier attempt's retransmission
	}
	switch {
	case r.StatusCode < 200:
		o.progress = o.progress || r.StatusCode > 100
		o.OnResponse(now, r)
		return
	case o.done:
		if r.IsSuccess() { // a fork's 2xx, or one again (RFC 6026 §7.2)
			o.OnResponse(now, r)
		}
		return
	case (r.StatusCode == 401 || r.StatusCode == 407) && o.e.cfg.Digest != nil && o.NextCSeq != nil:
		www, proxy := challenges(r, "WWW-Authenticate"), challenges(r, "Proxy-Authenticate")
		err := o.e.cfg.Digest.Challenge(&o.attempt, www, proxy)
		if errors.Is(err, digest.ErrNoChallenge) {
			break // a refusal like any other
		}
		if err != nil {
			o.fail(now, err)
			return
		}
		o.repeat(now)
		return
	case r.StatusCode == 503 && !o.progress && o.routed && o.again(now, &Unavailable{r}):
		return
	}
	if err := o.verify(r); err != nil {
		o.fail(now, err)
		return
	}
	o.done = true
	o.OnResponse(now, r)
}

// challenges are the values of a challenge header field: one each, since the
// parameters of a challenge are separated by commas too.
func challenges(r *sipgo.Response, name string) []string {
	var vs []string
	for _, h := range r.GetHeaders(name) {
		vs = append(vs, h.Value())
	}
	return vs
}

// verify takes what the server says of the credentials (RFC 7616 §3.5). Only
// proof that it does not know the password is an error; what cannot be read
// is passed over.
func (o *Outgoing) verify(r *sipgo.Response) error {
	d := o.e.cfg.Digest
	if d == nil {
		return nil
	}
	for _, name := range []string{"Authentication-Info", "Proxy-Authentication-Info"} {
		v := sipwire.Header(r, name)
		if v == "" {
			continue
		}
		if err := d.Info(&o.attempt, name[0] == 'P', v, r.Body()); errors.Is(err, digest.ErrRspAuth) {
			return err
		}
	}
	return nil
}

func (u *user) Failed(now time.Time, c *transaction.Client, err error) {
	o := (*Outgoing)(u)
	if o.client != nil && c != o.client || o.done {
		return
	}
	// What belongs to a dialog stays on its flow, as long as that lives.
	if !o.progress && (o.routed || o.Flow.Err() != nil) && o.again(now, err) {
		return
	}
	o.fail(now, err)
}

// repeat sends the request again with credentials: a new transaction with the
// next CSeq (RFC 3261 §22.2).
func (o *Outgoing) repeat(now time.Time) {
	if o.cancelled {
		o.fail(now, ErrCancelled)
		return
	}
	o.client, o.progress = nil, false
	o.Req = o.Req.Clone()
	if cseq := o.Req.CSeq(); cseq != nil {
		o.Req.ReplaceHeader(&sipgo.CSeqHeader{SeqNo: o.NextCSeq(), MethodName: cseq.MethodName})
	}
	o.e.Send(now, o)
}

// again offers the request to the next server, if it may go elsewhere: with a
// new branch, all else the same (RFC 3263 §4.3).
func (o *Outgoing) again(now time.Time, err error) bool {
	if o.Pinned || o.cancelled || len(o.Tried) >= maxTries {
		return false
	}
	o.lastErr = err
	o.Tried = append(o.Tried, o.Flow)
	o.client, o.progress = nil, false
	o.Req = o.Req.Clone()
	o.route(now)
	return true
}

// SendAck sends the ACK of a 2xx, which belongs to no transaction
// (RFC 3261 §13.2.2.4), and leaves it ready to be sent again. It carries the
// credentials of its INVITE (§22.1); invite may be nil. Where the flow is nil
// or has ended, Handler.Route is asked for another. In the loop.
func (e *Endpoint) SendAck(now time.Time, f *transport.Flow, ack *sipgo.Request, invite *Outgoing) {
	if f == nil || f.Err() != nil {
		e.cfg.Handler.Route(now, &Outgoing{Req: ack}, func(now time.Time, f *transport.Flow, err error) {
			if err == nil {
				e.SendAck(now, f, ack, invite)
			}
		})
		return
	}
	if ack.Via() == nil {
		ack.PrependHeader(e.via(f))
		if invite != nil {
			for _, name := range []string{"Authorization", "Proxy-Authorization"} {
				for _, h := range invite.Req.GetHeaders(name) {
					ack.AppendHeader(h)
				}
			}
		}
	}
	(*sink)(e).Send(now, f, ack)
}

// via makes the Via of a request on f.
func (e *Endpoint) via(f *transport.Flow) *sipgo.ViaHeader {
	via := &sipgo.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0",
		Transport: strings.ToUpper(string(f.Proto())),
		Params:    sipgo.HeaderParams{{K: "branch", V: e.Branch()}, {K: "rport"}},
	}
	via.Host, via.Port = f.Via()
	return via
}

// Respond answers a request. To gets the tag unless it has one. In the loop.
func (e *Endpoint) Respond(now time.Time, s *transaction.Server, status int, reason, tag string, headers ...sipgo.Header) {
	res := sipwire.ResponseTo(s.Request(), status, reason, tag)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	e.Server(res)
	s.Respond(now, res)
}

// Server names us in a response.
func (e *Endpoint) Server(res *sipgo.Response) {
	if e.cfg.UserAgent != "" && res.StatusCode > 100 {
		res.AppendHeader(sipgo.NewHeader("Server", e.cfg.UserAgent))
	}
}

// UserAgent names us in a request.
func (e *Endpoint) UserAgent(req *sipgo.Request) {
	if e.cfg.UserAgent != "" {
		req.AppendHeader(sipgo.NewHeader("User-Agent", e.cfg.UserAgent))
	}
}
