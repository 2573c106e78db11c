package negotiate

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// fake is a codec that exists for its name only.
type fake struct {
	f      codec.Format
	refuse string // fmtp that Negotiate refuses
	answer string // fmtp that it answers with
}

func (c fake) Format() codec.Format { return c.f }
func (c fake) SampleRate() int      { return c.f.ClockRate }
func (c fake) Negotiate(remote string) (string, bool) {
	return c.answer, c.refuse == "" || remote != c.refuse
}
func (fake) NewEncoder(codec.Params) (codec.Encoder, error) { return nil, codec.ErrParams }
func (fake) NewDecoder(codec.Params) (codec.Decoder, error) { return nil, codec.ErrParams }
func (c fake) PTime(asked time.Duration) time.Duration      { return min(asked, 60*time.Millisecond) }

var (
	opus = fake{
		f:      codec.Format{Name: "opus", ClockRate: 48000, Channels: 2, PayloadType: codec.Dynamic, Fmtp: "useinbandfec=1"},
		answer: "useinbandfec=1",
	}
	pcmu = fake{f: codec.Format{Name: "PCMU", ClockRate: 8000, PayloadType: 0}}
	pcma = fake{f: codec.Format{Name: "PCMA", ClockRate: 8000, PayloadType: 8}}
	g722 = fake{f: codec.Format{Name: "G722", ClockRate: 8000, PayloadType: 9}}
	g729 = fake{f: codec.Format{Name: "G729", ClockRate: 8000, PayloadType: 18}, refuse: "annexb=yes"}
	ilbc = fake{f: codec.Format{Name: "iLBC", ClockRate: 8000, PayloadType: codec.Dynamic, Fmtp: "mode=20"}}
)

// seeded is randomness that is the same in each run.
func seeded(n byte) *rand.ChaCha8 {
	var seed [32]byte
	seed[0] = n
	return rand.NewChaCha8(seed)
}

// config is a softphone that encrypts when it can.
func config(change ...func(*Config)) Config {
	c := Config{
		Codecs: []codec.Codec{opus, g722, pcmu, pcma}, DTMF: true, CN: true,
		Policy: Optional, RTCPMux: true, Rand: seeded(1),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func codecs(cs ...codec.Codec) func(*Config) { return func(c *Config) { c.Codecs = cs } }
func policy(p Policy) func(*Config)          { return func(c *Config) { c.Policy = p } }
func plain(c *Config)                        { c.DTMF, c.CN, c.RTCPMux, c.Policy = false, false, false, Off }

func newSession(t testing.TB, c Config) *Session {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ports is a Locate that gives stream i the ports 4000+2i and 4001+2i.
func ports(host string) Locate {
	return func(i int, _ netip.Addr) (Transport, error) {
		a := netip.MustParseAddr(host)
		return Transport{
			RTP:  netip.AddrPortFrom(a, uint16(4000+2*i)),
			RTCP: netip.AddrPortFrom(a, uint16(4001+2*i)),
		}, nil
	}
}

var here = ports("192.0.2.1")

// lines makes a body from lines.
func body(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

// text makes a body from indented text.
func text(s string) []byte {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		out = append(out, strings.TrimSpace(line))
	}
	return body(out...)
}

// show is a body for comparison and for messages.
func show(b []byte) string { return strings.ReplaceAll(string(b), "\r\n", "\n") }

func mustAnswer(t testing.TB, l *Leg, offer []byte, o offeranswer.Options) string {
	t.Helper()
	b, err := l.Answer(offer, o, here)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
	return show(b)
}

func mustOffer(t testing.TB, l *Leg, o offeranswer.Options) string {
	t.Helper()
	b, err := l.Offer(o, here)
	if err != nil {
		t.Fatal(err)
	}
	return show(b)
}

func mustAccept(t testing.TB, l *Leg, answer []byte) []Media {
	t.Helper()
	if err := l.SetAnswer(answer, false); err != nil {
		t.Fatal(err)
	}
	return l.Agreed()
}

// has checks that a description has all of these lines, and none of those that
// begin with "!".
func has(t testing.TB, desc string, lines ...string) {
	t.Helper()
	all := strings.Split(desc, "\n")
	for _, want := range lines {
		want, not := strings.CutPrefix(want, "!")
		found := false
		for _, line := range all {
			found = found || line == want || not && strings.HasPrefix(line, want)
		}
		if found == not {
			t.Errorf("line %q: found %v in\n%s", want, found, desc)
		}
	}
}
