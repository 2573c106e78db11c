package siptest

import (
	"errors"
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

// handler is the lab as its endpoint sees it: in the loop.
type handler life

// methods are those that the lab understands; all else gets 405.
var methods = []string{"ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"}

// extensions are the option tags that may be required of the lab.
var extensions = []string{"100rel", "gruu", "norefersub", "outbound", "path", "replaces", "timer"}

// accept are the bodies that it reads.
const accept = "application/sdp,multipart/mixed"

// Request takes a new request (RFC 3261 §8.2).
func (h *handler) Request(now time.Time, s *transaction.Server) {
	l := (*life)(h)
	req := s.Request()
	if l.refuseByFault(now, s) {
		return
	}
	switch {
	case req.Method == sipgo.CANCEL:
		l.cancelled(now, s)
	case !slices.Contains(methods, string(req.Method)):
		l.respond(now, s, sipgo.StatusMethodNotAllowed)
	case sipwire.ToTag(req) != "":
		l.inDialog(now, s)
	case l.ep.Table.Merged(req):
		l.respond(now, s, sipgo.StatusLoopDetected)
	case req.Recipient.Scheme != "sip" && req.Recipient.Scheme != "sips" && req.Recipient.Scheme != "tel":
		l.respond(now, s, 416)
	case hops(req) == 0:
		l.respond(now, s, sipgo.StatusTooManyHops)
	case l.required(now, s):
	case req.Method == sipgo.REGISTER:
		l.register(now, s)
	case req.Method == sipgo.INVITE:
		l.invited(now, s)
	case req.Method == sipgo.REFER:
		l.referOutside(now, s)
	case req.Method == sipgo.SUBSCRIBE:
		l.subscribed(now, s)
	case req.Method == sipgo.MESSAGE:
		l.messaged(now, s)
	case req.Method == sipgo.OPTIONS:
		l.respond(now, s, sipgo.StatusOK, sipgo.NewHeader("Accept", accept))
	default:
		l.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
	}
}

// hops is how many more a request may take; the lab passes it on with one less.
func hops(req *sipgo.Request) int {
	if m := req.MaxForwards(); m != nil {
		return int(m.Val())
	}
	return 70
}

// required refuses what asks for an extension that the lab lacks.
func (l *life) required(now time.Time, s *transaction.Server) bool {
	unknown := sipwire.Unsupported(s.Request(), extensions)
	if len(unknown) == 0 {
		return false
	}
	l.respond(now, s, sipgo.StatusBadExtension, sipgo.NewHeader("Unsupported", strings.Join(unknown, ",")))
	return true
}

func (l *life) cancelled(now time.Time, s *transaction.Server) {
	invite := s.Cancels()
	if invite == nil {
		l.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	c, ok := call.Of(invite)
	if !ok {
		l.respond(now, s, sipgo.StatusOK)
		return
	}
	cancel := s.Request()
	res := sipwire.ResponseTo(cancel, sipgo.StatusOK, "", c.LocalTag())
	decorate(res)
	s.Respond(now, res)
	c.Cancelled(now, cancel)
}

func (l *life) inDialog(now time.Time, s *transaction.Server) {
	req := s.Request()
	g := l.find(req)
	if g == nil && (l.notified(now, s) || l.resubscribed(now, s)) {
		return
	}
	if g == nil {
		l.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	if l.required(now, s) {
		return
	}
	if l.cfg.Auth.InDialog {
		if _, ok := l.authenticate(now, s); !ok {
			return
		}
	}
	switch req.Method {
	case sipgo.OPTIONS:
		if g.m.Sequence(now, s) {
			l.respond(now, s, sipgo.StatusOK, sipgo.NewHeader("Accept", accept))
		}
	case sipgo.REFER:
		l.referred(now, s, g)
	case sipgo.INFO, sipgo.MESSAGE:
		l.informed(now, s, g)
	default:
		g.m.OnRequest(now, s)
	}
}

// find finds the leg that a request from its device belongs to.
func (l *life) find(req *sipgo.Request) *leg {
	id := req.CallID()
	if id == nil {
		return nil
	}
	return l.legs[legKey{string(*id), sipwire.ToTag(req)}]
}

// Ack takes the ACK of a 2xx.
func (h *handler) Ack(now time.Time, _ *transport.Flow, ack *sipgo.Request) {
	if g := (*life)(h).find(ack); g != nil {
		g.m.OnAck(now, ack)
	}
}

// Stray takes a response that nobody waits for; RFC 3261 §18.1.2 drops it.
func (h *handler) Stray(time.Time, *transport.Flow, *sipgo.Response) {}

var errNoFlow = errors.New("siptest: the device has no connection")

// Route is asked for nothing: every request of the lab goes to a device, over
// the flow it has.
func (h *handler) Route(now time.Time, _ *endpoint.Outgoing, ready func(now time.Time, f *transport.Flow, err error)) {
	ready(now, nil, errNoFlow)
}

// Widen finds no stream to a device on UDP: large requests go there as they
// are, fragmented, as BroadWorks sends them.
func (h *handler) Widen(now time.Time, _ *transport.Flow, ready func(now time.Time, wide *transport.Flow, err error)) {
	ready(now, nil, errNoFlow)
}

// FlowClosed takes the end of a connection.
func (h *handler) FlowClosed(_ time.Time, f *transport.Flow, _ error) { h.srv.loc.lost(f) }

// Pong and STUN are the answers to keep-alives, which the lab does not send.
func (h *handler) Pong(time.Time, *transport.Flow) {}

// STUN is like Pong.
func (h *handler) STUN(time.Time, *transport.Flow, [12]byte, netip.AddrPort, error) {}

var (
	allow     = strings.Join(methods, ",")
	supported = "100rel,norefersub,replaces,timer"
)

// decorate says in a message what the lab can do, in the manner of BroadWorks:
// a provisional response has a Supported that is empty.
func decorate(m sipgo.Message) {
	switch m := m.(type) {
	case *sipgo.Request:
		switch m.Method {
		case sipgo.INVITE, sipgo.UPDATE:
			m.AppendHeader(sipgo.NewHeader("Allow", allow))
			m.AppendHeader(sipgo.NewHeader("Supported", supported))
			m.AppendHeader(sipgo.NewHeader("Accept", accept))
		}
	case *sipgo.Response:
		method := sipgo.RequestMethod("")
		if cseq := m.CSeq(); cseq != nil {
			method = cseq.MethodName
		}
		switch {
		case m.StatusCode == sipgo.StatusMethodNotAllowed,
			m.IsSuccess() && (method == sipgo.INVITE || method == sipgo.OPTIONS):
			m.AppendHeader(sipgo.NewHeader("Allow", allow))
			m.AppendHeader(sipgo.NewHeader("Supported", supported))
		case m.StatusCode > 100 && m.StatusCode < 200:
			m.AppendHeader(sipgo.NewHeader("Supported", ""))
		case m.StatusCode == sipgo.StatusUnsupportedMediaType:
			m.AppendHeader(sipgo.NewHeader("Accept", accept))
		}
	}
}
