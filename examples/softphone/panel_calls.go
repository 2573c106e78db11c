package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// line is a call on the panel. It keeps its number as long as it lives.
type line struct {
	number int
	call   *sip.Call
	sess   *media.Session // nil before it is answered
	began  time.Time      // of the state it is in: ringing, talking
	held   sip.Hold
	heldAt time.Time // when we put it on hold
	digits string    // that the other side has pressed
}

// accept takes calls as they come. They ring already.
func (p *panel) accept() {
	for {
		call, err := p.desk.Accept(p.ctx)
		if err != nil {
			return
		}
		p.post(func() {
			if call.Direction() == sip.Incoming {
				p.say("%s calls", party(call.Remote()))
			} else {
				p.say("calling %s, as was asked of us", party(call.Remote()))
			}
			p.add(call)
		})
	}
}

// add shows a call until it has ended.
func (p *panel) add(call *sip.Call) *line {
	p.numbered++
	l := &line{number: p.numbered, call: call, began: time.Now()}
	p.lines = append(p.lines, l)
	if p.selectedLine() == nil {
		p.chosen = l.number
	}
	p.wg.Go(func() {
		for e := range call.Events(p.ctx) {
			p.post(func() { p.happened(l, e) })
		}
	})
	return l
}

// happened takes an event of a call.
func (p *panel) happened(l *line, e sip.Event) {
	switch e.Kind {
	case sip.StateChanged:
		switch e.State {
		case sip.CallEstablished:
			if l.sess == nil {
				p.up(l)
			}
			l.began = e.Time
		case sip.CallEnded:
			p.over(l)
		}
	case sip.HoldChanged:
		if e.Held.Local && !l.held.Local {
			l.heldAt = e.Time
		}
		l.held = e.Held
	case sip.PartyChanged:
		p.say("%d: now with %s", l.number, party(l.who()))
	case sip.MediaTimeout:
		p.say("%d: nothing is heard any more: %v", l.number, e.Err)
	}
}

// up is when a call is answered.
func (p *panel) up(l *line) {
	sess, ok := media.FromCall(l.call)
	if !ok {
		return
	}
	l.sess = sess
	p.wg.Go(func() { p.phone.say(p.ctx, sess) })
	p.wg.Go(func() {
		for d := range sess.DTMF(p.ctx) {
			p.post(func() { l.digits += string(d.Key) })
		}
	})
}

// over takes a call away that has ended.
func (p *panel) over(l *line) {
	end := l.call.End()
	text := end.Cause.String()
	if end.Err != nil {
		text = explain(end.Err)
	}
	p.say("%d: %s: %s%s", l.number, party(l.who()), text, because(end.Reasons))
	p.lines = slices.DeleteFunc(p.lines, func(x *line) bool { return x == l })
	if p.chosen == l.number && len(p.lines) > 0 {
		p.chosen = p.lines[len(p.lines)-1].number
	}
}

// selectedLine is the selected call, nil if there is none.
func (p *panel) selectedLine() *line { return p.numberedLine(p.chosen) }

func (p *panel) numberedLine(n int) *line {
	i := slices.IndexFunc(p.lines, func(l *line) bool { return l.number == n })
	if i < 0 {
		return nil
	}
	return p.lines[i]
}

// ringing is the call that a key to answer or decline is about: the selected
// one, or else the first that rings here.
func (p *panel) ringingLine() *line {
	rings := func(l *line) bool {
		return l != nil && l.call.Direction() == sip.Incoming && (l.call.State() == sip.CallIncoming || l.call.State() == sip.CallRinging)
	}
	if l := p.selectedLine(); rings(l) {
		return l
	}
	if i := slices.IndexFunc(p.lines, rings); i >= 0 {
		return p.lines[i]
	}
	return nil
}

// with does something with the selected call.
func (p *panel) with(what string, fn func(ctx context.Context, l *line) error) {
	l := p.selectedLine()
	if l == nil {
		p.say("%s: %v", what, errNoCall)
		return
	}
	p.do(fmt.Sprintf("%s %d", what, l.number), func(ctx context.Context) error { return fn(ctx, l) })
}

func (p *panel) dial(uri string) {
	p.do("calling "+uri, func(ctx context.Context) error {
		call, err := p.desk.Start(ctx, p.ua, uri, nil)
		if err != nil {
			return err
		}
		p.post(func() { p.chosen = p.add(call).number })
		return nil // how it goes on is seen from its events
	})
}

func (p *panel) answerIt() {
	l := p.ringingLine()
	if l == nil {
		p.say("nobody calls")
		return
	}
	p.chosen = l.number
	p.do("answering", func(ctx context.Context) error { return p.desk.Answer(ctx, l.call, nil) })
}

func (p *panel) decline() {
	l := p.ringingLine()
	if l == nil {
		p.say("nobody calls")
		return
	}
	p.do("declining", func(ctx context.Context) error { return l.call.Reject(ctx, 603) })
}

// hold holds the selected call, or takes it back; another active one is held
// meanwhile.
func (p *panel) hold() {
	p.with("hold", func(ctx context.Context, l *line) error {
		if l.call.Held().Local {
			return p.desk.Activate(ctx, l.call)
		}
		return l.call.Hold(ctx)
	})
}

// swap takes the call that has been held longest.
func (p *panel) swap() {
	var next *line
	for _, l := range p.lines {
		if l.held.Local && (next == nil || l.heldAt.Before(next.heldAt)) {
			next = l
		}
	}
	if next == nil {
		p.say("no call is held")
		return
	}
	p.chosen = next.number
	p.do("swap", func(ctx context.Context) error { return p.desk.Activate(ctx, next.call) })
}

func (p *panel) mute() {
	l := p.selectedLine()
	if l == nil || l.sess == nil {
		p.say("mute: %v", errNoCall)
		return
	}
	l.sess.Mute(!l.sess.Muted())
}

// transfer asks where to, and goes there.
func (p *panel) transfer() {
	l := p.selectedLine()
	if l == nil {
		p.say("transfer: %v", errNoCall)
		return
	}
	p.ask(fmt.Sprintf("transfer %d to (a number, a URI, #2 for call 2):", l.number), func(to string) {
		n, other := strings.CutPrefix(to, "#")
		if !other {
			p.do("transfer", func(ctx context.Context) error { return l.call.Transfer(ctx, to, nil) })
			return
		}
		number, _ := strconv.Atoi(n)
		target := p.numberedLine(number)
		if target == nil || target == l {
			p.say("transfer: there is no other call %s", n)
			return
		}
		p.do("transfer", func(ctx context.Context) error { return l.call.TransferTo(ctx, target.call, nil) })
	})
}

// digit presses a key in the selected call.
func (p *panel) digit(k press) {
	p.with("pressing a key in", func(ctx context.Context, l *line) error {
		return l.call.SendDigits(ctx, string(rune(k)), nil)
	})
}

// pressed does what a key asks for.
func (p *panel) pressed(k press) {
	switch {
	case p.question != nil:
		p.answering(k)
		return
	case k == keyRedraw:
		p.term.repaint()
		return
	case p.helping:
		p.helping = false
		return
	}
	switch k {
	case keyUp, 'k':
		p.move(-1)
	case keyDown, 'j', keyTab:
		p.move(1)
	case 'c':
		p.ask("call:", p.dial)
	case 'a', keyEnter:
		p.answerIt()
	case 'd':
		p.decline()
	case 'h':
		p.with("hanging up", func(ctx context.Context, l *line) error { return l.call.Hangup(ctx) })
	case ' ':
		p.hold()
	case 's':
		p.swap()
	case 't':
		p.transfer()
	case 'm':
		p.mute()
	case 'g':
		p.mergeAll()
	case 'u':
		p.split()
	case 'x':
		p.dropFromMerge()
	case 'p':
		p.pull()
	case 'P':
		p.push()
	case '?':
		p.helping = true
	case 'q', keyInterrupt, keyEnd:
		p.leaving = true
	default:
		if k >= '0' && k <= '9' || k == '*' || k == '#' {
			p.digit(k)
		}
	}
}

// move selects the next row, or the one before.
func (p *panel) move(by int) {
	numbers := p.numbers()
	if len(numbers) == 0 {
		return
	}
	i := slices.Index(numbers, p.chosen)
	p.chosen = numbers[(max(i, 0)+by+len(numbers))%len(numbers)]
}

// numbers are those of the rows, as they are shown.
func (p *panel) numbers() []int {
	var all []int
	for _, l := range p.lines {
		all = append(all, l.number)
	}
	for _, a := range p.away {
		all = append(all, a.number)
	}
	return all
}
