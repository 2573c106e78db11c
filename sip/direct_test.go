package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// pair makes two user agents without a registrar on an in-memory network.
func pair(t *testing.T, transport Transport, mod func(alice, bob *Config)) (n *memnet.Network, alice, bob *UA) {
	t.Helper()
	n = memnet.New()
	a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
	ca := &Config{Account: Account{AOR: "sip:alice@10.0.0.1", Direct: true, Transport: transport},
		Listen:  []string{string(transport) + ":10.0.0.1:5060"},
		Network: Network{Dial: a.Dial, Listen: a.Listen, ListenPacket: a.ListenPacket, Resolver: &locate.Static{}}}
	cb := &Config{Account: Account{AOR: "sip:bob@10.0.0.2", Direct: true, Transport: transport},
		Listen:  []string{string(transport) + ":10.0.0.2:5060"},
		Network: Network{Dial: b.Dial, Listen: b.Listen, ListenPacket: b.ListenPacket, Resolver: &locate.Static{}}}
	if mod != nil {
		mod(ca, cb)
	}
	var err error
	if alice, err = New(ca); err != nil {
		t.Fatal(err)
	}
	if bob, err = New(cb); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alice.Close(); bob.Close() })
	return n, alice, bob
}

// certified gives both sides of a pair a certificate for bob's address.
func certified(t *testing.T, alice, bob *Config) {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(testca.Template{IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}})
	if err != nil {
		t.Fatal(err)
	}
	alice.TLS = &TLSConfig{RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}}
	bob.TLS = alice.TLS
}

func TestDirectCall(t *testing.T) {
	for _, transport := range []Transport{UDP, TCP, TLS, WS, WSS} {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, alice, bob := pair(t, transport, func(alice, bob *Config) { certified(t, alice, bob) })
				ctx := t.Context()
				answered := make(chan *Call, 1)
				go func() {
					in, err := bob.Accept(ctx)
					if err != nil {
						close(answered)
						return
					}
					in.Ring(ctx)
					if err := in.Answer(ctx, nil); err != nil {
						t.Error(err)
					}
					answered <- in
				}()
				call, err := alice.Dial(ctx, "sip:bob@10.0.0.2:5060;transport="+string(transport), nil)
				if err != nil {
					bob.Close()
					<-answered
					t.Fatal(err)
				}
				in := <-answered
				if in.Remote().URI != "sip:alice@10.0.0.1" || call.State() != CallEstablished {
					t.Errorf("remote %v, state %v", in.Remote(), call.State())
				}
				call.Hangup(ctx)
				if err := in.Wait(ctx); err != nil {
					t.Error(err)
				}
				if end := in.End(); end.By != Remote {
					t.Errorf("bob's end %+v", end)
				}
				var states []CallState
				for ev := range call.Events(ctx) {
					if ev.Kind == StateChanged {
						states = append(states, ev.State)
					}
				}
				if fmt.Sprint(states) != "[calling ringing established ended]" {
					t.Errorf("alice saw %v", states)
				}
			})
		})
	}
}

func TestListenWithoutCertificate(t *testing.T) {
	for _, where := range []string{"tls:127.0.0.1:0", "wss:127.0.0.1:0", "smoke:127.0.0.1:0", "127.0.0.1"} {
		ua, err := New(&Config{Account: Account{AOR: "sip:bob@127.0.0.1", Direct: true}, Listen: []string{where}})
		if err == nil {
			ua.Close()
			t.Errorf("listens on %s", where)
		}
	}
}

// The transactions of a call's INVITE linger for 32 s on both sides. They do
// not keep the call as long: a busy user agent would consist of finished calls.
func TestFinishedCallIsLetGo(t *testing.T) {
	for _, transport := range []Transport{UDP, TCP} {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, alice, bob := pair(t, transport, nil)
				ctx := t.Context()
				accepted := make(chan weak.Pointer[Call])
				go func() {
					in, err := bob.Accept(ctx)
					if err != nil {
						t.Error(err)
						close(accepted)
						return
					}
					in.Ring(ctx)
					in.Answer(ctx, nil)
					in.Wait(ctx)
					accepted <- weak.Make(in)
				}()
				call, err := alice.Dial(ctx, "sip:bob@10.0.0.2:5060;transport="+string(transport), nil)
				if err != nil {
					t.Fatal(err)
				}
				call.Hangup(ctx)
				out, in := weak.Make(call), <-accepted
				synctest.Wait()
				runtime.GC()
				if out.Value() != nil {
					t.Error("the caller's side is kept")
				}
				if in.Value() != nil {
					t.Error("the callee's side is kept")
				}
				alice.ep.Run(ctx, func(time.Time) {
					if clients, _ := alice.ep.Table.Len(); clients == 0 {
						t.Error("no transaction lingers")
					}
				})
			})
		})
	}
}

// An INVITE into a black hole fails after exactly 64*T1 (RFC 3261 §17.1.1.2).
func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, alice, _ := pair(t, UDP, nil)
		start := time.Now()
		_, err := alice.Dial(t.Context(), "sip:nobody@10.0.0.99:5060;transport=udp", nil)
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took != 32*time.Second {
			t.Errorf("took %v, want 32s", took)
		}
	})
}

func TestDialCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, alice, bob := pair(t, UDP, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := alice.Dial(ctx, "sip:bob@10.0.0.2;transport=udp", nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		in, err := bob.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Wait(t.Context()); in.End().By != Remote {
			t.Errorf("end %+v", in.End())
		}
	})
}

func TestReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, alice, bob := pair(t, TCP, nil)
		go func() {
			if in, err := bob.Accept(t.Context()); err == nil {
				in.Reject(t.Context(), 486)
			}
		}()
		_, err := alice.Dial(t.Context(), "sip:bob@10.0.0.2;transport=tcp", nil)
		var se *StatusError
		if !errors.As(err, &se) || se.Code != 486 {
			t.Errorf("error %v", err)
		}
	})
}

// RFC 3261 §18.1.1: a request over 1,300 bytes does not go over UDP, if TCP
// can be had.
func TestLargeRequest(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var first Transport
			_, alice, bob := pair(t, UDP, func(a, b *Config) {
				if tcp {
					b.Listen = append(b.Listen, "tcp:10.0.0.2:5060")
				}
				a.Tap = func(p Packet) {
					if p.Sent && first == "" {
						first = p.Transport
					}
				}
			})
			go func() {
				if in, err := bob.Accept(t.Context()); err == nil {
					in.Answer(t.Context(), nil)
				}
			}()
			o := &DialOptions{Headers: [][2]string{{"Subject", strings.Repeat("x", 1300)}}}
			c, err := alice.Dial(t.Context(), "sip:bob@10.0.0.2;transport=udp", o)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]Transport{true: TCP, false: UDP}[tcp]; first != want {
				t.Errorf("the INVITE went over %s, want %s", first, want)
			}
			c.Hangup(t.Context())
		})
	}
}

func TestIPv6(t *testing.T) {
	for _, tr := range []Transport{UDP, TCP} {
		synctest.Test(t, func(t *testing.T) {
			n := memnet.New()
			mk := func(user, addr string) *UA {
				h := n.Host(addr)
				ua, err := New(&Config{
					Account: Account{AOR: "sip:" + user + "@[" + addr + "]", Direct: true, Transport: tr},
					Listen:  []string{fmt.Sprintf("%s:[%s]:5060", tr, addr)},
					Network: Network{Dial: h.Dial, Listen: h.Listen, ListenPacket: h.ListenPacket},
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { ua.Close() })
				return ua
			}
			alice, bob := mk("alice", "2001:db8::1"), mk("bob", "2001:db8::2")
			go func() {
				if in, err := bob.Accept(t.Context()); err == nil {
					in.Answer(t.Context(), nil)
				}
			}()
			c, err := alice.Dial(t.Context(), fmt.Sprintf("sip:bob@[2001:db8::2]:5060;transport=%s", tr), nil)
			if err != nil {
				t.Fatal(err)
			}
			c.Hangup(t.Context())
		})
	}
}
