package sip

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// Resolver asks DNS for Network. The zero values of its answers' types are
// empty records; a name that does not exist is an error that is ErrNotFound.
type Resolver = locate.Resolver

// NAPTR and SRV are what a Resolver answers with.
type (
	NAPTR = locate.NAPTR
	SRV   = locate.SRV
)

// ErrNotFound says that DNS knows no server for a domain.
var ErrNotFound = locate.ErrNotFound

// CertificateReason is why a server's certificate was refused.
type CertificateReason = certcheck.Reason

// The reasons.
const (
	CertificateUntrusted   = certcheck.Untrusted     // no chain to a trusted root
	CertificateExpired     = certcheck.Expired       // expired
	CertificateNotYetValid = certcheck.NotYetValid   // from the future: perhaps the clock is wrong
	CertificateWrongName   = certcheck.WrongName     // valid, for another domain
	CertificateWrongUsage  = certcheck.WrongUsage    // valid, for something else than servers
	CertificateNone        = certcheck.NoCertificate // the server showed none
	CertificateInvalid     = certcheck.Invalid       // anything else; the error says what
	TLSTooOld              = certcheck.OldVersion    // the server speaks no TLS that is new enough
)

func newResolver(r Resolver) (locate.Resolver, error) {
	if r != nil {
		return r, nil
	}
	return &locate.System{}, nil
}

// query is where a flow of the account leads.
func (ua *UA) query(redirected *sipgo.Uri) locate.Query {
	hop := ua.acct.registrar
	switch {
	case redirected != nil:
		hop = *redirected
	case ua.acct.proxy != nil:
		hop = *ua.acct.proxy
	}
	q := queryFor(&hop)
	if q.Transport == "" && (q.Port != 0 || ua.acct.transport != TLS) {
		// What the URI leaves open, the account decides; a domain alone on
		// TLS is DNS's to tell more about (RFC 3263 §4.1).
		q.Transport = locate.Transport(ua.acct.transport)
	}
	q.Secure = q.Secure || ua.acct.secure
	q.Supported = ua.supported()
	return q
}

// supported are the transports an account may use: its own, and for an
// unencrypted one those DNS may point to instead.
func (ua *UA) supported() []locate.Transport {
	switch ua.acct.transport {
	case TLS, WSS, WS:
		return []locate.Transport{locate.Transport(ua.acct.transport)}
	case TCP:
		return []locate.Transport{locate.TCP, locate.TLS, locate.UDP}
	}
	return []locate.Transport{locate.UDP, locate.TCP, locate.TLS}
}

func queryFor(uri *sipgo.Uri) locate.Query {
	q := locate.Query{Host: uri.Host, Port: uint16(uri.Port), Secure: uri.Scheme == "sips"}
	if t, ok := uri.UriParams.Get("transport"); ok {
		q.Transport = locate.Transport(strings.ToLower(t))
	}
	if maddr, ok := uri.UriParams.Get("maddr"); ok && maddr != "" {
		q.Host = maddr // RFC 3261 §16.6
	}
	return q
}

// tlsConfig verifies the server that a target is said to be.
func (ua *UA) tlsConfig(t locate.Target) *tls.Config {
	var c TLSConfig
	if ua.cfg.TLS != nil {
		c = *ua.cfg.TLS
	}
	o := certcheck.Options{Domain: t.Domain, AllowWildcard: c.Wildcard, MinVersion: c.MinVersion}
	if !ua.acct.direct {
		o.Domain = ua.acct.domain()
	}
	if c.SRVTarget {
		o.SRVTarget = t.Host
	}
	return certcheck.Config(&tls.Config{RootCAs: c.RootCAs, Certificates: c.Certificates}, o)
}

// udpQueue is asked of the system for the datagrams that wait to be read. The
// 200 KB that many give hold what 3,000 calls a second send in 20 ms; what is
// lost beyond that is sent again after 500.
const udpQueue = 4 << 20

func (ua *UA) transportConfig() transport.Config {
	n := ua.cfg.Network
	var server *tls.Config
	if c := ua.cfg.TLS; c != nil && len(c.Certificates) > 0 {
		server = &tls.Config{Certificates: c.Certificates, MinVersion: max(c.MinVersion, tls.VersionTLS12)}
	}
	cfg := transport.Config{
		TLS:  server,
		Dial: n.Dial, Listen: n.Listen, ListenPacket: n.ListenPacket,
		Logger: ua.log, ReadBuffer: udpQueue,
	}
	if tap := ua.cfg.Tap; tap != nil {
		cfg.Tap = func(e transport.Event) {
			tap(Packet{Time: e.Time, Sent: e.Out, Transport: Transport(e.Proto), Local: e.Local, Remote: e.Remote, Data: e.Data})
		}
	}
	return cfg
}

// listen takes requests on an address such as "udp:127.0.0.1:5060". Before
// the loop has anything else to do.
func (ua *UA) listen(where string) error {
	proto, addr, ok := strings.Cut(where, ":")
	if !ok {
		return fmt.Errorf("sip: Config.Listen: %q is not transport:address:port", where)
	}
	switch Transport(proto) {
	case UDP, TCP, WS:
	case TLS, WSS:
		if ua.cfg.TLS == nil || len(ua.cfg.TLS.Certificates) == 0 {
			return fmt.Errorf("sip: Config.Listen: %q: there is no certificate in TLSConfig.Certificates", where)
		}
	default:
		return fmt.Errorf("sip: Config.Listen: %q: unknown transport", where)
	}
	local, err := ua.ep.Net.Listen(context.Background(), transport.Proto(proto), addr)
	if err != nil {
		return fmt.Errorf("sip: Config.Listen: %w", err)
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return fmt.Errorf("sip: Config.Listen: %w", err)
	}
	return ua.ep.Run(context.Background(), func(time.Time) {
		ua.listening = append(ua.listening, listener{transport.Proto(proto), at})
	})
}

// listener is one of Config.Listen.
type listener struct {
	proto transport.Proto
	addr  netip.AddrPort
}

// connect opens a flow to the first target that answers. Outside the loop.
func (ua *UA) connect(ctx context.Context, targets []locate.Target) (*transport.Flow, locate.Target, error) {
	to := make([]transport.Target, len(targets))
	for i, t := range targets {
		to[i] = transport.Target{Proto: transport.Proto(t.Transport), Addr: t.Addr, Host: t.Host, Domain: t.Domain}
		if to[i].Proto.Secure() {
			to[i].TLS = ua.tlsConfig(t)
			to[i].Domain = to[i].TLS.ServerName
		}
	}
	f, err := ua.ep.Net.DialAny(ctx, to)
	if err != nil {
		return nil, locate.Target{}, err
	}
	for _, t := range targets {
		if isSame(t.Addr, f.Remote()) && string(t.Transport) == string(f.Proto()) {
			return f, t, nil
		}
	}
	return f, locate.Target{}, nil
}

// route finds the flow of a request that goes to no flow of the account's: a
// direct account's. Flows are kept for the next request to the same place.
func (ua *UA) route(now time.Time, o *endpoint.Outgoing, ready func(now time.Time, f *transport.Flow, err error)) {
	next := nextHop(o.Req)
	if ua.acct.proxy != nil {
		next = *ua.acct.proxy
	}
	q := queryFor(&next)
	if q.Transport == "" {
		q.Transport = locate.Transport(ua.acct.transport)
	}
	q.Secure = q.Secure || ua.acct.secure
	to := hop{string(q.Transport), q.Host, q.Port, q.Secure}
	if f := ua.direct[to]; f != nil && f.Err() == nil && !tried(o, f) {
		ready(now, f, nil)
		return
	}
	q.Supported = []locate.Transport{locate.UDP, locate.TCP, locate.TLS, locate.WS, locate.WSS}
	ua.search(q, to, o, ready)
}

// search asks DNS for servers and connects to one that the request has not
// tried.
func (ua *UA) search(q locate.Query, to hop, o *endpoint.Outgoing, ready func(now time.Time, f *transport.Flow, err error)) {
	finder := locate.Finder{Resolver: ua.res}
	var targets []locate.Target
	var f *transport.Flow
	var err error
	ua.ep.Go(func(ctx context.Context) {
		targets, err = finder.Find(ctx, q)
	}, func(now time.Time) {
		for _, t := range o.Tried {
			for _, x := range targets {
				if x.Addr == t.Remote() {
					ua.aside.Fail(now, x, 0)
				}
			}
		}
		var usable int
		targets, usable = ua.aside.Order(now, targets)
		if err == nil && usable == 0 && len(o.Tried) > 0 {
			err = ErrNoFlow
		}
		if err != nil {
			ready(now, nil, err)
			return
		}
		ua.ep.Go(func(ctx context.Context) {
			f, _, err = ua.connect(ctx, targets)
		}, func(now time.Time) {
			if err == nil {
				ua.remember(to, f)
			}
			ready(now, f, err)
		}, nil)
	}, nil)
}

// widen finds a TCP connection to where a UDP flow leads. That there is none
// is remembered for as long as a server that failed is set aside.
func (ua *UA) widen(now time.Time, f *transport.Flow, ready func(now time.Time, wide *transport.Flow, err error)) {
	target := locate.Target{Transport: locate.TCP, Addr: f.Remote(), Host: f.Remote().Addr().String(), Domain: ua.acct.domain()}
	to := hop{transport: "widened", host: target.Host, port: target.Addr.Port()}
	if wide := ua.direct[to]; wide != nil && wide.Err() == nil {
		ready(now, wide, nil)
		return
	}
	if !ua.aside.Until(now, target).IsZero() {
		ready(now, nil, ErrNoFlow)
		return
	}
	var wide *transport.Flow
	var err error
	ua.ep.Go(func(ctx context.Context) {
		// Whoever takes TCP does so at once; a call does not wait for long.
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		wide, _, err = ua.connect(ctx, []locate.Target{target})
	}, func(now time.Time) {
		if err != nil {
			ua.aside.Fail(now, target, 10*time.Minute)
		} else {
			ua.remember(to, wide)
		}
		ready(now, wide, err)
	}, nil)
}

// hop is where a flow of a direct account leads.
type hop struct {
	transport, host string
	port            uint16
	secure          bool
}

// maxDirect bounds the flows that a direct account remembers.
const maxDirect = 4096

func (ua *UA) remember(to hop, f *transport.Flow) {
	if len(ua.direct) >= maxDirect {
		busy := make(map[*transport.Flow]bool, len(ua.calls))
		for _, set := range ua.calls {
			f, _ := set.m.Flow().(*transport.Flow)
			busy[f], busy[set.c.flow.Load()] = true, true
		}
		for _, old := range ua.direct {
			if !busy[old] {
				old.Close(nil)
			}
		}
		clear(ua.direct)
	}
	to.transport, to.host = strings.Clone(to.transport), strings.Clone(to.host) // parts of whole messages
	ua.direct[to] = f
}

// forget takes note of a connection that has ended.
func (ua *UA) forget(f *transport.Flow) {
	if f.Accepted() {
		return // was never remembered
	}
	for to, old := range ua.direct {
		if old == f {
			delete(ua.direct, to)
		}
	}
}

// dialogFlow is where a request within a dialog goes: f, on which the dialog
// lives, or nil where it has to be looked for. A server takes care of its
// accounts' routes, and a connection leads to who has made it. But over UDP the
// peer of a direct account is where he says (RFC 3261 §12.2.1.1, §8.1.2), which need
// not be where he spoke from: unless he names something that can only be an
// address behind his NAT, or not for us to resolve.
func (ua *UA) dialogFlow(f *transport.Flow, req *sipgo.Request) *transport.Flow {
	if !ua.acct.direct || f == nil || f.Reliable() || ua.acct.proxy != nil {
		return f
	}
	next := nextHop(req)
	addr, err := netip.ParseAddr(strings.Trim(next.Host, "[]"))
	if err != nil || !addr.IsGlobalUnicast() || addr.IsPrivate() && !f.Remote().Addr().IsPrivate() {
		return f
	}
	q := queryFor(&next)
	if q.Port == 0 {
		q.Port = locate.UDP.DefaultPort()
	}
	if q.Secure || q.Transport != "" && q.Transport != locate.UDP || !isSame(netip.AddrPortFrom(addr, q.Port), f.Remote()) {
		return nil
	}
	return f
}

// nextHop is the first of the route set, else the Request-URI (RFC 3261 §8.1.2).
func nextHop(req *sipgo.Request) sipgo.Uri {
	if r := req.GetHeader("Route"); r != nil {
		if _, uri, _, err := sipwire.ParseNameAddr(r.Value()); err == nil {
			return uri
		}
	}
	return req.Recipient
}

func tried(o *endpoint.Outgoing, f *transport.Flow) bool {
	for _, t := range o.Tried {
		if t == f || t.Remote() == f.Remote() && t.Proto() == f.Proto() {
			return true
		}
	}
	return false
}

func isSame(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap() == b.Addr().Unmap()
}

func flowInfo(f *transport.Flow) FlowInfo {
	if f == nil {
		return FlowInfo{}
	}
	info := FlowInfo{Transport: Transport(f.Proto()), Local: f.Local().String(), Remote: f.Remote().String()}
	if cs := f.TLS(); cs != nil {
		info.TLSVersion, info.CipherSuite = cs.Version, cs.CipherSuite
	}
	return info
}
