package xmpp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/xmpplink"
)

// mute is a resolver that never answers, for one kind of question or for all.
type mute struct{ hosts bool }

func (m mute) LookupSRV(ctx context.Context, name string) ([]locate.SRV, error) {
	if m.hosts {
		return dns{}.LookupSRV(ctx, name)
	}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (m mute) LookupIP(ctx context.Context, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (mute) LookupNAPTR(ctx context.Context, name string) ([]locate.NAPTR, error) {
	return dns{}.LookupNAPTR(ctx, name)
}

// Whatever hangs before there is a stream, Connect returns when its context ends, to the instant, and names the stage. What hangs within
// a stream's negotiation is in internal/xmpplink.
func TestConnectSilence(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*stage)
		stage  Stage
	}{
		{"credentials", func(s *stage) {
			s.cfg.Credentials = func(ctx context.Context) (Credentials, error) { <-ctx.Done(); return Credentials{}, context.Cause(ctx) }
		}, xmpplink.StageAuth},
		{"DNS, SRV", func(s *stage) { s.cfg.Network.Resolver = mute{} }, xmpplink.StageLocate},
		{"DNS, addresses", func(s *stage) { s.cfg.Network.Resolver = mute{hosts: true} }, xmpplink.StageConnect},
		{"dial", func(s *stage) { s.net.BlackHole("10.0.0.2", true) }, xmpplink.StageConnect},
		{"proxy, HTTP", func(s *stage) { s.cfg.Network.Proxy = "http://10.0.0.2:5222" }, xmpplink.StageConnect},
		{"proxy, SOCKS5", func(s *stage) { s.cfg.Network.Proxy = "socks5://10.0.0.2:5222" }, xmpplink.StageConnect},
		{"WebSocket", func(s *stage) { s.cfg.Server = "wss://10.0.0.2:5222/ws" }, xmpplink.StageConnect},
		{"direct TLS", func(s *stage) { s.cfg.Server = "xmpps://10.0.0.2:5222" }, xmpplink.StageTLS},
		{"header", func(*stage) {}, xmpplink.StageOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				c.change(s)
				done := make(chan struct{})
				defer func() { s.listen.Close(); <-done }()
				go func() { // takes connections, and says nothing
					defer close(done)
					var conns []net.Conn
					for {
						conn, err := s.listen.Accept()
						if err != nil {
							break
						}
						conns = append(conns, conn)
					}
					for _, conn := range conns {
						conn.Close()
					}
				}()
				client, err := New(&s.cfg)
				if err != nil {
					s.Fatal(err)
				}
				const patience = 7 * time.Second
				ctx, cancel := context.WithTimeout(s.Context(), patience)
				defer cancel()
				start := time.Now()
				err = client.Connect(ctx)
				var e *Error
				if took := time.Since(start); !errors.As(err, &e) || e.Stage != c.stage || !errors.Is(err, context.DeadlineExceeded) || took != patience {
					s.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}
