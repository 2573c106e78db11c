package siptest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// life is one run of the server, from Start or Restart to Kill or Close: what
// a crash loses.
type life struct {
	srv *Server
	cfg *Config
	ep  *endpoint.Endpoint
	eng *media.Engine // of the service numbers
	udp *transport.Socket
	net plugs

	ctx    context.Context // ends before the endpoint does
	cancel context.CancelFunc
	work   sync.WaitGroup // of the service numbers

	legs   map[legKey]*leg // in the loop
	bygone bygone          // the same
	parked map[*User]*parked

	referrals map[legKey]*referral // in the loop

	instants int // messages that are under way; in the loop

	conferences map[string]*conference // by the user part of their URI; in the loop
	reports     int                    // of what REFERs to them have brought

	watched  map[watched]*notifier // what has subscribers
	watching map[legKey]*notifier  // by the dialogs of their subscriptions
	stale    map[watched]bool      // to be told shortly
	lamps    map[*User]mailCount   // told without a subscription
}

type legKey struct{ callID, tag string }

// boot starts a life on s.addrs, and completes them.
func (s *Server) boot() (err error) {
	l := &life{srv: s, cfg: &s.cfg, legs: make(map[legKey]*leg), parked: make(map[*User]*parked), referrals: make(map[legKey]*referral),
		watched: make(map[watched]*notifier), watching: make(map[legKey]*notifier), stale: make(map[watched]bool), lamps: make(map[*User]mailCount),
		conferences: make(map[string]*conference)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			l.end()
		}
	}()
	n := &s.cfg.Network
	l.eng, err = media.NewEngine(&media.Config{
		SRTP:         media.SRTPOptional, // as the caller wants
		ListenPacket: s.loss.listen(n.ListenPacket),
		Rand:         s.cfg.Rand,
		Logger:       s.cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("siptest: %w", err)
	}
	l.ep, err = endpoint.New(endpoint.Config{
		Transport: transport.Config{
			Dial: n.Dial, Listen: l.net.listen(n.Listen), ListenPacket: l.net.listenPacket(n.ListenPacket),
			TLS: s.tls, Tap: s.tape.tap, Logger: s.cfg.Logger,
		},
		Timers:  transaction.Config{T1: s.cfg.Timers.T1, T2: s.cfg.Timers.T2, T4: s.cfg.Timers.T4},
		Handler: (*handler)(l),
		Logger:  s.cfg.Logger,
		Rand:    s.cfg.Rand,
		Append:  sipwire.AppendTight,
		Fate:    l.fate,
	})
	if err != nil {
		return fmt.Errorf("siptest: %w", err)
	}
	l.udp, err = l.ep.Net.UDP(l.ctx, s.addrs[sip.UDP].String())
	if err != nil {
		return fmt.Errorf("siptest: %w", err)
	}
	s.addrs[sip.UDP] = l.udp.Addr()
	for _, t := range []sip.Transport{sip.TCP, sip.TLS} {
		var a net.Addr
		if t == sip.TCP && s.addrs[t].Port() == 0 {
			// The port of UDP, so that a large request finds its way
			// (RFC 3261 §18.1.1); if it is free.
			a, err = l.ep.Net.Listen(l.ctx, transport.TCP, s.addrs[sip.UDP].String())
		}
		if a == nil {
			a, err = l.ep.Net.Listen(l.ctx, transport.Proto(t), s.addrs[t].String())
		}
		if err != nil {
			return fmt.Errorf("siptest: %w", err)
		}
		if s.addrs[t], err = netip.ParseAddrPort(a.String()); err != nil {
			return fmt.Errorf("siptest: %w", err)
		}
	}
	s.loc.replug(l.udp)
	s.life = l
	return nil
}

// end ends everything and waits for it.
func (l *life) end() {
	l.cancel()
	l.net.unplug()
	if l.ep != nil {
		l.ep.Close()
	}
	if l.eng != nil {
		l.eng.Close()
	}
	l.work.Wait()
}

// timers are those of calls. As BroadWorks does it, whoever calls refreshes: the
// lab where it is the caller of a device.
func (l *life) timers(refresher call.Side) call.Timers {
	return call.Timers{
		T1: l.cfg.Timers.T1, T2: l.cfg.Timers.T2,
		Session: call.SessionTimer{Expires: l.cfg.Calls.SessionExpires, Refresher: refresher},
	}
}

// respond answers a request outside of calls. In the loop, as is everything
// below.
func (l *life) respond(now time.Time, s *transaction.Server, status int, headers ...sipgo.Header) {
	l.respondWith(now, s, status, "", headers...)
}

func (l *life) respondWith(now time.Time, s *transaction.Server, status int, reason string, headers ...sipgo.Header) {
	if s.Final() {
		return // its connection was lost meanwhile, or the call has ended
	}
	res := sipwire.ResponseTo(s.Request(), status, reason, l.tag())
	for _, h := range headers {
		res.AppendHeader(h)
	}
	decorate(res)
	s.Respond(now, res)
}

// tag draws a tag as BroadWorks writes them: a number and the time.
func (l *life) tag() string {
	return fmt.Sprintf("%d-%d-", 1+uint32(l.ep.Float()*(1<<32-1)), time.Now().UnixMilli())
}

// callID draws one of BroadWorks' make: the time, the date, a number.
func (l *life) callID() string {
	now := time.Now().UTC()
	return fmt.Sprintf("BW%s%03d%s-%d%s@%s", now.Format("150405"), now.Nanosecond()/1e6, now.Format("020106"),
		1+uint32(l.ep.Float()*(1<<31)), l.ep.ID(6), l.host())
}

// host is the lab's address as it stands in a URI.
func (l *life) host() string {
	if strings.Contains(l.cfg.Addr, ":") {
		return "[" + l.cfg.Addr + "]"
	}
	return l.cfg.Addr
}

// uuid draws a random one (RFC 9562 §5.4).
func (l *life) uuid() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(l.ep.Float() * 256)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
