package siptest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// lab is a lab with phones on a network in memory, in virtual time.
type lab struct {
	*siptest.Server
	t     *testing.T
	net   *memnet.Network
	host  *memnet.Host
	hosts int
}

// bubble runs a test in virtual time. That it ends shows that no goroutine is
// left behind.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, fn)
}

// start starts a lab with alice (1001), bob (1002) and carol.
func start(t *testing.T, mod func(*siptest.Config)) *lab {
	t.Helper()
	l := &lab{t: t, net: memnet.New()}
	l.host = l.net.Host("10.0.0.1", "2001:db8::1")
	cfg := &siptest.Config{
		Addr: "10.0.0.1",
		Users: []siptest.User{
			{Name: "alice", Number: "1001", DisplayName: "Alice", AuthName: "line-1", Password: "secret-a"},
			{Name: "bob", Number: "1002", DisplayName: "Bob"},
			{Name: "carol"},
			{Name: "frank"},
		},
		Network: sip.Network{Dial: l.host.Dial, Listen: l.host.Listen, ListenPacket: l.host.ListenPacket},
	}
	if mod != nil {
		mod(cfg)
	}
	srv, err := siptest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Server = srv
	t.Cleanup(func() { srv.Close() })
	return l
}

// phone is a user agent on a host of its own.
type phone struct {
	*sip.UA
	t    *testing.T
	host *memnet.Host
	reg  *sip.Registration
}

// config is a user's, on a host of its own.
func (l *lab) config(user string) (*sip.Config, *memnet.Host) {
	l.hosts++
	host := l.net.Host(fmt.Sprintf("10.0.1.%d", l.hosts), fmt.Sprintf("2001:db8:1::%d", l.hosts))
	cfg := l.Config(user)
	cfg.Network.Dial, cfg.Network.Listen, cfg.Network.ListenPacket = host.Dial, host.Listen, host.ListenPacket
	return cfg, host
}

// phone registers a device of a user's.
func (l *lab) phone(user string, mods ...func(*sip.Config)) *phone {
	l.t.Helper()
	cfg, host := l.config(user)
	for _, mod := range mods {
		mod(cfg)
	}
	ua, err := sip.New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { ua.Close() })
	reg, err := ua.Register(l.t.Context())
	if err != nil {
		l.t.Fatalf("%s: %v", user, err)
	}
	return &phone{UA: ua, t: l.t, host: host, reg: reg}
}

// over makes a phone use a transport.
func over(l *lab, t sip.Transport) func(*sip.Config) {
	return func(c *sip.Config) { c.Account.Proxy, c.Account.Transport = l.Proxy(t), t }
}

// accept waits for a call.
func (p *phone) accept() *sip.Call {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	c, err := p.Accept(ctx)
	if err != nil {
		p.t.Fatalf("%s: no call: %v", p.AOR(), err)
	}
	return c
}

// call starts a call.
func (p *phone) call(to string) *sip.Call {
	p.t.Helper()
	c, err := p.Start(p.t.Context(), to, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// talk brings up a call.
func talk(t *testing.T, from, to *phone, number string) (a, b *sip.Call) {
	t.Helper()
	a = from.call(number)
	b = to.accept()
	if err := b.Ring(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Answer(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// ended waits for the end of a call and checks who ended it.
func ended(t *testing.T, c *sip.Call, by sip.Side) sip.End {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	_ = c.Wait(ctx)
	end := c.End()
	if end.By != by {
		t.Errorf("%v call ended by %v, want %v: %+v", c.Direction(), end.By, by, end)
	}
	return end
}

// lines are the messages on the tape, as "alice> INVITE", "alice< 200 INVITE".
func (l *lab) lines(party string) []string {
	var out []string
	for _, e := range l.Transcript().Entries {
		if party != "" && e.Party != party {
			continue
		}
		arrow := ">"
		if e.Sent {
			arrow = "<"
		}
		line, rest, _ := strings.Cut(string(e.Data), "\r\n")
		f := strings.Fields(line)
		what := f[0]
		if strings.HasPrefix(line, "SIP/2.0") {
			_, cseq, _ := strings.Cut(strings.ToLower(rest), "\r\ncseq:")
			cseq, _, _ = strings.Cut(cseq, "\r\n")
			what = f[1] + " " + strings.ToUpper(strings.Fields(cseq)[1])
		}
		out = append(out, e.Party+arrow+" "+what)
	}
	return out
}

// count counts the messages on the tape.
func (l *lab) count(line string) int {
	n := 0
	for _, s := range l.lines("") {
		if s == line {
			n++
		}
	}
	return n
}

// messages are the messages on the tape that begin like this.
func (l *lab) messages(party, start string, sent bool) []string {
	var out []string
	for _, e := range l.Transcript().Entries {
		if e.Party == party && e.Sent == sent && strings.HasPrefix(string(e.Data), start) {
			out = append(out, string(e.Data))
		}
	}
	return out
}

// idle fails the test unless the lab has no call after a while.
func (l *lab) idle() {
	l.t.Helper()
	wait(l.t, 2*time.Minute)
	if n := l.Calls(); n != 0 {
		l.t.Errorf("%d calls are left in the lab", n)
	}
	if legs, _, _ := l.Left(); legs != 0 {
		l.t.Errorf("%d dialogs are left in the lab", legs)
	}
}

// wait lets virtual time pass.
func wait(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

func checkLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("on the wire:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func memnetLatency(d time.Duration) memnet.Impairment { return memnet.Impairment{Latency: d} }
