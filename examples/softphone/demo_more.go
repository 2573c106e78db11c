package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// After the two have spoken, alice takes the call to her mobile and has carol
// join. Each then sends a tone of her or his own, so that a recording tells
// who is heard in it, and when.

// pitches are the tones, in Hz: far enough apart for a frame to tell them.
var pitches = map[string]float64{"alice": 440, "bob": 700, "carol": 1100}

const (
	// before and after a pull: how long the tone has to be there.
	aroundPull = time.Second

	// together is how long all three are heard at once.
	together = 1500 * time.Millisecond

	// settling is left out of what is judged: the jitter buffer finds its level.
	settling = 500 * time.Millisecond
)

func pitch(name string) media.Source { return media.NewTone(recordRate, -14, pitches[name]) }

// act is what the second act came to.
type act struct {
	pulled, merged time.Duration // how long each took
	gap            time.Duration // the longest that bob did not hear alice
	hear           map[string][]string
}

// pull takes alice's call with bob to her mobile, while she speaks on.
func (d *demo) pull(ctx context.Context, desk *sip.Call) (mobile *sip.Call, err error) {
	if err := d.mobile.start(ctx, &media.Config{}, d.lab.Config("alice")); err != nil {
		return nil, fmt.Errorf("alice's mobile: %w", err)
	}
	w, err := callpull.Watch(ctx, d.mobile.ua, nil)
	if err != nil {
		return nil, fmt.Errorf("the calls of alice's other devices: %w", err)
	}
	defer w.Close(context.WithoutCancel(ctx))
	var there callpull.Call
	for calls := range w.Changes(ctx) {
		if len(calls) > 0 {
			there = calls[0]
			break
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d.out.line("alice's mobile sees her call with %s", party(there.Remote))
	if err := errors.Join(d.alice.sess.SetSource(pitch("alice")), d.record(d.bob.sess, "bob-pull.wav")); err != nil {
		return nil, err
	}
	if err := wait(ctx, aroundPull); err != nil {
		return nil, err
	}
	start := time.Now()
	if mobile, err = w.Pull(ctx, there, nil); err != nil {
		return nil, fmt.Errorf("pull: %w", err)
	}
	d.act.pulled = time.Since(start)
	d.mobile.sess, _ = media.FromCall(mobile)
	if err := desk.Wait(ctx); err != nil {
		return nil, fmt.Errorf("alice's first device: %w", err)
	}
	if err := wait(ctx, aroundPull); err != nil {
		return nil, err
	}
	d.out.line("pulled to alice's mobile in %s", milliseconds(d.act.pulled))
	return mobile, d.bob.sess.SetSink(nil) // which completes the recording
}

// merge lets carol join, and everybody be heard at once.
func (d *demo) merge(ctx context.Context, toBob *sip.Call) (*conference.Conference, error) {
	if err := d.carol.start(ctx, &media.Config{}, d.lab.Config("carol")); err != nil {
		return nil, fmt.Errorf("carol: %w", err)
	}
	answered := make(chan error, 1)
	go func() { answered <- d.carol.answers(ctx) }()
	toCarol, err := d.mobile.ua.Dial(ctx, "carol", nil)
	if err != nil {
		return nil, fmt.Errorf("alice calls carol: %w", err)
	}
	if err := <-answered; err != nil {
		return nil, fmt.Errorf("carol answers: %w", err)
	}
	var mixer *media.Mixer
	start := time.Now()
	conf, err := conference.Merge(ctx, &conference.Config{NewMixer: func() (offeranswer.Mixer, error) {
		m, err := d.mobile.eng.NewMixer()
		if err == nil {
			mixer = m.(*media.Mixer)
		}
		return m, err
	}}, toBob, toCarol)
	if err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	d.act.merged = time.Since(start)
	d.out.line("carol is merged in, in %v: all three speak", d.act.merged.Round(time.Microsecond))
	if err := errors.Join(
		mixer.SetSource(pitch("alice")), d.record(mixer, "alice-merge.wav"),
		d.bob.sess.SetSource(pitch("bob")), d.record(d.bob.sess, "bob-merge.wav"),
		d.carol.sess.SetSource(pitch("carol")), d.record(d.carol.sess, "carol-merge.wav"),
		wait(ctx, settling+together),
		mixer.SetSink(nil), d.bob.sess.SetSink(nil), d.carol.sess.SetSink(nil),
	); err != nil {
		return nil, err
	}
	return conf, nil
}

// record writes what is heard from now on to a file of the demo's folder.
func (d *demo) record(s interface{ SetSink(media.Sink) error }, name string) error {
	sink, err := media.CreateWAV(filepath.Join(d.dir, name), recordRate)
	if err != nil {
		return err
	}
	return s.SetSink(sink)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// judge looks at the recordings of the second act.
func (d *demo) judge() error {
	pcm, err := d.load("bob-pull.wav")
	if err != nil {
		return err
	}
	var missed error
	if d.act.gap, missed = gap(pcm, pitches["alice"]); missed != nil {
		return fmt.Errorf("bob, during the pull: %w", missed)
	}
	d.act.hear = make(map[string][]string)
	for _, who := range []string{"alice", "bob", "carol"} {
		pcm, err := d.load(who + "-merge.wav")
		if err != nil {
			return err
		}
		pcm = pcm[min(len(pcm), int(settling.Seconds()*recordRate)):]
		for _, other := range []string{"alice", "bob", "carol"} {
			if hears := has(pcm, pitches[other]); hears != (who != other) {
				return fmt.Errorf("merge: %w: %s hears %s: %v", errNotHeard, who, other, hears)
			} else if hears {
				d.act.hear[who] = append(d.act.hear[who], other)
			}
		}
	}
	return nil
}

func (d *demo) load(name string) ([]int16, error) {
	f, err := os.Open(filepath.Join(d.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pcm, _, err := wav.ReadAll(f, 120*recordRate)
	return pcm, err
}

// window is what is looked at for a tone: short, so that a gap is measured to
// 5 ms, and long enough to have some periods of the lowest.
const window = recordRate / 50

// gap is the longest time without a tone that is there at the beginning and at
// the end.
func gap(pcm []int16, hz float64) (time.Duration, error) {
	const step = recordRate / 200
	last, first := -1, -1
	longest := 0
	for at := 0; at+window <= len(pcm); at += step {
		if mediatest.Level(pcm[at:at+window]) < -40 || mediatest.ToneShare(pcm[at:at+window], recordRate, hz) < 0.6 {
			continue
		}
		if first < 0 {
			first = at
		} else {
			longest = max(longest, at-last-step)
		}
		last = at
	}
	if first < 0 || len(pcm)-last > recordRate/2 || last-first < recordRate {
		return 0, errNotHeard
	}
	return time.Duration(longest) * time.Second / recordRate, nil
}

// has tells whether a tone is in most of a recording, among others.
func has(pcm []int16, hz float64) bool {
	n, found := 0, 0
	for at := 0; at+4*window <= len(pcm); at += 4 * window {
		n++
		if piece := pcm[at : at+4*window]; mediatest.Level(piece) > -40 && mediatest.ToneShare(piece, recordRate, hz) > 0.15 {
			found++
		}
	}
	return n > 0 && found > n*8/10
}

// rows are the second act as a table.
func (a *act) rows() [][]string {
	rows := [][]string{
		{"call pull", fmt.Sprintf("in %s; bob missed %s of alice at most", milliseconds(a.pulled), milliseconds(a.gap))},
		{"merge", "in " + a.merged.Round(time.Microsecond).String()},
	}
	for _, who := range []string{"alice", "bob", "carol"} {
		rows = append(rows, []string{"", who + " heard " + strings.Join(a.hear[who], " and ")})
	}
	return rows
}
