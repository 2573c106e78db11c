package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// What can be typed, each followed by Enter.
const (
	keysRinging  = "h: hang up"
	keysIncoming = "a: answer, d: decline"
	keysTalking  = "h: hang up, m: mute, s: statistics, digits: DTMF"
)

// maxKeys bounds a line that is typed.
const maxKeys = 128

// readKeys gives the lines that are typed. Its goroutine ends with the input,
// or the program.
func readKeys(r io.Reader) <-chan string {
	keys := make(chan string)
	go func() {
		defer close(keys)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxKeys)
		for lines.Scan() {
			if k := strings.TrimSpace(lines.Text()); k != "" {
				keys <- k
			}
		}
	}()
	return keys
}

// talk is a call from its answer to its end.
func (p *phone) talk(ctx context.Context, call *sip.Call) error {
	sess, ok := media.FromCall(call)
	if !ok {
		p.hangup(call)
		return errors.New("the call has no media")
	}
	start := time.Now()
	st := sess.Stats()
	p.out.line("in call with %s: %s, %s, media %s", party(call.Remote()), st.Codec, suite(st), st.Remote)
	if p.keys != nil {
		p.out.line("%s", keysTalking)
	}

	busy, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { p.say(busy, sess) })
	wg.Go(func() {
		for d := range sess.DTMF(busy) {
			p.out.line("they pressed %c", d.Key)
		}
	})
	if p.set.dtmf != "" {
		wg.Go(func() { p.press(busy, sess, p.set.dtmf) })
	}
	p.converse(ctx, call, sess, start)
	stop()
	wg.Wait()
	p.out.status("")
	p.out.line("%s", statistics(sess.Stats(), start))
	return p.ended(call, start)
}

// converse returns when the call has ended, also if by us.
func (p *phone) converse(ctx context.Context, call *sip.Call, sess *media.Session, start time.Time) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = call.Wait(context.WithoutCancel(ctx)) // see ended
	}()
	var limit <-chan time.Time
	if p.set.limit > 0 {
		t := time.NewTimer(p.set.limit)
		defer t.Stop()
		limit = t.C
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-ctx.Done():
			p.hangup(call)
			return
		case <-limit:
			p.hangup(call)
			return
		case <-tick.C:
			p.out.status(statistics(sess.Stats(), start))
		case k, ok := <-p.keys:
			if !ok {
				p.keys = nil
			} else if p.typed(ctx, k, sess, start) {
				p.hangup(call)
				return
			}
		}
	}
}

// typed does what was typed during a call and tells whether that is to hang up.
func (p *phone) typed(ctx context.Context, k string, sess *media.Session, start time.Time) (hangup bool) {
	switch k {
	case "h", "q":
		return true
	case "m":
		sess.Mute(!sess.Muted())
		p.out.line("muted: %v", sess.Muted())
	case "s":
		p.out.line("%s", statistics(sess.Stats(), start))
	default:
		if strings.Trim(k, "0123456789*#,ABCD") != "" {
			p.out.line("%s", keysTalking)
			break
		}
		go p.press(ctx, sess, k)
	}
	return false
}

// press sends DTMF.
func (p *phone) press(ctx context.Context, sess *media.Session, keys string) {
	switch err := sess.SendDTMF(ctx, keys, nil); {
	case err == nil:
		p.out.line("pressed %s", keys)
	case ctx.Err() == nil && !errors.Is(err, media.ErrClosed):
		p.out.line("pressing %s: %v", keys, err)
	}
}

// ended tells how a call ended that was answered; the error is for one that
// nobody wanted to end.
func (p *phone) ended(call *sip.Call, start time.Time) error {
	end := call.End()
	switch {
	case end.Err != nil:
		return fmt.Errorf("the call broke off after %s: %w", since(start), end.Err)
	case end.By == sip.Remote:
		p.out.line("they hung up after %s%s", since(start), because(end.Reasons))
	default:
		p.out.line("hung up after %s", since(start))
	}
	return nil
}

func because(reasons []sip.Reason) string {
	if len(reasons) == 0 {
		return ""
	}
	return printable(" (" + reasons[0].String() + ")")
}

// suite is how a call is encrypted.
func suite(st media.Stats) string {
	if st.Suite == "" {
		return "not encrypted"
	}
	return st.Suite
}

// statistics is what a call has come to, in a line.
func statistics(st media.Stats, start time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  sent %d  received %d  lost %s  jitter %s", since(start), st.Sent.Packets, st.Received.Packets, loss(st.Received), milliseconds(st.Received.Jitter))
	if st.RTT > 0 {
		fmt.Fprintf(&b, "  round trip %s", milliseconds(st.RTT))
	}
	if n := st.Received.BadSRTP + st.Received.BadSRTCP; n > 0 {
		fmt.Fprintf(&b, "  refused %d", n)
	}
	fmt.Fprintf(&b, "  %s, %s", st.Codec, suite(st))
	return b.String()
}

// loss shows how many packets are missing, and their share.
func loss(r media.ReceivedStats) string {
	total := r.Packets + r.Lost
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.1f %%)", r.Lost, 100*float64(r.Lost)/float64(total))
}
