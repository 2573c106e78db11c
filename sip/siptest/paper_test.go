package siptest_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// paper is the media of a phone that writes down what it is offered and
// answered, in descriptions such as "alice offers 1".
type paper struct {
	name string

	mu     sync.Mutex
	n      int
	heard  []string
	refuse error
}

// paperwork gives a phone paper media, one for all of its calls.
func paperwork(p *paper) func(*sip.Config) {
	return func(c *sip.Config) {
		c.NewMedia = func(context.Context, offeranswer.Env) (offeranswer.Media, error) { return p, nil }
	}
}

func (p *paper) say(verb string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	return fmt.Appendf(nil, "%s %s %d", p.name, verb, p.n)
}

func (p *paper) hear(sdp []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, string(sdp))
}

func (p *paper) check(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.heard, want) {
		t.Errorf("%s heard %q, want %q", p.name, p.heard, want)
	}
}

func (p *paper) Offer(context.Context, offeranswer.Options) ([]byte, error) {
	return p.say("offers"), nil
}
func (p *paper) Leg(string) (offeranswer.Leg, error)      { return paperLeg{p}, nil }
func (p *paper) Select(offeranswer.Leg) error             { return nil }
func (p *paper) Rebind(context.Context, netip.Addr) error { return nil }
func (p *paper) Close() error                             { return nil }

type paperLeg struct{ *paper }

func (p paperLeg) Answer(_ context.Context, offer []byte, _ offeranswer.Options) ([]byte, error) {
	p.hear(offer)
	p.mu.Lock()
	err := p.refuse
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return p.say("answers"), nil
}
func (p paperLeg) SetAnswer(_ context.Context, sdp []byte, _ bool) error { p.hear(sdp); return nil }
func (p paperLeg) Commit() error                                         { return nil }
func (p paperLeg) Rollback() error                                       { return nil }
func (p paperLeg) Local() []byte                                         { return nil }
func (p paperLeg) Streams() []offeranswer.Stream                         { return nil }

// status is an error with a SIP status.
type status int

func (s status) Error() string  { return fmt.Sprint("status ", int(s)) }
func (s status) SIPStatus() int { return int(s) }
