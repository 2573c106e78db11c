package transaction

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// ClientUser is told what becomes of a client transaction.
type ClientUser interface {
	// Response hands over every provisional response, the final one, and for
	// an INVITE each 2xx that follows a 2xx (retransmissions and those of
	// other branches of a fork alike).
	Response(now time.Time, c *Client, r *sipgo.Response)

	// Failed says that there will be no final response: ErrTimeout, or what
	// FlowFailed or SendFailed was told. It comes once, and not after a final
	// response.
	Failed(now time.Time, c *Client, err error)
}

type clientState uint8

const (
	clientTrying clientState = iota // Calling, for an INVITE
	clientProceeding
	clientAccepted
	clientCompleted
	clientTerminated
)

// Client is a client transaction.
type Client struct {
	t      *Table
	flow   Flow
	user   ClientUser
	req    *sipgo.Request // until the final response
	branch string

	// One timer serves both deadlines: it is due at the next retransmission
	// or at end, whichever comes first.
	timer    timerq.Timer
	end      time.Time     // Timer B, F, D, K or M, or 64*T1 after a CANCEL; zero for none
	interval time.Duration // the latest setting of Timer A or E; 0: do not retransmit

	next, prev *Client // in Table.waiting while there is no final response

	ack []byte // of a final response other than 2xx, on an unreliable flow

	state      clientState
	invite     bool
	cancelled  bool // Cancel was called
	cancelSent bool
	reason     []sipgo.Header // for a CANCEL that waits for a provisional response
}

// Request is the request. It is nil after the final response was handed over:
// what lingers only absorbs retransmissions.
func (c *Client) Request() *sipgo.Request { return c.req }

// Flow is the flow the request went out on.
func (c *Client) Flow() Flow { return c.flow }

// Final tells whether a final response came or the transaction failed.
func (c *Client) Final() bool { return c.state >= clientAccepted }

// Forget lets go of the user, who hears nothing any more. The transaction
// goes on by itself; a further 2xx goes to Sink.Stray.
func (c *Client) Forget() { c.user = nil }

// SetUser gives the transaction another user, as when the one it had is done
// but a further 2xx is to be dealt with.
func (c *Client) SetUser(u ClientUser) { c.user = u }

// start sends the request: §17.1.1.2 for INVITE, §17.1.2.2 for others.
func (c *Client) start(now time.Time) {
	c.link()
	c.timer.F = c.due
	c.end = now.Add(64 * c.t.cfg.T1) // Timer B, Timer F
	if !c.flow.Reliable() {
		c.interval = c.t.cfg.T1 // Timer A, Timer E
	}
	c.arm(now)
	c.t.sink.Send(now, c.flow, c.req)
}

// arm sets the timer for what comes next.
func (c *Client) arm(now time.Time) {
	next := c.end
	if c.interval > 0 {
		if at := now.Add(c.interval); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if next.IsZero() {
		c.t.q.Stop(&c.timer)
		return
	}
	c.t.q.Set(&c.timer, next)
}

// due runs when the timer is. What is overdue after a pause of the whole
// program happens once, and the end takes precedence.
func (c *Client) due(now time.Time) {
	if !c.end.IsZero() && !now.Before(c.end) {
		if c.state >= clientAccepted {
			c.remove() // Timer D, K or M
		} else {
			c.fail(now, ErrTimeout)
		}
		return
	}
	// Timer A doubles without a limit (§17.1.1.2). Timer E doubles up to T2
	// (§17.1.2.2), and is T2 once there was a provisional response.
	c.interval *= 2
	if !c.invite && (c.interval > c.t.cfg.T2 || c.state == clientProceeding) {
		c.interval = c.t.cfg.T2
	}
	c.arm(now)
	c.t.sink.Send(now, c.flow, c.req)
}

// receive takes a response that belongs to the transaction.
func (c *Client) receive(now time.Time, f Flow, r *sipgo.Response) {
	switch {
	case c.state == clientCompleted:
		// A final response again: the ACK was lost.
		if c.ack != nil && r.StatusCode >= 300 {
			c.t.resend(now, c.flow, c.ack)
		}
	case c.state == clientAccepted:
		if r.StatusCode < 200 || r.StatusCode > 299 {
			return
		}
		if c.user == nil {
			c.t.sink.Stray(now, f, r)
			return
		}
		c.user.Response(now, c, r)
	case c.state == clientTerminated:
	case r.StatusCode < 200:
		c.provisional(now, r)
	default:
		c.final(now, r)
	}
}

func (c *Client) provisional(now time.Time, r *sipgo.Response) {
	if c.state == clientTrying {
		c.state = clientProceeding
		if c.invite {
			// Timers A and B have done their work (§17.1.1.2): how long to
			// wait for an answer is the user's decision.
			c.interval, c.end = 0, time.Time{}
			c.arm(now)
		}
	}
	if c.user != nil {
		c.user.Response(now, c, r)
	}
	if c.cancelled && !c.cancelSent && c.state == clientProceeding {
		c.sendCancel(now)
	}
}

func (c *Client) final(now time.Time, r *sipgo.Response) {
	c.unlink()
	c.interval = 0
	var linger time.Duration
	var ack *sipgo.Request
	switch {
	case c.invite && r.StatusCode < 300:
		c.state = clientAccepted
		linger = 64 * c.t.cfg.T1 // Timer M, RFC 6026 §7.2
	case c.invite:
		c.state = clientCompleted
		ack = ackFor(c.req, r)
		if !c.flow.Reliable() {
			linger = 64 * c.t.cfg.T1 // Timer D, as long as the Timer H of the server
			c.ack = c.t.keep(ack)
		}
	default:
		c.state = clientCompleted
		if !c.flow.Reliable() {
			linger = c.t.cfg.T4 // Timer K
		}
	}
	c.end = now.Add(linger)
	if linger > 0 {
		c.arm(now)
	} else {
		c.remove()
	}
	if ack != nil {
		c.t.sink.Send(now, c.flow, ack)
	}
	if c.user != nil {
		c.user.Response(now, c, r)
	}
	c.req, c.reason = nil, nil
	if c.state != clientAccepted {
		c.user = nil
	}
}

// fail ends a transaction that has no final response.
func (c *Client) fail(now time.Time, err error) {
	if c.state >= clientAccepted {
		return
	}
	c.remove()
	if u := c.user; u != nil {
		c.user = nil
		u.Failed(now, c, err)
	}
}

// Terminate ends the transaction at once. Its user hears nothing any more.
func (c *Client) Terminate(now time.Time) {
	c.user = nil
	c.remove()
}

// remove takes the transaction out of the table.
func (c *Client) remove() {
	if c.state == clientTerminated {
		return
	}
	c.unlink()
	c.t.q.Stop(&c.timer)
	if c.t.clients[c.branch] == c {
		delete(c.t.clients, c.branch)
	} else if c.t.cancels[c.branch] == c {
		delete(c.t.cancels, c.branch)
	}
	c.state = clientTerminated
	c.ack = nil
}

func (c *Client) link() {
	w := &c.t.waiting
	c.prev, c.next = w.prev, w
	c.prev.next, w.prev = c, c
}

func (c *Client) unlink() {
	if c.next != nil {
		c.prev.next, c.next.prev = c.next, c.prev
		c.next, c.prev = nil, nil
	}
}

// Cancel asks the server to end an INVITE (RFC 3261 §9.1). The CANCEL, with
// the given header fields such as Reason, is a transaction of its own; it is
// sent once a provisional response has come. The transaction goes on to its
// final response, which may well be a 2xx that crossed the CANCEL. If none
// comes within 64*T1 after the CANCEL was sent, the user is told ErrTimeout.
//
// After a final response, a second time, and for other methods Cancel does
// nothing.
func (c *Client) Cancel(now time.Time, headers ...sipgo.Header) {
	if !c.invite || c.cancelled || c.Final() {
		return
	}
	c.cancelled, c.reason = true, headers
	if c.state == clientProceeding {
		c.sendCancel(now)
	}
}

func (c *Client) sendCancel(now time.Time) {
	c.cancelSent = true
	c.end = now.Add(64 * c.t.cfg.T1)
	c.arm(now)
	req := cancelFor(c.req, c.reason)
	c.reason = nil
	if c.t.cancels[c.branch] != nil {
		return
	}
	x := &Client{t: c.t, flow: c.flow, req: req, branch: c.branch}
	c.t.cancels[c.branch] = x
	x.start(now)
}

// ackFor is the ACK of a final response other than 2xx (§17.1.1.3).
func ackFor(invite *sipgo.Request, r *sipgo.Response) *sipgo.Request {
	ack := derived(invite, sipgo.ACK)
	if to := r.To(); to != nil {
		ack.AppendHeader(to)
	}
	return ack
}

// cancelFor is the CANCEL of an INVITE (§9.1).
func cancelFor(invite *sipgo.Request, headers []sipgo.Header) *sipgo.Request {
	cancel := derived(invite, sipgo.CANCEL)
	if to := invite.To(); to != nil {
		cancel.AppendHeader(to)
	}
	for _, h := range headers {
		cancel.AppendHeader(h)
	}
	return cancel
}

// derived is what ACK and CANCEL have in common: Request-URI, the top Via
// alone, Route, From, Call-ID and the number of the CSeq are those of the
// INVITE.
func derived(invite *sipgo.Request, method sipgo.RequestMethod) *sipgo.Request {
	req := sipgo.NewRequest(method, invite.Recipient)
	if via := invite.Via(); via != nil {
		req.AppendHeader(via)
	}
	hops := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	for _, h := range invite.Headers() {
		switch h := h.(type) {
		case *sipgo.FromHeader, *sipgo.CallIDHeader, *sipgo.RouteHeader:
			req.AppendHeader(h)
		case *sipgo.CSeqHeader:
			req.AppendHeader(&sipgo.CSeqHeader{SeqNo: h.SeqNo, MethodName: method})
		default:
			// The session is that of the INVITE too (RFC 7989).
			if h.Name() == "Route" || h.Name() == "Session-ID" {
				req.AppendHeader(h)
			}
		}
	}
	return req
}
