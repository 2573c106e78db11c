package sip

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// handler is the UA as its endpoint sees it: in the loop.
type handler UA

// Request takes a new request (RFC 3261 §8.2).
func (h *handler) Request(now time.Time, s *transaction.Server) {
	ua := (*UA)(h)
	req := s.Request()
	if !ua.acct.direct && !ua.cfg.AnySource && !ua.own(s) {
		// With a registrar, only what the server has let through.
		ua.log.Warn("request from a stranger refused", "method", req.Method, "from", s.Flow().(*transport.Flow).Remote())
		ua.respond(now, s, sipgo.StatusForbidden)
		return
	}
	switch {
	case req.Method == sipgo.CANCEL:
		ua.cancelled(now, s)
	case !slices.Contains(methods, string(req.Method)):
		// §8.2.1, before anything else is looked at.
		ua.respond(now, s, sipgo.StatusMethodNotAllowed)
	case sipwire.ToTag(req) != "":
		ua.inDialog(now, s)
	case req.Method != sipgo.INVITE && sipwire.Find(req, "Replaces") != nil:
		ua.respond(now, s, sipgo.StatusBadRequest) // RFC 3891 §3
	case ua.ep.Table.Merged(req):
		ua.respond(now, s, sipgo.StatusLoopDetected) // §8.2.2.2
	case req.Recipient.Scheme != "sip" && req.Recipient.Scheme != "sips" && req.Recipient.Scheme != "tel":
		ua.respond(now, s, 416) // §8.2.2.1
	case ua.required(now, s):
	default:
		if take := outside[req.Method]; take != nil {
			take(ua, now, s)
			return
		}
		// BYE and UPDATE outside of a dialog (§15.1.2).
		ua.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
	}
}

// own tells whether a request came over one of the account's own flows.
func (ua *UA) own(s *transaction.Server) bool {
	from := s.Flow().(*transport.Flow)
	for _, f := range ua.flows {
		if f.flow == nil {
			continue
		}
		if f.flow == from || !f.flow.Reliable() && isSame(f.flow.Remote(), from.Remote()) {
			return true // over UDP the server's address, also on the stream that a large request took
		}
	}
	return false
}

// required refuses what asks for an extension that we lack (RFC 3261 §8.2.2.3).
func (ua *UA) required(now time.Time, s *transaction.Server) bool {
	unknown := sipwire.Unsupported(s.Request(), ua.extensions())
	if len(unknown) == 0 {
		return false
	}
	ua.respond(now, s, sipgo.StatusBadExtension, sipgo.NewHeader("Unsupported", strings.Join(unknown, ", ")))
	return true
}

func (ua *UA) cancelled(now time.Time, s *transaction.Server) {
	invite := s.Cancels()
	if invite == nil {
		ua.respond(now, s, sipgo.StatusCallTransactionDoesNotExists) // §9.2
		return
	}
	c, ok := call.Of(invite)
	if !ok {
		ua.respond(now, s, sipgo.StatusOK)
		return
	}
	// "The To tag of the response to the CANCEL and the To tag in the
	// response to the original request SHOULD be the same" (§9.2).
	cancel := s.Request() // the transaction lets go of it with its final response
	res := sipwire.ResponseTo(cancel, sipgo.StatusOK, "", c.LocalTag())
	ua.ep.Server(res)
	if set := ua.calls[callKey{c.ID(), c.LocalTag()}]; set != nil {
		set.c.saySession(res)
	}
	s.Respond(now, res)
	c.Cancelled(now, cancel)
}

func (ua *UA) inDialog(now time.Time, s *transaction.Server) {
	req := s.Request()
	set := ua.find(req)
	other := apart[req.Method]
	switch {
	case set == nil && other == nil:
		ua.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
		return
	case ua.required(now, s):
		return
	case set == nil:
		other(ua, now, s)
		return
	}
	set.c.learnSession(req, sipwire.FromTag(req))
	if take := within[req.Method]; take != nil {
		if set.m.Sequence(now, s) {
			take(set.c, now, s)
		}
		return
	}
	set.m.OnRequest(now, s)
}

// find finds the dialogs that a request from the peer belongs to.
func (ua *UA) find(req *sipgo.Request) *dialogSet {
	id := req.CallID()
	if id == nil {
		return nil
	}
	return ua.calls[callKey{string(*id), sipwire.ToTag(req)}]
}

// options answers as an INVITE would be answered (RFC 3261 §11.2).
func (ua *UA) options(now time.Time, s *transaction.Server) {
	status := sipgo.StatusOK
	if busy := ua.busy(); busy != 0 && sipwire.ToTag(s.Request()) == "" {
		status = busy
	}
	ua.respond(now, s, status,
		sipgo.NewHeader("Accept", call.Accepted),
		sipgo.NewHeader("Accept-Encoding", "identity"),
		sipgo.NewHeader("Accept-Language", "en"))
}

// busy is how new calls are refused; 0: they are not.
func (ua *UA) busy() int {
	switch {
	case ua.draining:
		return sipgo.StatusTemporarilyUnavailable
	case ua.full():
		return sipgo.StatusBusyHere
	}
	return 0
}

// full tells whether Config.AcceptQueue is reached.
func (ua *UA) full() bool { return len(ua.incoming)+ua.verifying >= cap(ua.incoming) }

// invited takes the INVITE of a new call.
func (ua *UA) invited(now time.Time, s *transaction.Server) {
	if ua.replacing(now, s) {
		return
	}
	if status := ua.busy(); status != 0 {
		ua.respond(now, s, status)
		return
	}
	if !takesSDP(s.Request()) {
		ua.respond(now, s, sipgo.StatusNotAcceptable)
		return
	}
	joins, ok := ua.joining(now, s)
	if !ok {
		return
	}
	c := newCall(ua, Incoming)
	c.joins = joins
	set := c.incoming(now, s)
	if set == nil {
		return
	}
	c.begun(set)
	c.invite, c.state = s.Request(), CallIncoming
	c.local, c.remote = set.local, set.remote
	c.flow.Store(s.Flow().(*transport.Flow))
	c.log.add(Event{Time: now, Kind: StateChanged, State: CallIncoming})
	c.announce(now)
}

// takesSDP tells whether the caller can read the description in our answer:
// without Accept he can (RFC 3261 §20.1).
func takesSDP(req *sipgo.Request) bool {
	if sipwire.Find(req, "Accept") == nil {
		return true
	}
	for v := range sipwire.Values(req, "Accept") {
		kind, _, _ := strings.Cut(v, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "application/sdp", "application/*", "*/*":
			return true
		}
	}
	return false
}

func (ua *UA) respond(now time.Time, s *transaction.Server, status int, headers ...sipgo.Header) {
	res := sipwire.ResponseTo(s.Request(), status, "", ua.ep.Tag())
	for _, h := range headers {
		res.AppendHeader(h)
	}
	ua.decorate(res)
	ua.saySession(res, s.Request())
	s.Respond(now, res)
}

// Ack takes the ACK of a 2xx.
func (h *handler) Ack(now time.Time, _ *transport.Flow, ack *sipgo.Request) {
	ua := (*UA)(h)
	if set := ua.find(ack); set != nil {
		set.c.learnSession(ack, sipwire.FromTag(ack))
		set.m.OnAck(now, ack)
	}
}

// Stray takes a response without a transaction. What is left of a call is
// gone by then; RFC 3261 §18.1.2 says to drop it.
func (h *handler) Stray(time.Time, *transport.Flow, *sipgo.Response) {}

// Route finds a flow for a request.
func (h *handler) Route(now time.Time, o *endpoint.Outgoing, ready func(now time.Time, f *transport.Flow, err error)) {
	ua := (*UA)(h)
	if ua.acct.direct {
		ua.route(now, o, ready)
		return
	}
	for _, f := range ua.flows {
		if f.up() && !tried(o, f.flow) {
			ready(now, f.flow, nil)
			return
		}
	}
	for _, f := range ua.flows {
		if f.up() {
			continue // it failed this request
		}
		f.want(now, ready)
		return
	}
	// Every flow there is has failed this request: another server may not, if
	// there is one. The same again would say the same, or take the request for
	// one that came twice (RFC 3261 §8.2.2.2).
	f := ua.flows[0]
	if !f.elsewhere(o) {
		ready(now, nil, ErrNoFlow)
		return
	}
	f.lost(now, ErrNoFlow)
	f.want(now, func(now time.Time, fl *transport.Flow, err error) {
		if err == nil && tried(o, fl) {
			fl, err = nil, ErrNoFlow
		}
		ready(now, fl, err)
	})
}

// Widen finds a stream for a request that is too large for UDP.
func (h *handler) Widen(now time.Time, f *transport.Flow, ready func(now time.Time, wide *transport.Flow, err error)) {
	(*UA)(h).widen(now, f, ready)
}

// FlowClosed takes the end of a connection.
func (h *handler) FlowClosed(now time.Time, fl *transport.Flow, err error) {
	for _, f := range h.flows {
		if f.flow == fl {
			f.lost(now, err)
			(*UA)(h).resettle(now)
			return
		}
	}
	(*UA)(h).forget(fl)
	(*UA)(h).resettle(now)
}

// Pong takes the answer to a ping.
func (h *handler) Pong(now time.Time, fl *transport.Flow) {
	for _, f := range h.flows {
		if f.flow == fl && f.keep != nil {
			f.keep.Pong(now)
		}
	}
}

// STUN takes the answer to a Binding request.
func (h *handler) STUN(now time.Time, fl *transport.Flow, tx [12]byte, mapped netip.AddrPort, err error) {
	for _, f := range h.flows {
		if f.flow == fl && f.keep != nil {
			f.keep.STUN(now, tx, mapped, err)
		}
	}
}

// decorate says in a message what we are and can do.
func (ua *UA) decorate(m sipgo.Message) {
	switch m := m.(type) {
	case *sipgo.Request:
		switch m.Method {
		case sipgo.INVITE, sipgo.OPTIONS, sipgo.UPDATE:
			m.AppendHeader(sipgo.NewHeader("Allow", allow))
			m.AppendHeader(sipgo.NewHeader("Supported", ua.says()))
		}
		if m.Method == sipgo.INVITE {
			m.AppendHeader(sipgo.NewHeader("Allow-Events", allowEvents()))
		}
		ua.ep.UserAgent(m)
	case *sipgo.Response:
		if m.StatusCode == sipgo.StatusMethodNotAllowed || m.StatusCode/100 == 2 && hasAllow(m) {
			m.AppendHeader(sipgo.NewHeader("Allow", allow))
			m.AppendHeader(sipgo.NewHeader("Supported", ua.says()))
		}
		if cseq := m.CSeq(); cseq != nil && cseq.MethodName == sipgo.INVITE && m.StatusCode > 100 && m.StatusCode < 300 {
			// What may come in the dialog (RFC 6665 §8.2.2): talk and hold too.
			m.AppendHeader(sipgo.NewHeader("Allow-Events", allowEvents()))
		}
		ua.ep.Server(m)
	}
}

var (
	allow     = strings.Join(methods, ", ")
	supported = strings.Join(extensions, ", ")
)

// hasAllow tells whether a 2xx says what we can do: that of an INVITE or
// OPTIONS does (RFC 3261 §13.3.1.4, §11.2).
func hasAllow(r *sipgo.Response) bool {
	cseq := r.CSeq()
	return cseq != nil && (cseq.MethodName == sipgo.INVITE || cseq.MethodName == sipgo.OPTIONS)
}
