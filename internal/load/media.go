//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
	"github.com/hoorn-phone/hoorn/sip"
)

const calleeRole = "callee"

// newEngine makes an engine that speaks one codec in one SRTP suite alone.
func newEngine(name, suite string) (*media.Engine, error) {
	all := []codec.Codec{g711.PCMU(), g722.G722(), opus.Opus()}
	i := slices.IndexFunc(all, func(c codec.Codec) bool { return strings.EqualFold(c.Format().Name, name) })
	if i < 0 {
		return nil, fmt.Errorf("no codec %q", name)
	}
	return media.NewEngine(&media.Config{
		Codecs: all[i : i+1], SRTP: media.SRTPRequired, Suites: []string{suite},
	})
}

const (
	defaultCodec = "PCMU"
	defaultSuite = "AES_CM_128_HMAC_SHA1_80"
)

// sound is a second of something that no codec can save work on.
var sound = func() []int16 {
	pcm := make([]int16, 8000)
	for i := range pcm {
		t := float64(i) / 8000
		pcm[i] = int16(8000*math.Sin(2*math.Pi*440*t) + 4000*math.Sin(2*math.Pi*1230*t))
	}
	return pcm
}()

// talk sends sound and takes what comes, decoded, and counts it.
func talk(c *sip.Call, frames *atomic.Int64) (*media.Session, error) {
	s, ok := media.FromCall(c)
	if !ok {
		return nil, errors.New("a call without media")
	}
	s.SetSink(media.SinkFunc(8000, func([]int16) { frames.Add(1) }))
	s.SetSource(media.NewPCMSource(8000, sound, true))
	return s, nil
}

// serveCallee is a child process that answers every call and talks.
func serveCallee(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet(calleeRole, flag.ContinueOnError)
	codec := fs.String("codec", defaultCodec, "codec")
	suite := fs.String("suite", defaultSuite, "SRTP crypto suite")
	if err := fs.Parse(args); err != nil {
		return err
	}
	eng, err := newEngine(*codec, *suite)
	if err != nil {
		return err
	}
	defer eng.Close()
	ua, err := sip.New(&sip.Config{
		Account: sip.Account{AOR: "sip:bob@127.0.0.1", Direct: true, Transport: sip.UDP},
		Listen:  []string{"udp:127.0.0.1:0"}, AcceptQueue: 4096, NewMedia: eng.NewSession,
	})
	if err != nil {
		return err
	}
	defer ua.Close()
	if err := ready(out, hello{Addr: ua.Addrs()[0].String()}); err != nil {
		return err
	}
	var frames atomic.Int64
	accept(ctx, ua, func(c *sip.Call) { talk(c, &frames) })
	return nil
}

// caller is the end of calls that is measured: a user agent whose calls a child
// process answers.
type caller struct {
	eng    *media.Engine
	frames atomic.Int64 // heard, of all calls
	ua     *sip.UA
	callee *child
}

func newCaller(ctx context.Context, log io.Writer, codec, suite string) (*caller, error) {
	eng, err := newEngine(codec, suite)
	if err != nil {
		return nil, err
	}
	c := &caller{eng: eng}
	c.ua, err = sip.New(&sip.Config{
		Account:  sip.Account{AOR: "sip:alice@127.0.0.1", Direct: true, Transport: sip.UDP},
		NewMedia: eng.NewSession,
	})
	if err == nil {
		c.callee, err = spawn(ctx, log, calleeRole, "-suite", suite, "-codec", codec)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *caller) close() {
	if c.ua != nil {
		c.ua.Close()
	}
	c.eng.Close()
	if c.callee != nil {
		c.callee.close()
	}
}

// call makes a call that talks.
func (c *caller) call(ctx context.Context) (*media.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	call, err := c.ua.Dial(ctx, "sip:bob@"+c.callee.Addr+";transport=udp", nil)
	if err != nil {
		return nil, err
	}
	return talk(call, &c.frames)
}

// calls makes n of them, eight at a time.
func (c *caller) calls(ctx context.Context, n int) ([]*media.Session, error) {
	sessions := make([]*media.Session, n)
	var failed atomic.Pointer[error]
	each(n, 8, func(i int) {
		s, err := c.call(ctx)
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		sessions[i] = s
	})
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return sessions, nil
}

// mediaCalls measures one end of calls that carry SRTP both ways, PCMU,
// decoded to PCM here and given to a sink. The other end is a child process.
func mediaCalls(ctx context.Context, args []string, log io.Writer) ([]figure, error) {
	fs := flag.NewFlagSet("media", flag.ContinueOnError)
	fs.SetOutput(log)
	n := fs.Int("calls", 100, "number of calls")
	length := fs.Duration("for", 20*time.Second, "how long to measure")
	// The 32 s for which the transactions of an INVITE linger would count as
	// memory of calls that in practice take minutes.
	settle := fs.Duration("settle", 35*time.Second, "how long to wait before measuring")
	suite := fs.String("suite", defaultSuite, "SRTP crypto suite")
	profile := fs.String("profile", "", "write a CPU profile to this file")
	heapProfile := fs.String("heapprofile", "", "write a heap profile to this file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	caller, err := newCaller(ctx, log, defaultCodec, *suite)
	if err != nil {
		return nil, err
	}
	defer caller.close()
	if _, err := caller.call(ctx); err != nil { // the first one pays for what is made once
		return nil, err
	}
	before := measureMemory()
	sessions, err := caller.calls(ctx, *n)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, *settle); err != nil {
		return nil, err
	}
	after := measureMemory()
	if err := writeHeapProfile(*heapProfile); err != nil {
		return nil, err
	}
	stop, err := profileCPU(*profile)
	if err != nil {
		return nil, err
	}
	began, used, heard := time.Now(), cpu(), caller.frames.Load()
	var lost, received uint64
	for _, s := range sessions {
		st := s.Stats()
		lost, received = lost+st.Received.Lost, received+st.Received.Packets
	}
	if err := sleep(ctx, *length); err != nil {
		return nil, err
	}
	took, used, heard := time.Since(began), cpu()-used, caller.frames.Load()-heard
	stop()
	lost, received = -lost, -received
	for _, s := range sessions {
		st := s.Stats()
		lost, received = lost+st.Received.Lost, received+st.Received.Packets
	}
	seconds := took.Seconds() * float64(*n+1) // the first call too
	return append([]figure{
		{"processor time", float64(used.Microseconds()) / seconds, "us per call-second"},
		{"processors busy", float64(used) / float64(took), "cores"},
		{"frames of PCM", float64(heard) / seconds, "per call-second"},
		{"packets received", float64(received) / (took.Seconds() * float64(*n)), "per call-second"},
		{"packets lost", float64(lost), fmt.Sprintf("of %d", received)},
	}, after.figures(before, *n, "call")...), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
