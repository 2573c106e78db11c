package callpull_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// bench is a lab on the loopback with user agents over TLS, their media in
// SRTP. It counts the messages that they send and receive.
type bench struct {
	*testing.B
	lab      *siptest.Server
	messages atomic.Int64
}

func newBench(b *testing.B) *bench {
	b.Helper()
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice"}, {Name: "bob"}, {Name: "carol"}}, TranscriptSize: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { lab.Close() })
	return &bench{B: b, lab: lab}
}

// phone registers a user agent that answers whoever calls.
func (b *bench) phone(user string) (*sip.UA, *media.Engine) {
	b.Helper()
	eng, err := media.NewEngine(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { eng.Close() })
	cfg := b.lab.Config(user)
	cfg.NewMedia = eng.NewSession
	cfg.Tap = func(sip.Packet) { b.messages.Add(1) }
	ua, err := sip.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ua.Close() })
	if _, err := ua.Register(b.Context()); err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			c, err := ua.Accept(context.Background())
			if err != nil {
				return
			}
			_ = c.Answer(context.Background(), nil)
		}
	}()
	return ua, eng
}

func (b *bench) dial(ua *sip.UA, to string) *sip.Call {
	b.Helper()
	c, err := ua.Dial(b.Context(), to, nil)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkPull is a call that goes from one device to another and back, each
// once per round: how long Pull takes, and how many messages the user agents
// exchange with the lab until the former device's leg has ended. Those
// of the dialog events that both devices watch are among them.
func BenchmarkPull(b *testing.B) {
	for _, method := range []callpull.Method{callpull.Replaces, callpull.Code} {
		b.Run(method.String(), func(b *testing.B) {
			x := newBench(b)
			x.phone("bob")
			var devices [2]*callpull.Watcher
			var first *sip.UA
			for i := range devices {
				ua, _ := x.phone("alice")
				if i == 0 {
					first = ua
				}
				w, err := callpull.Watch(b.Context(), ua, &callpull.Config{Method: method})
				if err != nil {
					b.Fatal(err)
				}
				devices[i] = w
			}
			call := x.dial(first, "bob")
			at := 0
			x.messages.Store(0)
			for b.Loop() {
				b.StopTimer()
				at = 1 - at
				var there callpull.Call
				for calls := range devices[at].Changes(b.Context()) {
					if len(calls) == 1 && calls[0].State == "confirmed" {
						there = calls[0]
						break
					}
				}
				b.StartTimer()
				pulled, err := devices[at].Pull(b.Context(), there, nil)
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				if err := call.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				call = pulled
				b.StartTimer()
			}
			b.ReportMetric(float64(x.messages.Load())/float64(b.N), "messages/op")
		})
	}
}

// BenchmarkMerge merges two calls on the device, and takes them apart again.
func BenchmarkMerge(b *testing.B) {
	x := newBench(b)
	x.phone("bob")
	x.phone("carol")
	alice, eng := x.phone("alice")
	toBob, toCarol := x.dial(alice, "bob"), x.dial(alice, "carol")
	if err := toBob.Hold(b.Context()); err != nil {
		b.Fatal(err)
	}
	x.messages.Store(0)
	for b.Loop() {
		conf, err := conference.Merge(b.Context(), &conference.Config{NewMixer: eng.NewMixer}, toBob, toCarol)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := conf.Split(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(x.messages.Load())/float64(b.N), "messages/op")
}
