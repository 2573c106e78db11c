package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

func runCall(ctx context.Context, c *console, args []string) (err error) {
	var set settings
	rest, err := set.parse(c, find("call"), func(fs *flag.FlagSet) {
		set.accountFlags(fs)
		set.soundFlags(fs)
		set.limitFlag(fs, "hang up")
		set.callFlags(fs)
	}, args, 1)
	if err != nil {
		return err
	}
	p, err := openPhone(ctx, c, &set)
	if err != nil {
		return err
	}
	defer func() { err = p.closeAfter(err) }()
	return p.call(ctx, rest[0])
}

// call calls somebody and stays until the call has ended.
func (p *phone) call(ctx context.Context, uri string) error {
	start := time.Now()
	call, err := p.ua.Start(ctx, uri, nil)
	if err != nil {
		return err
	}
	p.out.line("calling %s", party(call.Remote()))
	defer p.follow(call)()
	if err := p.ringing(ctx, call); err != nil {
		return err
	}
	p.out.line("answered after %s", milliseconds(time.Since(start)))
	return p.talk(ctx, call)
}

// ringing waits until the callee has answered.
func (p *phone) ringing(ctx context.Context, call *sip.Call) error {
	up := make(chan error, 1)
	go func() { up <- call.Answered(context.WithoutCancel(ctx)) }()
	for {
		var giveUp error
		select {
		case err := <-up:
			return err
		case <-ctx.Done():
			giveUp = context.Cause(ctx)
		case k, ok := <-p.keys:
			switch {
			case !ok:
				p.keys = nil
			case k == "h" || k == "q":
				giveUp = errInterrupted
			default:
				p.out.line("%s", keysRinging)
			}
		}
		if giveUp != nil {
			p.hangup(call)
			return giveUp
		}
	}
}

// hangup ends a call and waits until it has.
func (p *phone) hangup(call *sip.Call) {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	err := call.Hangup(ctx)
	if err == nil {
		// Wait's error is how the call ended, and known from End.
		if call.Wait(ctx); ctx.Err() != nil {
			err = errors.New("no answer")
		}
	}
	if err != nil {
		p.out.line("hanging up: %v", err)
	}
}

// follow prints what happens to a call. The function it returns waits until
// all is told of a call that has ended.
func (p *phone) follow(call *sip.Call) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range call.Events(context.Background()) {
			switch e.Kind {
			case sip.Progress:
				p.out.line("%d %s", e.Status, printable(e.Phrase))
			case sip.MediaStarted:
				p.out.line("they are heard")
			case sip.MediaTimeout:
				p.out.line("nothing is heard any more: %v", e.Err)
			}
		}
	}()
	return func() {
		<-done
	}
}

// party shows somebody.
func party(who sip.Party) string {
	if who.Name != "" {
		return printable(who.Name + " <" + who.URI + ">")
	}
	return printable(who.URI)
}
