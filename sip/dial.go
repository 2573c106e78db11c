package sip

import (
	"context"
	"fmt"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// DialOptions are the wishes about one call. The zero value has none.
type DialOptions struct {
	// Media is what the offer shall contain.
	Media offeranswer.Options
	// MaxRedirects is how many redirections (3xx) the call follows, to the
	// targets that are named, the most wanted first and none twice (RFC 3261
	// §8.1.3.4). 0 is 5; negative: none, and a 3xx is the call's end.
	MaxRedirects int
	// Replaces asks the callee to let this call take the place of one that he
	// has (RFC 3891), as the side sees it whose place it is. Nil: none. A
	// callee that cannot do it refuses with 420 (Bad Extension).
	Replaces *Dialog
	// EarlyOnly goes with Replaces: only if that call is not answered yet;
	// otherwise it is refused with 486 (Busy Here).
	EarlyOnly bool
	// Join asks the callee to mix this call with one that he has (RFC 3911),
	// as his peer in it sees it. Nil: none. Not together with Replaces.
	Join *Dialog
	// Headers are further header fields of the INVITE, name and value. Those
	// that the call sets by itself (From, Via, Contact, Content-Type, …), a name
	// that is no token and a value with a line end are an error.
	Headers [][2]string
	// DisplayName in From, in place of the account's; "" is the account's.
	DisplayName string
	// Anonymous keeps our identity from the callee: From says nothing, the
	// server is asked for privacy (RFC 3323, RFC 3325 §9.3) and told who we
	// are in P-Preferred-Identity, and the Contact is the temporary GRUU,
	// where the server gives one (RFC 5627 §3.1.2).
	Anonymous bool
}

// Dial calls somebody and waits until he has answered. uri is a SIP or tel
// URI, or a user or number at the account's domain. If the context ends before that,
// the call is given up (CANCEL).
//
// Errors are *StatusError (486, 603, …), *TimeoutError, *AuthError,
// *DialError, *CertificateError, *URIError, ErrNoFlow, ErrClosed, an error of
// media or about the options, or the context's. No Call is returned with one.
func (ua *UA) Dial(ctx context.Context, uri string, o *DialOptions) (*Call, error) {
	c, err := ua.Start(ctx, uri, o)
	if err != nil {
		return nil, err
	}
	if err := c.Answered(ctx); err != nil {
		_ = c.Hangup(ctx)
		return nil, err
	}
	return c, nil
}

// Start begins a call and returns at once: Events and Answered tell how it goes on.
// The context is for the beginning only. The error is a *URIError, ErrClosed,
// about the options, or the context's; whatever the network says comes later.
func (ua *UA) Start(ctx context.Context, uri string, o *DialOptions) (*Call, error) {
	if o == nil {
		o = &DialOptions{}
	}
	inv, err := ua.invitation(uri, o)
	if err != nil {
		return nil, err
	}
	c := newCall(ua, Outgoing)
	c.anonymous = o.Anonymous
	refused := false
	err = ua.ep.Run(ctx, func(now time.Time) {
		if refused = ua.draining; refused {
			return
		}
		set := c.outgoing(inv)
		c.begun(set)
		c.local, c.remote = set.local, set.remote
		set.begin(now)
	})
	switch {
	case err != nil:
		// What Run was given may still run, but not after this.
		ua.ep.Post(func(now time.Time) {
			if c.m != nil {
				c.hangup(now)
			}
		})
		return nil, publicError("INVITE", err)
	case refused:
		return nil, ErrClosed
	}
	return c, nil
}

// invitation says in an INVITE what the options wish.
func (ua *UA) invitation(uri string, o *DialOptions) (*invitation, error) {
	to, err := ua.target(uri)
	if err != nil {
		return nil, err
	}
	headers := make([]sipgo.Header, 0, len(o.Headers))
	for _, h := range o.Headers {
		if err := checkHeader(h[0], h[1]); err != nil {
			return nil, err
		}
		headers = append(headers, sipgo.NewHeader(h[0], h[1]))
	}
	if headers, err = appendReferences(headers, o); err != nil {
		return nil, err
	}
	name := o.DisplayName
	if name == "" {
		name = ua.acct.name
	}
	inv := &invitation{to: to, from: ua.acct.aor, name: name, headers: headers, media: o.Media,
		targets: targets{left: redirections(o.MaxRedirects)}}
	if o.Anonymous {
		inv.headers = append(inv.headers, sipgo.NewHeader("Privacy", "id"),
			sipgo.NewHeader("P-Preferred-Identity", sipwire.FormatNameAddr(name, &inv.from, nil)))
		inv.from, inv.name = sipgo.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, "Anonymous"
	}
	return inv, nil
}

// begin finds the way first, since media have to know the address that the
// peer will see.
func (s *dialogSet) begin(now time.Time) {
	probe := &endpoint.Outgoing{Req: s.m.Invite()}
	(*handler)(s.c.ua).Route(now, probe, func(now time.Time, f *transport.Flow, err error) {
		switch {
		case s.m.State() == call.Ended: // hung up meanwhile
		case err != nil:
			s.m.Abort(now, err)
		default:
			s.c.flow.Store(f)
			s.m.Dial(now, s.inv.media)
		}
	})
}

// checkHeader refuses what would break a message, or belongs to the machine.
func checkHeader(name, value string) error {
	switch {
	case !sipwire.IsToken(name):
		return fmt.Errorf("sip: header field name %q is not a token", name)
	case strings.ContainsAny(value, "\r\n\x00"):
		return fmt.Errorf("sip: header field %s: the value has a line end", name)
	}
	switch strings.ToLower(name) {
	case "content-encoding", "e", "content-disposition", "rack", "rseq", "via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "max-forwards", "contact", "m", "route", "record-route",
		"content-length", "l", "content-type", "c", "authorization", "proxy-authorization", "allow", "supported", "k", "require",
		"replaces", "join", "refer-to", "r":
		return fmt.Errorf("sip: header field %s is not for the caller to set", name)
	}
	return nil
}
