package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
)

const (
	// panelTick is how often clocks and meters move.
	panelTick = 200 * time.Millisecond

	// panelMessages is how many messages are kept; older ones are forgotten.
	panelMessages = 200

	// actionLimit bounds what a key starts: the wire's own timeouts are
	// shorter, but for calls that ring.
	actionLimit = time.Minute

	panelKeys = "c call  a answer  h hang up  space hold  s swap  t transfer  g merge  p pull  P push  m mute  ? keys  q quit"
)

var panelHelp = []string{
	"up, down   select a call, or press its number after #",
	"c          call somebody",
	"a  d       answer, decline the call that rings",
	"h          hang up",
	"space      hold, or resume",
	"s          swap: hold this call, take the one that was held longest",
	"t          transfer to somebody, or to another call: its number after #",
	"g  u       merge all calls, take them apart again",
	"x          drop a call from the merge, or somebody from the conference",
	"p          pull here the call of another of your devices",
	"P          push this call to another of your devices",
	"m          mute, unmute",
	"0-9 * #    press a key in the selected call",
	"Ctrl-L     draw everything again",
	"q          hang up everything and leave",
}

// panel is the telephone on a terminal. One goroutine, that of run, owns what
// it is made of; whatever waits for the network runs beside it and comes back
// with post.
type panel struct {
	*phone
	ctx   context.Context // ends with the panel
	desk  *sip.Phone
	term  *terminal
	posts chan func()
	wg    sync.WaitGroup

	lines    []*line
	away     []awayCall
	numbered int // the number of the newest call
	chosen   int // number of the selected call; 0: none
	question *question
	said     []string // messages
	helping  bool
	leaving  bool
	merge    merge
	watcher  *callpull.Watcher // nil: the server tells nothing
}

// question is what is asked in the last line.
type question struct {
	text, typed string
	then        func(answer string)
}

// maxTyped bounds an answer.
const maxTyped = 256

func runPanel(ctx context.Context, c *console, args []string) (err error) {
	var set settings
	if _, err := set.parse(c, find("phone"), func(fs *flag.FlagSet) {
		set.accountFlags(fs)
		set.soundFlags(fs)
		set.panelFlags(fs)
	}, args, 0); err != nil {
		return err
	}
	if !drawable(c) {
		return errNoTerminal
	}
	c.keys = false // they come one by one, not in lines
	ph, err := openPhone(ctx, c, &set)
	if err != nil {
		return err
	}
	defer func() { err = ph.closeAfter(err) }()
	desk, err := sip.NewPhone(&sip.PhoneConfig{UAs: []*sip.UA{ph.ua}})
	if err != nil {
		return err
	}
	defer desk.Close()
	term, leave, err := openTerminal(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &panel{phone: ph, ctx: ctx, desk: desk, term: term, posts: make(chan func(), 64)}
	former := ph.out.redirect(messages{p})
	defer func() {
		cancel()
		p.drain()
		ph.out.redirect(former)
		leave()
	}()
	return p.run(watchKeys(ctx, c.in))
}

// drain waits for what runs beside the loop.
func (p *panel) drain() {
	done := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(done)
	}()
	for {
		select {
		case <-p.posts:
		case <-done:
			return
		}
	}
}

// run draws and does what is asked for until the user leaves.
func (p *panel) run(keys <-chan press) error {
	p.wg.Go(func() { p.watch(p.ctx) })
	p.wg.Go(p.accept)
	p.watchAway()
	lost := make(chan error, 1)
	p.wg.Go(func() { lost <- p.registered(p.ctx) })
	tick := time.NewTicker(panelTick)
	defer tick.Stop()
	for {
		p.term.paint(p.view())
		select {
		case k, ok := <-keys:
			if !ok {
				keys = nil
				p.leaving = true
			} else {
				p.pressed(k)
			}
		case fn := <-p.posts:
			fn()
		case <-tick.C:
		case err := <-lost:
			if p.ctx.Err() == nil {
				return err
			}
		case <-p.ctx.Done():
			p.leaving = true
		}
		if p.leaving {
			p.leave()
			return nil
		}
	}
}

// leave hangs up everything.
func (p *panel) leave() {
	p.merge.forget()
	var wg sync.WaitGroup
	for _, l := range p.lines {
		wg.Go(func() { p.hangup(l.call) })
	}
	wg.Wait()
}

// post brings fn into the loop. It is dropped once the panel has ended.
func (p *panel) post(fn func()) {
	select {
	case p.posts <- fn:
	case <-p.ctx.Done():
	}
}

// do runs something that takes time beside the loop, and says so if it fails.
func (p *panel) do(what string, fn func(ctx context.Context) error) {
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, actionLimit)
		defer cancel()
		err := fn(ctx)
		if err == nil || p.ctx.Err() != nil {
			return
		}
		p.post(func() { p.say("%s: %s", what, explain(err)) })
	})
}

// say adds a message.
func (p *panel) say(format string, args ...any) {
	for text := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		p.said = append(p.said, strings.TrimRight(text, " "))
	}
	p.said = p.said[max(0, len(p.said)-panelMessages):]
}

// messages is where the phone prints its lines while there is a panel.
type messages struct{ p *panel }

func (m messages) Write(b []byte) (int, error) {
	text := strings.TrimRight(string(b), "\n")
	m.p.post(func() { m.p.say("%s", text) })
	return len(b), nil
}

var _ io.Writer = messages{}

// ask asks for something to type.
func (p *panel) ask(text string, then func(answer string)) {
	p.question = &question{text: text, then: then}
}

// choose has one of several things chosen by its number. The only one is taken
// as it is.
func (p *panel) choose(what string, options []string, then func(i int)) {
	if len(options) == 1 {
		then(0)
		return
	}
	text := what
	for i, o := range options {
		text += fmt.Sprintf(" %d %s,", i+1, o)
	}
	p.ask(strings.TrimRight(text, ",")+":", func(answer string) {
		n, err := strconv.Atoi(answer)
		if err != nil || n < 1 || n > len(options) {
			p.say("there is no %s", answer)
			return
		}
		then(n - 1)
	})
}

// answering takes a key while something is asked.
func (p *panel) answering(k press) {
	q := p.question
	switch k {
	case keyEnter:
		p.question = nil
		if answer := strings.TrimSpace(q.typed); answer != "" {
			q.then(answer)
		}
	case keyEscape, keyInterrupt:
		p.question = nil
	case keyErase:
		if r := []rune(q.typed); len(r) > 0 {
			q.typed = string(r[:len(r)-1])
		}
	default:
		if k >= ' ' && k < keyUp && len(q.typed) < maxTyped {
			q.typed += string(rune(k))
		}
	}
}

// errNoCall is for keys that need a call.
var errNoCall = errors.New("there is no call to do that with: c calls somebody")
