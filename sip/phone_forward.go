package sip

import (
	"context"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// forwarding is where calls are sent on to; "" is nowhere.
type forwarding struct {
	always, busy, noAnswer string
	after                  time.Duration
}

const defaultForwardAfter = 20 * time.Second

// SetForward sends calls on by itself (302): all of them, those for which there is no
// room, and those that were not answered for a while. Each is a target like
// that of [UA.Dial], read for the account that is called; "" does not
// forward so. after is how long to ring; 0 is 20 s. Calls that ring already are as they were.
// It is for servers without forwarding of their own. The error is a *URIError, and
// nothing was changed.
//
// Diversion tells the target's side who has sent the call on, and why
// (RFC 5806); History-Info is carried along where the caller's side speaks
// it (RFC 7044). A call that we have sent on before, as they say, is not sent on
// again.
func (p *Phone) SetForward(always, busy, noAnswer string, after time.Duration) error {
	for _, target := range []string{always, busy, noAnswer} {
		if target == "" {
			continue
		}
		for _, ua := range p.cfg.UAs {
			if _, err := ua.target(target); err != nil {
				return err
			}
		}
	}
	if after <= 0 {
		after = defaultForwardAfter
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forward = forwarding{always: always, busy: busy, noAnswer: noAnswer, after: after}
	return nil
}

// looped tells whether a call has been here before and was sent on.
func (forwarding) looped(c *Call) bool {
	id := c.Identity()
	me := c.ua.acct.aor
	is := func(p Party) bool {
		uri, err := sipwire.ParseURI(p.URI)
		return err == nil && strings.EqualFold(uri.Host, me.Host) && uri.User == me.User
	}
	return slices.ContainsFunc(id.Diversions, func(d Diversion) bool { return is(d.Party) }) ||
		slices.ContainsFunc(id.History, func(h HistoryEntry) bool { return is(h.Party) && len(h.Reasons) > 0 })
}

// redirect sends a call on. If that cannot be, since the target is our own
// address, it is refused with otherwise; 0: it rings on.
func (p *Phone) redirect(c *Call, target, reason string, otherwise int) {
	to, err := c.ua.target(target)
	if err != nil || sipwire.SameURI(&to, &c.ua.acct.aor) {
		if otherwise != 0 {
			_ = c.Reject(p.ctx, otherwise)
		}
		return
	}
	_ = c.redirect(p.ctx, to, reason)
}

// redirect refuses a call with 302 and says where it is to go instead.
func (c *Call) redirect(ctx context.Context, to sipgo.Uri, reason string) error {
	return c.try(ctx, func(now time.Time) error {
		return c.m.Reject(now, sipgo.StatusMovedTemporarily, "", c.diverted(to, reason)...)
	})
}

// diverted are the header fields of a redirection of ours.
func (c *Call) diverted(to sipgo.Uri, reason string) []sipgo.Header {
	contact := &sipgo.ContactHeader{Address: to}
	headers := []sipgo.Header{contact}
	ours := sipwire.FormatNameAddr(c.ua.acct.name, &c.ua.acct.aor, sipgo.HeaderParams{{K: "reason", V: reason}, {K: "counter", V: "1"}})
	for _, v := range append([]string{ours}, slices.Collect(sipwire.Values(c.invite, "Diversion"))...) {
		if len(headers) <= maxDiversions {
			headers = append(headers, sipgo.NewHeader("Diversion", v)) // the latest on top (RFC 5806)
		}
	}
	if history := c.Identity().History; len(history) > 0 && sipwire.HasToken(c.invite, "Supported", "histinfo") {
		// The response has what the request had (RFC 7044), and the Contact
		// says which entry was mapped to somebody else (§5).
		contact.Params = sipgo.HeaderParams{{K: "mp", V: history[len(history)-1].Index}}
		n := 0
		for v := range sipwire.Values(c.invite, "History-Info") {
			if n++; n <= maxDiversions {
				headers = append(headers, sipgo.NewHeader("History-Info", v))
			}
		}
	}
	return headers
}
