package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

const (
	// demoSlack is how much longer than the speech the demo may take: the pull
	// and the merge are some six seconds of it.
	demoSlack = 25 * time.Second

	// lastWords is how long the call goes on after the speech: what was said
	// last has to get through the jitter buffer.
	lastWords = 400 * time.Millisecond
)

// demo is two phones at an exchange, all in this process.
type demo struct {
	out   *screen
	trace *trace
	lab   *siptest.Server
	dir   string
	pcap  string
	alice *talker
	bob   *talker
	setup time.Duration // from INVITE to ACK

	mobile, carol *talker // alice's other device, and who joins
	act           act
}

// talker is one of the two.
type talker struct {
	*phone
	name   string
	speech []int16 // what is said, at recordRate
	heard  string  // the recording of what was heard
	sess   *media.Session
	stats  media.Stats
}

func runDemo(ctx context.Context, c *console, args []string) error {
	var set settings
	if _, err := set.parse(c, find("demo"), func(fs *flag.FlagSet) { set.demoFlags(fs) }, args, 0); err != nil {
		return err
	}
	if set.seconds < 3 || set.seconds > 600 {
		return usagef("-seconds %d: it can be 3 to 600", set.seconds)
	}
	d, err := newDemo(c, &set)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(set.seconds)*time.Second+demoSlack)
	defer cancel()
	return d.run(ctx)
}

// newDemo makes the folder and lets each have something to say.
func newDemo(c *console, set *settings) (*demo, error) {
	dir := set.dir
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "hoorn-demo-")
	} else {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	if set.pcap == "" {
		set.pcap = filepath.Join(dir, "call.pcap")
	}
	d := &demo{out: newScreen(c), dir: dir, pcap: set.pcap}
	if d.trace, err = newTrace(c, set); err != nil {
		return nil, err
	}
	d.alice, d.bob = d.talker("alice", 1, set.seconds), d.talker("bob", 0, set.seconds)
	for _, t := range []**talker{&d.mobile, &d.carol} {
		*t = &talker{phone: &phone{set: &settings{}, out: d.out, trace: d.trace}}
	}
	d.mobile.name, d.carol.name = "alice", "carol"
	d.mobile.voice = func() media.Source { return pitch("alice") } // she speaks on
	return d, nil
}

func (d *demo) talker(name string, speaker, seconds int) *talker {
	file := filepath.Join(d.dir, name+"-heard.wav")
	return &talker{
		phone:  &phone{set: &settings{record: file}, out: d.out, trace: d.trace},
		name:   name,
		speech: mediatest.Loop(mediatest.Speech(speaker, recordRate), seconds*recordRate),
		heard:  file,
	}
}

// run is the demo. Its error is nil only if both have heard each other.
func (d *demo) run(ctx context.Context) (err error) {
	d.lab, err = siptest.Start(&siptest.Config{Users: []siptest.User{
		{Name: "alice", Number: "1001", DisplayName: "Alice"},
		{Name: "bob", Number: "1002", DisplayName: "Bob"},
		{Name: "carol", Number: "1003", DisplayName: "Carol"},
	}})
	if err != nil {
		return errors.Join(err, d.trace.close())
	}
	defer d.lab.Close()
	d.out.line("exchange %s listens on %s, with a certificate authority made just now", d.lab.Domain(), d.lab.Addr(sip.TLS))

	err = d.perform(ctx)
	// Both are gone before the recordings are read and the ladder is drawn.
	for _, t := range []*talker{d.alice, d.mobile, d.bob, d.carol} {
		t.close()
	}
	err = errors.Join(err, d.trace.close())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = errors.Join(err, d.draw())
	if err != nil {
		return err
	}
	return d.report()
}

// perform registers both and lets them talk.
func (d *demo) perform(ctx context.Context) error {
	for _, t := range []*talker{d.alice, d.bob} {
		cfg := &media.Config{RTCPInterval: time.Second} // the demo is short, and the round trip comes from reports
		if t == d.alice {
			d.trace.listenPacket(cfg) // she sees all packets there are
		}
		if err := t.start(ctx, cfg, d.lab.Config(t.name)); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	start := time.Now()
	answered := make(chan error, 1)
	go func() { answered <- d.bob.answers(ctx) }()
	call, err := d.alice.calls(ctx, "bob")
	if err != nil {
		return fmt.Errorf("alice calls bob: %w", err)
	}
	if err := <-answered; err != nil {
		return fmt.Errorf("bob answers: %w", err)
	}
	d.setup = time.Since(start)
	if err := d.speak(ctx); err != nil {
		return err
	}
	d.alice.stats, d.bob.stats = d.alice.sess.Stats(), d.bob.sess.Stats()
	mobile, err := d.pull(ctx, call)
	if err != nil {
		return err
	}
	conf, err := d.merge(ctx, mobile)
	if err != nil {
		return err
	}
	if err := conf.Close(ctx); err != nil {
		return err
	}
	d.mobile.hangup(mobile)
	return d.bob.sess.Wait(ctx) // until the BYE is there
}

func (t *talker) calls(ctx context.Context, who string) (*sip.Call, error) {
	call, err := t.ua.Start(ctx, who, nil)
	if err != nil {
		return nil, err
	}
	t.out.line("%s calls %s", t.name, who)
	if err := t.ringing(ctx, call); err != nil {
		return nil, err
	}
	t.sess, _ = media.FromCall(call)
	return call, nil
}

func (t *talker) answers(ctx context.Context) error {
	call, err := t.ua.Accept(ctx)
	if err != nil {
		return err
	}
	t.out.line("%s is called by %s", t.name, party(call.Remote()))
	if err := call.Ring(ctx); err != nil {
		return err
	}
	if err := call.Answer(ctx, nil); err != nil {
		return err
	}
	t.sess, _ = media.FromCall(call)
	return nil
}

// speak lets both talk at once, as people do.
func (d *demo) speak(ctx context.Context) error {
	start := time.Now()
	total := time.Duration(len(d.alice.speech)) * time.Second / recordRate
	d.out.line("both speak for %v", total)
	said := make(chan error, 2)
	for _, t := range []*talker{d.alice, d.bob} {
		go func() {
			if err := t.sess.Play(ctx, media.NewPCMSource(recordRate, t.speech, false)); err != nil {
				said <- fmt.Errorf("%s speaks: %w", t.name, err)
				return
			}
			said <- nil
		}()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer d.out.status("")
	for n := 0; n < 2; {
		select {
		case err := <-said:
			if err != nil {
				return err
			}
			n++
		case <-tick.C:
			d.out.status("alice: " + statistics(d.alice.sess.Stats(), start))
		}
	}
	select {
	case <-time.After(lastWords):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// draw writes the ladder page, which shows no keys.
func (d *demo) draw() error {
	f, err := os.Create(d.ladder())
	if err != nil {
		return err
	}
	err = d.lab.Transcript().WriteHTML(f, &siptest.DrawOptions{Title: "Alice calls Bob"})
	return errors.Join(err, f.Close())
}

func (d *demo) ladder() string { return filepath.Join(d.dir, "ladder.html") }
