package sip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/flow"
	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/passport"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// UA is a user agent: one account with its registration and its calls. Make
// it with [New]. Its methods may be called from any goroutine.
type UA struct {
	cfg  Config
	acct account
	log  *slog.Logger
	ep   *endpoint.Endpoint
	res  locate.Resolver

	listening []listener       // complete when New returns
	called    []passport.Party // Config.Identity.Called

	incoming chan *Call
	refers   chan *ReferRequest
	messages chan *Message
	gone     chan struct{} // closed when a shutdown has nothing left to wait for

	// What follows belongs to the loop.
	calls    map[callKey]*dialogSet
	past     pastDialogs
	flows    []*accountFlow
	reg      *Registration
	aside    locate.Aside
	direct   map[hop]*transport.Flow
	draining bool // no new calls
	// verifying is how many calls wait for their Identity to be checked, with a
	// place in incoming each.
	verifying int

	subs         map[*Subscription]struct{}
	dialogs      map[callKey]func(now time.Time, s *transaction.Server) // of subscriptions
	reconnecting timerq.Timer
	backoff      flow.Backoff // of reconnecting
}

type callKey struct{ id, tag string }

// New makes a user agent, which does nothing yet but take requests on
// Config.Listen. Close it when it is not needed any more. The error says which
// field of cfg cannot be used, wrapping a *URIError where that is a URI, or is of
// an address in Listen.
func New(cfg *Config) (*UA, error) {
	if cfg == nil {
		return nil, fmt.Errorf("sip: no Config")
	}
	c := *cfg
	acct, err := parseAccount(&c.Account)
	if err != nil {
		return nil, err
	}
	if err := c.SessionTimer.check(); err != nil {
		return nil, err
	}
	if c.Identity.Certificates != nil && c.Identity.Roots == nil {
		return nil, fmt.Errorf("sip: Identity.Certificates without Identity.Roots")
	}
	called, err := c.Identity.calledParties()
	if err != nil {
		return nil, err
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.NewMedia == nil {
		c.NewMedia = NoMedia
	}
	if c.AcceptQueue <= 0 {
		c.AcceptQueue = 16
	}
	if c.MessageQueue <= 0 {
		c.MessageQueue = defaultMessageQueue
	}
	if c.MessageTypes == nil {
		c.MessageTypes = []string{"text/plain"}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if acct.instance == "" {
		id, err := uuid.NewRandomFromReader(c.Rand)
		if err != nil {
			return nil, fmt.Errorf("sip: randomness: %w", err)
		}
		acct.instance = "urn:uuid:" + id.String()
	}
	ua := &UA{
		cfg: c, acct: acct, log: c.Logger, called: called,
		incoming: make(chan *Call, c.AcceptQueue),
		refers:   make(chan *ReferRequest, c.AcceptQueue),
		messages: make(chan *Message, c.MessageQueue),
		gone:     make(chan struct{}),
		calls:    make(map[callKey]*dialogSet),
		direct:   make(map[hop]*transport.Flow),
		subs:     make(map[*Subscription]struct{}),
		dialogs:  make(map[callKey]func(time.Time, *transaction.Server)),
	}
	if ua.res, err = newResolver(c.Network.Resolver); err != nil {
		return nil, err
	}
	ua.ep, err = endpoint.New(endpoint.Config{
		Transport: ua.transportConfig(),
		Timers:    transaction.Config{T1: c.Timers.T1, T2: c.Timers.T2, T4: c.Timers.T4},
		Handler:   (*handler)(ua),
		Logger:    c.Logger,
		Rand:      c.Rand,
		UserAgent: c.UserAgent,
		Digest: digest.NewClient(digest.ClientConfig{
			Credentials:  acct.credential,
			MinAlgorithm: acct.minDigest,
			Rand:         c.Rand,
		}),
	})
	if err != nil {
		return nil, err
	}
	ua.reconnecting.F, ua.backoff.Rand = ua.reconnect, ua.ep.Float
	for i := range acct.flows {
		ua.flows = append(ua.flows, newAccountFlow(ua, i+1))
	}
	// With the first socket the loop may have something to do.
	for _, where := range c.Listen {
		if err := ua.listen(where); err != nil {
			ua.ep.Close()
			return nil, err
		}
	}
	return ua, nil
}

// AOR is the account's address of record.
func (ua *UA) AOR() string { return ua.acct.aor.String() }

// Instance is the device's identity (RFC 5626 §4.1), for an app to keep.
func (ua *UA) Instance() string { return ua.acct.instance }

// Addrs are the addresses of Config.Listen, in their order, with the ports that
// the system has given for port 0.
func (ua *UA) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(ua.listening))
	for i, l := range ua.listening {
		addrs[i] = l.addr
	}
	return addrs
}

// Close ends all calls and subscriptions, unregisters, and closes every connection. It waits
// for the answers, two seconds at the most, and for connections that have
// something left to write. It is idempotent.
func (ua *UA) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = ua.Shutdown(ctx)
	return nil
}

// Shutdown is Close with a bound of the caller's: what is not answered when
// the context ends is left as it is. It returns the context's error then.
// Calls that ring here are refused with 480 (Temporarily Unavailable), so that
// they go on ringing elsewhere.
func (ua *UA) Shutdown(ctx context.Context) error {
	err := ua.ep.Run(ctx, ua.drain)
	if err == nil {
		select {
		case <-ua.gone:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-ua.ep.Context().Done(): // another was faster
		}
	}
	_ = ua.ep.Run(context.Background(), ua.abandon)
	ua.ep.Close()
	if errors.Is(err, endpoint.ErrClosed) {
		return nil
	}
	return err
}

// drain begins a shutdown.
func (ua *UA) drain(now time.Time) {
	if ua.draining {
		return
	}
	ua.draining = true
	for _, set := range ua.calls {
		if set.m.Reject(now, sipgo.StatusTemporarilyUnavailable, "") != nil {
			set.c.hangup(now)
		}
	}
	ua.ep.Q.Stop(&ua.reconnecting)
	for sub := range ua.subs {
		sub.m.Close(now)
	}
	ua.unregister(now)
	ua.checkGone(now)
}

// abandon ends what a shutdown could not wait for.
func (ua *UA) abandon(now time.Time) {
	for _, set := range ua.calls {
		set.m.Abort(now, ErrClosed)
	}
	for sub := range ua.subs {
		sub.m.Stop()
		(*subscriptionObserver)(sub).Ended(now, ErrClosed)
	}
	if ua.reg != nil {
		ua.reg.end(now, ErrUnregistered)
	}
}

// checkGone looks whether there is anything left to stay for: for connections
// that were only kept for calls and subscriptions, and for a shutdown.
func (ua *UA) checkGone(time.Time) {
	if ua.needed() {
		return
	}
	for _, f := range ua.flows {
		if f.linger {
			f.drop(nil)
		}
	}
	if ua.draining && ua.reg == nil {
		select {
		case <-ua.gone:
		default:
			close(ua.gone)
		}
	}
}

// needed tells whether there is something that needs a connection.
func (ua *UA) needed() bool { return len(ua.calls)+len(ua.subs) > 0 }

// Accept waits for the next incoming call. The call rings at the caller's
// once [Call.Ring] is called; Answer and Reject decide it. A call that its
// caller gave up before Accept is still returned, ended. After Close the error
// is ErrClosed.
func (ua *UA) Accept(ctx context.Context) (*Call, error) {
	if ua.ep.Context().Err() != nil {
		return nil, ErrClosed
	}
	select {
	case c := <-ua.incoming:
		return c, nil
	default:
	}
	select {
	case c := <-ua.incoming:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-ua.ep.Context().Done():
		return nil, ErrClosed
	}
}

// Options asks a server or peer what it can do (RFC 3261 §11); uri is as in
// [UA.Dial], and "" is the account's own server. It returns the methods in Allow:
// none where it does not say.
//
// Errors are *StatusError, *TimeoutError, *AuthError, *DialError,
// *CertificateError, *URIError, ErrNoFlow, ErrClosed, or the context's.
func (ua *UA) Options(ctx context.Context, uri string) ([]string, error) {
	to := ua.acct.registrar
	if uri != "" {
		var err error
		if to, err = ua.target(uri); err != nil {
			return nil, err
		}
	}
	type outcome struct {
		allow []string
		err   error
	}
	result := make(chan outcome, 1)
	err := ua.ep.Run(ctx, func(now time.Time) {
		req := ua.request(sipgo.OPTIONS, to)
		cseq := req.CSeq().SeqNo
		ua.ep.Send(now, &endpoint.Outgoing{
			Req:      req,
			NextCSeq: func() uint32 { cseq++; return cseq },
			OnResponse: func(_ time.Time, r *sipgo.Response) {
				if r.StatusCode < 200 {
					return
				}
				if r.StatusCode >= 300 {
					result <- outcome{err: publicError("OPTIONS", call.Refused("OPTIONS", r))}
					return
				}
				result <- outcome{allow: sipwire.Tokens(r, "Allow")}
			},
			OnFailed: func(_ time.Time, err error) { result <- outcome{err: publicError("OPTIONS", err)} },
		})
	})
	if err != nil {
		return nil, publicError("OPTIONS", err)
	}
	select {
	case o := <-result:
		return o.allow, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-ua.ep.Context().Done():
		return nil, ErrClosed
	}
}

// request makes a request outside of dialogs, complete but for Via.
func (ua *UA) request(method sipgo.RequestMethod, to sipgo.Uri) *sipgo.Request {
	req := sipgo.NewRequest(method, to)
	for _, r := range ua.preloaded() {
		req.AppendHeader(sipgo.NewHeader("Route", r))
	}
	maxForwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(&sipgo.FromHeader{DisplayName: ua.acct.name, Address: ua.acct.aor, Params: sipgo.HeaderParams{{K: "tag", V: ua.ep.Tag()}}})
	req.AppendHeader(&sipgo.ToHeader{Address: to})
	id := sipgo.CallIDHeader(ua.ep.ID(24))
	req.AppendHeader(&id)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: 1, MethodName: method})
	ua.decorate(req)
	return req
}

// target reads where a call is to go: a SIP URI, or just a user or number at
// the account's domain.
func (ua *UA) target(s string) (sipgo.Uri, error) {
	var uri sipgo.Uri
	s = strings.TrimSpace(s)
	if s == "" {
		return uri, &URIError{Reason: "empty"}
	}
	if !strings.Contains(s, ":") && !strings.Contains(s, "@") {
		s += "@" + ua.acct.aor.Host
	}
	if scheme, _, ok := strings.Cut(s, ":"); !ok || strings.Contains(scheme, "@") {
		s = ua.acct.aor.Scheme + ":" + s
	}
	if strings.ContainsAny(s, " \t\r\n<>\"") {
		return uri, &URIError{URI: s, Reason: "white space, quotes or brackets"}
	}
	if len(s) >= 4 && strings.EqualFold(s[:4], "tel:") {
		user, ok := telUser(s[4:])
		switch {
		case !ok:
			return uri, &URIError{URI: s, Reason: "no telephone number"}
		case ua.acct.numberless():
			return uri, &URIError{URI: s, Reason: "there is no server who would know a number"}
		}
		s = ua.acct.aor.Scheme + ":" + user + "@" + ua.acct.aor.Host + ";user=phone"
	}
	if err := sipgo.ParseUri(s, &uri); err != nil {
		return uri, &URIError{URI: s, Reason: err.Error()}
	}
	if uri.Scheme != "sip" && uri.Scheme != "sips" {
		return uri, &URIError{URI: s, Reason: "scheme is not sip, sips or tel"}
	}
	if uri.Host == "" {
		return uri, &URIError{URI: s, Reason: "no host"}
	}
	return uri, nil
}

func (ua *UA) timers() call.Timers {
	return call.Timers{T1: ua.cfg.Timers.T1, T2: ua.cfg.Timers.T2, Session: ua.cfg.SessionTimer.internal()}
}
