package call

import (
	"context"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// leg is one dialog of a call (RFC 3261 §12) with its media.
type leg struct {
	c         *Call
	flow      transaction.Flow
	remoteTag string

	localURI, remoteURI sipgo.Uri // without tags; From and To of our requests
	localName           string
	remoteName          string
	target              sipgo.Uri // remote target: the peer's Contact
	routes              []string  // route set as it was written, in the order of our Route headers
	localCSeq           uint32
	remoteCSeq          uint32
	haveRemoteCSeq      bool

	rseq      uint32 // of the latest reliable provisional response
	exchanged bool   // offer and answer went reliably before the 2xx: others may follow (RFC 3311 §5.1)
	firm      bool   // an exchange has come to its end in media
	settled   bool   // ... and a description in the 2xx has no meaning any more
	updates   bool   // the peer allows UPDATE

	status    int    // of the latest provisional response
	asserted  string // P-Asserted-Identity of a provisional response
	confirmed bool
	over      bool // ended by our BYE
	first     *ack // of the 2xx of the initial INVITE
	owed      *ack // of a 2xx whose ACK waits for our answer to its offer

	media     offeranswer.Leg // for operations alone, like Call.made
	taken     bool            // so too: media have the answer to an offer of ours for good
	lastSDP   string          // the provisional answer already applied
	answered  bool            // an answer was applied
	narrow    bool            // our description last agreed says less than we want, as the peer's offer did
	remoteSDP string          // the peer's description last agreed
	holds     bool            // our offer, the open one or the last, says hold
	held      bool            // ... and what is agreed
	streams   []offeranswer.Stream
}

// fromResponse makes the dialog of a response to our INVITE (RFC 3261 §12.1.2).
func (c *Call) fromResponse(flow transaction.Flow, r *sipgo.Response) *leg {
	l := &leg{c: c, flow: flow, remoteTag: sipwire.ToTag(r), holds: c.holding.wish}
	l.localCSeq = max(c.cseq, c.lost[l.remoteTag])
	if f := c.invite.From(); f != nil {
		l.localURI, l.localName = f.Address, f.DisplayName
	}
	if t := c.invite.To(); t != nil {
		l.remoteURI, l.remoteName = t.Address, t.DisplayName
	}
	l.target = c.invite.Recipient
	l.refresh(r)
	l.recordRoute(r, true)
	c.legs = append(c.legs, l)
	return l
}

// fromRequest makes the dialog of an INVITE that came (RFC 3261 §12.1.1).
func (c *Call) fromRequest(flow transaction.Flow, req *sipgo.Request) *leg {
	l := &leg{c: c, flow: flow, remoteTag: sipwire.FromTag(req), localCSeq: uint32(c.env.Float() * (1 << 16))}
	if t := req.To(); t != nil {
		l.localURI, l.localName = t.Address, t.DisplayName
	}
	if f := req.From(); f != nil {
		l.remoteURI, l.remoteName = f.Address, f.DisplayName
	}
	l.target = l.remoteURI
	l.refresh(req)
	l.recordRoute(req, false)
	if cseq := req.CSeq(); cseq != nil {
		l.remoteCSeq, l.haveRemoteCSeq = cseq.SeqNo, true
	}
	c.legs = append(c.legs, l)
	return l
}

// refresh takes the peer's Contact (RFC 3261 §12.2: target refresh), and what
// he can do.
func (l *leg) refresh(m interface {
	sipgo.Message
	Contact() *sipgo.ContactHeader
}) {
	if sipwire.Find(m, "Allow") != nil {
		l.updates = sipwire.HasToken(m, "Allow", string(sipgo.UPDATE))
	}
	if contact := m.Contact(); contact != nil && contact.Address.Host != "" {
		l.target = *contact.Address.Clone()
	}
}

// recordRoute sets the route set from Record-Route: reversed where we are the
// caller (RFC 3261 §12.1.2), as it stands where we are not (§12.1.1).
func (l *leg) recordRoute(m sipgo.Message, reverse bool) {
	l.routes = slices.Collect(sipwire.Values(m, "Record-Route"))
	if reverse {
		slices.Reverse(l.routes)
	}
}

// request makes a request within the dialog (RFC 3261 §12.2.1.1).
func (l *leg) request(method sipgo.RequestMethod) *sipgo.Request {
	cseq := l.localCSeq
	if method != sipgo.ACK {
		l.localCSeq++
		cseq = l.localCSeq
	}
	target, routes := sipwire.RouteTo(l.target, l.routes)
	req := sipgo.NewRequest(method, target)
	for _, r := range routes {
		req.AppendHeader(sipgo.NewHeader("Route", r))
	}
	maxForwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	from := &sipgo.FromHeader{DisplayName: l.localName, Address: l.localURI, Params: sipgo.HeaderParams{{K: "tag", V: l.c.localTag}}}
	to := &sipgo.ToHeader{DisplayName: l.remoteName, Address: l.remoteURI}
	if l.remoteTag != "" {
		to.Params = sipgo.HeaderParams{{K: "tag", V: l.remoteTag}}
	}
	req.AppendHeader(from)
	req.AppendHeader(to)
	callID := sipgo.CallIDHeader(l.c.id)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: cseq, MethodName: method})
	switch method {
	case sipgo.INVITE, sipgo.UPDATE, sipgo.REFER, sipgo.SUBSCRIBE, sipgo.NOTIFY:
		if contact := l.c.env.Contact(l.flow); contact != nil {
			req.AppendHeader(contact)
		}
	}
	if method != sipgo.ACK {
		l.c.env.Decorate(req)
	}
	return req
}

// ack is the ACK of one 2xx.
type ack struct {
	invite Outgoing
	cseq   uint32
	req    *sipgo.Request // nil while it waits for our answer to the offer in the 2xx
	offer  []byte         // that one
}

// owe notes a 2xx, whose ACK is to follow: at once, or with our answer to the
// offer in it.
func (l *leg) owe(invite Outgoing, cseq uint32) *ack {
	l.owed = &ack{invite: invite, cseq: cseq}
	return l.owed
}

// acknowledge sends the ACK that is owed: it answers a 2xx of our INVITE with
// its number (RFC 3261 §13.2.2.4), and is kept for when the 2xx comes again.
func (l *leg) acknowledge(now time.Time, sdp []byte) {
	a := l.owed
	l.owed = nil
	a.req = l.request(sipgo.ACK)
	a.req.ReplaceHeader(&sipgo.CSeqHeader{SeqNo: a.cseq, MethodName: sipgo.ACK})
	if sdp != nil {
		setSDP(a.req, sdp)
	}
	a.again(now, l)
}

// again sends the ACK as its 2xx has come (again), unless it is still waiting.
func (a *ack) again(now time.Time, l *leg) {
	if a.req != nil {
		l.c.env.Ack(now, l.flow, a.req, a.invite)
	}
}

// bye ends a confirmed dialog. The dialog is over when the BYE is sent
// (RFC 3261 §15.1.1); until it is answered the call is only remembered.
func (l *leg) bye(now time.Time, reasons []Reason) {
	if l.owed != nil {
		// A BYE comes after the ACK (RFC 3261 §15), and that has an answer.
		l.acknowledge(now, declined(l.owed.offer))
	}
	l.over = true
	req := l.request(sipgo.BYE)
	appendReasons(req, reasons)
	l.c.byes++
	l.c.env.Request(now, l.flow, req, byeHandler{l})
}

type byeHandler struct{ l *leg }

func (h byeHandler) NextCSeq() uint32 { h.l.localCSeq++; return h.l.localCSeq }

func (h byeHandler) Response(now time.Time, _ transaction.Flow, r *sipgo.Response) {
	if r.StatusCode >= 200 {
		h.Failed(now, nil)
	}
}

func (h byeHandler) Failed(now time.Time, _ error) {
	h.l.c.byes--
	h.l.c.release(now)
}

// setAnswer gives the peer's answer to media.
func (l *leg) setAnswer(now time.Time, sdp []byte, provisional bool, done func(now time.Time, err error)) {
	l.set(now, sdp, nil, provisional, false, done)
}

// setFirst is setAnswer for what a 2xx says after a reliable answer: it counts
// where media have not taken that one. bad is why it cannot be read.
func (l *leg) setFirst(now time.Time, sdp []byte, bad error, done func(now time.Time, err error)) {
	l.set(now, sdp, bad, false, true, done)
}

func (l *leg) set(now time.Time, sdp []byte, bad error, provisional, first bool, done func(now time.Time, err error)) {
	c := l.c
	var err error
	var streams []offeranswer.Stream
	ignored := false
	c.do(now, func(ctx context.Context) {
		if ignored = first && l.taken; ignored {
			return
		}
		if err = bad; err == nil {
			err = l.makeMedia()
		}
		if err != nil {
			return
		}
		if err = l.media.SetAnswer(ctx, sdp, provisional); err == nil {
			l.taken = l.taken || !provisional
			streams = l.media.Streams()
		}
	}, func(now time.Time) {
		if err == nil && !ignored {
			l.streams, l.held, l.remoteSDP = streams, l.holds, string(sdp)
			l.answered, l.firm, l.narrow = true, l.firm || !provisional, false
			c.changed(now, l)
			l.audible(now)
		}
		done(now, err)
	})
}

// makeMedia makes the leg's media unless it has them. Outside the loop.
func (l *leg) makeMedia() error {
	if l.media != nil {
		return nil
	}
	m, err := l.c.made.Leg(l.remoteTag)
	if err != nil {
		return err
	}
	l.media = m
	return nil
}

// drop closes a leg that did not become the call.
func (l *leg) drop(now time.Time) {
	c := l.c
	if r := c.reoff; r != nil && r.l == l {
		c.requeue(r) // for the dialog that becomes the call
	}
	c.lose(l)
	for i, x := range c.legs {
		if x == l {
			c.legs = append(c.legs[:i], c.legs[i+1:]...)
			break
		}
	}
	if c.state != Ended && (c.media != nil || c.mediaRun) {
		c.do(now, func(context.Context) {
			if l.media != nil {
				l.media.Close()
			}
		}, nil)
	}
	l.silenced(now)
}

// setSDP gives a message a session description.
func setSDP(m sipgo.Message, sdp []byte) {
	ct := sipgo.ContentTypeHeader("application/sdp")
	m.AppendHeader(&ct)
	m.SetBody(sdp)
}

func appendReasons(m sipgo.Message, reasons []Reason) {
	for _, r := range reasons {
		m.AppendHeader(sipgo.NewHeader("Reason", r.String()))
	}
}
