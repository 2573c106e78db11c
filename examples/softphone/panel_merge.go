package main

import (
	"context"
	"errors"
	"slices"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// merge is the conference that the panel's calls are in, if they are.
type merge struct {
	conf  *conference.Conference // nil: none
	calls []*sip.Call
}

func (m *merge) has(l *line) bool { return m.conf != nil && slices.Contains(m.calls, l.call) }

func (m *merge) forget() { m.conf, m.calls = nil, nil }

// mergeAll joins all calls that are answered.
func (p *panel) mergeAll() {
	var calls []*sip.Call
	for _, l := range p.lines {
		if l.call.State() == sip.CallEstablished {
			calls = append(calls, l.call)
		}
	}
	if len(calls) < 2 {
		p.say("merge: there have to be two calls that are answered")
		return
	}
	conf, before := p.merge.conf, p.merge.calls
	p.do("merge", func(ctx context.Context) error {
		if conf != nil {
			for _, c := range calls {
				if slices.Contains(before, c) {
					continue
				}
				if err := conf.Add(ctx, c); err != nil {
					return err
				}
			}
			p.post(func() { p.merge.calls = calls })
			return nil
		}
		made, err := conference.Merge(ctx, &conference.Config{NewMixer: p.newMixer}, calls...)
		if err != nil {
			return err
		}
		p.post(func() {
			p.merge = merge{conf: made, calls: calls}
			p.say("merged %d calls", len(calls))
		})
		return nil
	})
}

// newMixer gives the mixer what -play says; what is heard is recorded call by call.
func (p *panel) newMixer() (offeranswer.Mixer, error) {
	m, err := p.eng.NewMixer()
	if err != nil || p.sound == nil {
		return m, err
	}
	src, err := p.sound.source()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, m.(*media.Mixer).SetSource(src)
}

// split takes the merge apart: its calls are single ones again.
func (p *panel) split() {
	conf := p.merge.conf
	if conf == nil {
		p.say("%v", errNotMerged)
		return
	}
	p.do("taking the merge apart", func(ctx context.Context) error {
		if _, err := conf.Split(ctx); err != nil {
			return err
		}
		p.post(p.merge.forget)
		return nil
	})
}

// dropFromMerge hangs up the selected call of the merge.
func (p *panel) dropFromMerge() {
	l := p.selectedLine()
	if l == nil || !p.merge.has(l) {
		p.say("%v", errNotMerged)
		return
	}
	p.do("dropping a call", func(ctx context.Context) error { return l.call.Hangup(ctx) })
}

var errNotMerged = errors.New("the call is not merged: g merges all")
