package main

import (
	"context"
	"flag"
	"time"
)

func runRegister(ctx context.Context, c *console, args []string) (err error) {
	var set settings
	if _, err := set.parse(c, find("register"), func(fs *flag.FlagSet) {
		set.accountFlags(fs)
		set.limitFlag(fs, "leave")
	}, args, 0); err != nil {
		return err
	}
	set.codecs, set.srtp = "opus", "auto" // who calls meanwhile is turned away
	p, err := openPhone(ctx, c, &set)
	if err != nil {
		return err
	}
	defer func() { err = p.closeAfter(err) }()

	var cancel context.CancelFunc
	ctx, cancel = p.limited(ctx)
	defer cancel()
	go p.watch(ctx)
	go func() {
		for {
			call, err := p.ua.Accept(ctx)
			if err != nil {
				return
			}
			p.out.line("%s calls: turned away, since this only registers", party(call.Remote()))
			_ = call.Reject(ctx, 480)
		}
	}()
	return p.registered(ctx)
}

// registered waits until the registration or the context has ended; the latter
// is no error.
func (p *phone) registered(ctx context.Context) error {
	if err := p.reg.Wait(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// limited returns a context with the bound of -for.
func (p *phone) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.set.limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, p.set.limit)
}

// since is how long ago something was, for people.
func since(t time.Time) string { return clock(time.Since(t)) }
