package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
)

// awayCall is a call on another of the user's devices.
type awayCall struct {
	number int
	callpull.Call
}

// watchAway follows the calls of the user's other devices. A server that does
// not tell them is said so once, and the panel does without.
func (p *panel) watchAway() {
	p.do("calls of your other devices", func(ctx context.Context) error {
		w, err := callpull.Watch(ctx, p.ua, &callpull.Config{Code: p.set.pullCode})
		if err != nil {
			return err
		}
		p.post(func() { p.watcher = w })
		p.wg.Go(func() {
			for calls := range w.Changes(p.ctx) {
				p.post(func() { p.elsewhere(calls) })
			}
			ctx, cancel := context.WithTimeout(context.Background(), endLimit)
			defer cancel()
			_ = w.Close(ctx) // the server forgets it by itself
		})
		return nil
	})
}

// elsewhere shows what there is on other devices. Who is still there keeps his
// number.
func (p *panel) elsewhere(calls []callpull.Call) {
	var away []awayCall
	for _, c := range calls {
		a := awayCall{Call: c}
		if i := slices.IndexFunc(p.away, func(x awayCall) bool { return x.ID == c.ID }); i >= 0 {
			a.number = p.away[i].number
		} else {
			p.numbered++
			a.number = p.numbered
		}
		away = append(away, a)
	}
	p.away = away
	if p.selectedLine() == nil && len(p.lines) == 0 && len(away) > 0 && !slices.ContainsFunc(away, func(a awayCall) bool { return a.number == p.chosen }) {
		p.chosen = away[0].number
	}
}

// row shows the call.
func (a awayCall) row(now time.Time) row {
	r := row{number: a.number, who: shortParty(a.Remote), state: "elsewhere, " + string(a.State), away: true, detail: a.Device}
	if a.Held {
		r.state = "elsewhere, held"
	}
	if !a.Since.IsZero() {
		r.lasts = now.Sub(a.Since)
	}
	return r
}

// adopt shows a call that was made without the telephone's doing, and makes it
// the active one.
func (p *panel) adopt(ctx context.Context, call *sip.Call) error {
	p.post(func() { p.chosen = p.add(call).number })
	return p.desk.Adopt(ctx, call)
}

var (
	errNothingAway = errors.New("none of your other devices has a call")
	errWhichAway   = errors.New("there are several: select one")
	errNoWatch     = errors.New("the server has not told the calls of your other devices")
)

// pull brings here the selected call of another device, or the only one.
func (p *panel) pull() {
	if p.watcher == nil {
		p.say("pull: %v", errNoWatch)
		return
	}
	i := slices.IndexFunc(p.away, func(a awayCall) bool { return a.number == p.chosen })
	switch {
	case len(p.away) == 0:
		p.say("pull: %v", errNothingAway)
		return
	case i < 0 && len(p.away) > 1:
		p.say("pull: %v", errWhichAway)
		return
	case i < 0:
		i = 0
	}
	w, c := p.watcher, p.away[i].Call
	p.do("pull", func(ctx context.Context) error {
		call, err := w.Pull(ctx, c, nil)
		if err != nil {
			return err
		}
		return p.adopt(ctx, call)
	})
}
