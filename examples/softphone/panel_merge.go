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

// merge is the conference that the panel's calls are in, if they are. On the
// network it is one call, with the server.
type merge struct {
	conf   *conference.Conference // nil: none
	calls  []*sip.Call
	people []conference.Participant
}

func (m *merge) has(l *line) bool { return m.conf != nil && slices.Contains(m.calls, l.call) }

func (m *merge) network() bool { return m.conf != nil && m.conf.Call() != nil }

// names are those of who takes part.
func (m *merge) names() []string {
	names := make([]string, len(m.people))
	for i, who := range m.people {
		names[i] = shortParty(who.Party)
	}
	return names
}

func (m *merge) forget() { *m = merge{} }

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
	if conf == nil {
		p.do("merge", func(ctx context.Context) error { return p.mergeThem(ctx, calls) })
		return
	}
	network := p.merge.network()
	p.do("merge", func(ctx context.Context) error {
		for _, c := range calls {
			if slices.Contains(before, c) {
				continue
			}
			if err := conf.Add(ctx, c); err != nil {
				return err
			}
		}
		if !network {
			p.post(func() { p.merge.calls = calls })
		}
		return nil
	})
}

// mergeThem merges calls on the network where the account has a conference
// there, and otherwise here.
func (p *panel) mergeThem(ctx context.Context, calls []*sip.Call) error {
	var conf *conference.Conference
	var err error
	if factory := p.set.conference; factory != "" {
		conf, err = conference.Merge(ctx, &conference.Config{Factory: factory, FactoryOnly: true}, calls...)
		if conf == nil && ctx.Err() == nil {
			why := explain(err)
			p.post(func() { p.say("no conference at %s: %s\n  The calls are merged here.", factory, why) })
		}
	}
	if conf == nil && ctx.Err() == nil {
		conf, err = conference.Merge(ctx, &conference.Config{NewMixer: p.newMixer}, calls...)
	}
	if conf == nil {
		return err
	}
	p.post(func() {
		p.merge = merge{conf: conf, calls: calls}
		if own := conf.Call(); own != nil {
			p.merge.calls = []*sip.Call{own}
		}
		p.say("merged %d calls", len(calls))
	})
	p.wg.Go(func() { p.followMerge(conf) })
	if own := conf.Call(); own != nil {
		err = errors.Join(err, p.adopt(ctx, own))
	}
	return err // who did not come
}

// followMerge keeps who takes part, until it is over.
func (p *panel) followMerge(conf *conference.Conference) {
	still := func(fn func()) func() {
		return func() {
			if p.merge.conf == conf {
				fn()
			}
		}
	}
	for people := range conf.Changes(p.ctx) {
		p.post(still(func() { p.merge.people = people }))
	}
	p.post(still(p.merge.forget))
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

// dropFromMerge hangs up the selected call of the merge; on the network it puts
// out of the conference who is chosen.
func (p *panel) dropFromMerge() {
	l := p.selectedLine()
	if l == nil || !p.merge.has(l) {
		p.say("%v", errNotMerged)
		return
	}
	if p.merge.network() {
		conf, people, names := p.merge.conf, p.merge.people, p.merge.names()
		if len(people) == 0 {
			p.say("nobody else is there")
			return
		}
		p.choose("drop", names, func(i int) {
			p.do("dropping "+names[i], func(ctx context.Context) error { return conf.Remove(ctx, people[i]) })
		})
		return
	}
	p.do("dropping a call", func(ctx context.Context) error { return l.call.Hangup(ctx) })
}

var errNotMerged = errors.New("the call is not merged: g merges all")
