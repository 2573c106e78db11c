package e2e_test

import (
	"context"
	"net/netip"
	"sync"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// paper is the media of a call on paper alone: descriptions are negotiated as
// ever, and no packet is sent. It counts those that are open.
type paper struct {
	open *papers
	env  offeranswer.Env

	mu   sync.Mutex
	neg  *negotiate.Session
	legs map[string]*paperLeg
	done bool
}

// papers are all media of a walk.
type papers struct {
	mu sync.Mutex
	n  int
}

func (p *papers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *papers) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += n
}

func (p *papers) newMedia(_ context.Context, env offeranswer.Env) (offeranswer.Media, error) {
	// Optional, as accounts on TLS and on UDP talk with each other.
	neg, err := negotiate.New(negotiate.Config{Codecs: []codec.Codec{g711.PCMU()}, Policy: negotiate.Optional})
	if err != nil {
		return nil, err
	}
	p.add(1)
	return &paper{open: p, env: env, neg: neg, legs: make(map[string]*paperLeg)}, nil
}

func (m *paper) at(int, netip.Addr) (negotiate.Transport, error) {
	return negotiate.Transport{RTP: netip.AddrPortFrom(m.env.Local, 4000)}, nil
}

func (m *paper) Offer(_ context.Context, o offeranswer.Options) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.neg.Offer(o, m.at)
}

func (m *paper) Leg(dialog string) (offeranswer.Leg, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.legs[dialog]
	if l == nil {
		l = &paperLeg{m: m, dialog: dialog, neg: m.neg.Leg()}
		m.legs[dialog] = l
	}
	return l, nil
}

func (m *paper) Select(l offeranswer.Leg) error {
	m.env.Notify(offeranswer.Event{Kind: offeranswer.Started, Leg: l.(*paperLeg).dialog})
	return nil
}

func (m *paper) Rebind(context.Context, netip.Addr) error { return nil }

func (m *paper) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.done {
		m.done = true
		m.open.add(-1)
	}
	return nil
}

type paperLeg struct {
	m      *paper
	dialog string
	neg    *negotiate.Leg
}

func (l *paperLeg) Offer(_ context.Context, o offeranswer.Options) ([]byte, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.neg.Offer(o, l.m.at)
}

func (l *paperLeg) Answer(_ context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.neg.Answer(offer, o, l.m.at)
}

func (l *paperLeg) SetAnswer(_ context.Context, sdp []byte, provisional bool) error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.neg.SetAnswer(sdp, provisional)
}

func (l *paperLeg) Commit() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.neg.Commit()
}

func (l *paperLeg) Rollback() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.neg.Rollback()
	return nil
}

func (l *paperLeg) Local() []byte {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.neg.Local()
}

func (l *paperLeg) Streams() []offeranswer.Stream {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.neg.Streams()
}

func (l *paperLeg) Close() error { return nil }
