package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/hoorn-phone/hoorn/sip"
)

func runListen(ctx context.Context, c *console, args []string) (err error) {
	var set settings
	if _, err := set.parse(c, find("listen"), func(fs *flag.FlagSet) {
		set.accountFlags(fs)
		set.soundFlags(fs)
		set.limitFlag(fs, "hang up each call")
		set.listenFlags(fs)
	}, args, 0); err != nil {
		return err
	}
	p, err := openPhone(ctx, c, &set)
	if err != nil {
		return err
	}
	defer func() { err = p.closeAfter(err) }()
	if p.keys == nil && !set.autoAnswer {
		p.out.line("nobody is here to answer: calls ring until their callers give up (-auto-answer takes them)")
	}
	return p.listen(ctx)
}

// listen takes calls, one at a time, until the context or the registration
// ends, or -calls is reached.
func (p *phone) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go p.watch(ctx)
	go func() { lost <- p.registered(ctx) }()

	line := make(chan struct{}, 1) // full while somebody is on it
	incoming := make(chan *sip.Call)
	go p.accept(ctx, line, incoming)

	var failed error
	for n := 0; p.set.calls == 0 || n < p.set.calls; {
		select {
		case call := <-incoming:
			n++
			err := p.take(ctx, call)
			if err != nil {
				p.out.line("%s", explain(err))
				failed = errors.Join(failed, err)
			}
			<-line
		case err := <-lost:
			return err
		case k, ok := <-p.keys:
			switch {
			case !ok:
				p.keys = nil
			case k == "q":
				return nil
			default:
				p.out.line("nobody calls; q: leave")
			}
		}
	}
	if failed != nil {
		return fmt.Errorf("not every call went well: %w", failed)
	}
	return nil
}

// accept hands calls on, and turns away those that come while somebody is on
// the line.
func (p *phone) accept(ctx context.Context, line chan<- struct{}, incoming chan<- *sip.Call) {
	for {
		call, err := p.ua.Accept(ctx)
		if err != nil {
			return
		}
		select {
		case line <- struct{}{}:
		default:
			p.out.line("%s calls and is told that we are busy", party(call.Remote()))
			_ = call.Reject(ctx, 486) // its caller may have given up already
			continue
		}
		select {
		case incoming <- call:
		case <-ctx.Done():
			return
		}
	}
}

// take decides about a call, and is it if it is answered.
func (p *phone) take(ctx context.Context, call *sip.Call) error {
	p.out.line("%s calls", party(call.Remote()))
	told := p.follow(call)
	answer := p.set.autoAnswer
	if !answer {
		if err := call.Ring(ctx); err == nil {
			answer = p.decide(ctx, call)
		}
	}
	var err error
	if answer {
		err = p.answer(ctx, call)
	} else if end := call.End(); end.By == sip.Remote {
		p.out.line("they gave up%s", because(end.Reasons))
	}
	if call.State() != sip.CallEnded {
		p.hangup(call)
	}
	told()
	return err
}

// answer takes a call and is it until its end.
func (p *phone) answer(ctx context.Context, call *sip.Call) error {
	err := call.Answer(ctx, nil)
	switch {
	case err == nil:
		return p.talk(ctx, call)
	case ctx.Err() != nil:
		return nil
	case call.End().By == sip.Remote:
		p.out.line("they gave up just then")
		return nil
	}
	return err
}

// decide waits for somebody to answer or decline a call that rings.
func (p *phone) decide(ctx context.Context, call *sip.Call) (answer bool) {
	if p.keys != nil {
		p.out.line("%s", keysIncoming)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = call.Wait(context.WithoutCancel(ctx))
	}()
	for {
		select {
		case <-over:
			return false
		case <-ctx.Done():
			_ = call.Reject(context.WithoutCancel(ctx), 480)
			return false
		case k, ok := <-p.keys:
			switch {
			case !ok:
				p.keys = nil
			case k == "a":
				return true
			case k == "d", k == "q", k == "h":
				_ = call.Reject(ctx, 603)
				p.out.line("declined")
				return false
			default:
				p.out.line("%s", keysIncoming)
			}
		}
	}
}
