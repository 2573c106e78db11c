//go:build unix

package main

import (
	"context"
	"flag"
	"io"
	"time"
)

// merge measures one end of calls that carry SRTP both ways, first each by
// itself, with sound of its own to send and a sink, and then all in one mixer,
// where everybody speaks. The other end is a child process.
func merge(ctx context.Context, args []string, log io.Writer) ([]figure, error) {
	fs := flag.NewFlagSet("merge", flag.ContinueOnError)
	fs.SetOutput(log)
	n := fs.Int("parties", 10, "number of calls to merge")
	length := fs.Duration("for", 10*time.Second, "how long to measure each way")
	settle := fs.Duration("settle", 3*time.Second, "how long to wait before measuring")
	codec := fs.String("codec", defaultCodec, "PCMU, G722 or opus")
	suite := fs.String("suite", defaultSuite, "SRTP crypto suite")
	profile := fs.String("profile", "", "write a CPU profile of the merge to this file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	caller, err := newCaller(ctx, log, *codec, *suite)
	if err != nil {
		return nil, err
	}
	defer caller.close()
	sessions, err := caller.calls(ctx, *n)
	if err != nil {
		return nil, err
	}
	received := func() (packets uint64) {
		for _, s := range sessions {
			packets += s.Stats().Received.Packets
		}
		return packets
	}
	run := func(profile string) (used, packets float64, err error) {
		if err := sleep(ctx, *settle); err != nil {
			return 0, 0, err
		}
		stop, err := profileCPU(profile)
		if err != nil {
			return 0, 0, err
		}
		defer stop()
		began, before, first := time.Now(), cpu(), received()
		if err := sleep(ctx, *length); err != nil {
			return 0, 0, err
		}
		seconds := time.Since(began).Seconds() * float64(*n)
		return float64((cpu() - before).Microseconds()) / seconds, float64(received()-first) / seconds, nil
	}
	apart, _, err := run("")
	if err != nil {
		return nil, err
	}
	mixer, err := caller.eng.NewMixer()
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		if err := mixer.Add(s); err != nil {
			return nil, err
		}
	}
	merged, packets, err := run(*profile)
	if err != nil {
		return nil, err
	}
	return []figure{
		{"apart", apart, "us per party-second"},
		{"merged", merged, "us per party-second"},
		{"packets received", packets, "per party-second"},
	}, nil
}
