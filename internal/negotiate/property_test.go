package negotiate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// end is one side of a random call, with what must hold about everything that
// it ever said.
type end struct {
	name    string
	leg     *Leg
	host    string
	version string
	body    string            // of the last description, without o=
	texts   map[string]string // all of them, by version
	lines   int               // m= lines agreed
	meaning map[string]string // "stream/payload type" to rtpmap
}

func (e *end) at() Locate { return ports(e.host) }

// said checks a description of e.
func (e *end) said(t *testing.T, b []byte) {
	t.Helper()
	d := show(b)
	stream := -1
	var rest []string
	version := ""
	for line := range strings.SplitSeq(d, "\n") {
		if v, ok := strings.CutPrefix(line, "o="); ok {
			version = strings.Fields(v)[2]
			continue
		}
		rest = append(rest, line)
		if strings.HasPrefix(line, "m=") {
			stream++
		}
		if v, ok := strings.CutPrefix(line, "a=rtpmap:"); ok {
			pt, what, _ := strings.Cut(v, " ")
			key := fmt.Sprint(stream, "/", pt)
			if old, ok := e.meaning[key]; ok && old != what {
				t.Fatalf("%s: %s was %s and is %s", e.name, key, old, what)
			}
			e.meaning[key] = what
		}
	}
	body := strings.Join(rest, "\n")
	if stream+1 < e.lines {
		t.Fatalf("%s: %d lines of %d", e.name, stream+1, e.lines)
	}
	if body == e.body && version != e.version {
		t.Fatalf("%s: nothing changed from version %s to %s", e.name, e.version, version)
	}
	if old, ok := e.texts[version]; ok && old != body {
		t.Fatalf("%s: version %s has two texts\n%s\n%s", e.name, version, old, body)
	}
	e.texts[version] = body
	e.body, e.version = body, version
}

// randomOptions are options that fit a leg.
func randomOptions(r *rand.Rand, l *Leg, offer bool) offeranswer.Options {
	var o offeranswer.Options
	n := len(l.Agreed())
	if n > 0 && r.IntN(2) == 0 {
		o.Direction = map[int]offeranswer.Direction{r.IntN(n): offeranswer.Direction(r.IntN(4))}
	}
	o.NewKeys = r.IntN(5) == 0
	if offer && n < 4 && r.IntN(8) == 0 {
		o.Add = []offeranswer.Kind{offeranswer.Audio}
	}
	if n > 1 && r.IntN(12) == 0 {
		o.Remove = []int{1 + r.IntN(n-1)}
	}
	return o
}

// agree checks that two legs mean the same.
func agree(t *testing.T, a, b *end) {
	t.Helper()
	ma, mb := a.leg.Agreed(), b.leg.Agreed()
	if len(ma) != len(mb) {
		t.Fatalf("%d and %d streams", len(ma), len(mb))
	}
	for i := range ma {
		one := func(x, y *Media, xn string) {
			t.Helper()
			fail := func(what string) {
				t.Helper()
				t.Fatalf("stream %d, %s: %s\n%+v\n%+v", i, xn, what, x, y)
			}
			if x.Disabled != y.Disabled || x.Kind != y.Kind {
				fail("disabled or kind")
			}
			if x.Disabled {
				return
			}
			if x.Sends() != y.Receives() {
				fail("direction")
			}
			if x.RemoteRTP != y.Transport.RTP || x.Mux != y.Mux {
				fail("address")
			}
			rtcp := y.Transport.RTCP
			if x.Mux {
				rtcp = y.Transport.RTP
			}
			if x.RemoteRTCP != rtcp {
				fail("RTCP address")
			}
			f := y.Recv[x.Send.PT]
			if f.Codec == nil || f.Codec.Format() != x.Send.Codec.Format() {
				fail("codec")
			}
			if (f.LocalFmtp != x.Send.RemoteFmtp) || (f.RemoteFmtp != x.Send.LocalFmtp) {
				fail("fmtp")
			}
			if x.DTMFSend.Rate != 0 && y.DTMFRecv[x.DTMFSend.PT] != x.DTMFSend.Rate {
				fail("events")
			}
			if x.CN != y.CN {
				fail("comfort noise")
			}
			if !x.LocalCrypto.SameContext(y.RemoteCrypto) || x.LocalCrypto != nil && x.LocalCrypto.Tag != y.RemoteCrypto.Tag {
				fail("keys")
			}
			if x.LocalCrypto.SameContext(x.RemoteCrypto) && x.LocalCrypto != nil {
				fail("one key for both directions")
			}
		}
		one(&ma[i], &mb[i], a.name)
		one(&mb[i], &ma[i], b.name)
	}
}

// Two ends that make offers, accept and refuse them in random order always
// agree on what they agreed.
func TestRandomCalls(t *testing.T) {
	all := []codec.Codec{opus, g722, pcmu, pcma, ilbc, g729}
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			policies := [][2]Policy{{Required, Required}, {Optional, Optional}, {Off, Off}, {Required, Optional}, {Optional, Off}}[r.IntN(5)]
			if r.IntN(2) == 0 {
				policies[0], policies[1] = policies[1], policies[0]
			}
			var ends [2]*end
			for i := range ends {
				// PCMU is always there, so that there is an agreement.
				cs := []codec.Codec{pcmu}
				for _, c := range all {
					if c != codec.Codec(pcmu) && r.IntN(2) == 0 {
						cs = append(cs, c)
					}
				}
				r.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
				suites := sdes.Suites()
				r.Shuffle(len(suites), func(i, j int) { suites[i], suites[j] = suites[j], suites[i] })
				s := newSession(t, Config{
					Codecs: cs, DTMF: r.IntN(2) == 0, CN: r.IntN(2) == 0, Policy: policies[i],
					Suites: suites, RTCPMux: r.IntN(2) == 0, PreferOwn: r.IntN(4) == 0, Rand: seeded(byte(i + 1)),
				})
				ends[i] = &end{
					name: string(rune('a' + i)), leg: s.Leg(), host: fmt.Sprintf("192.0.2.%d", i+1),
					meaning: make(map[string]string), texts: make(map[string]string),
				}
			}
			for range 30 {
				from, to := ends[0], ends[1]
				if r.IntN(2) == 0 {
					from, to = to, from
				}
				if r.IntN(6) == 0 {
					from.host = netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + r.IntN(250))}).String()
				}
				step(t, r, from, to)
				agree(t, ends[0], ends[1])
			}
		})
	}
}

// step is one exchange, which may be refused by either side.
func step(t *testing.T, r *rand.Rand, from, to *end) {
	t.Helper()
	offer, err := from.leg.Offer(randomOptions(r, from.leg, true), from.at())
	if err != nil {
		t.Fatal(err)
	}
	from.said(t, offer)
	if r.IntN(6) == 0 { // lost, or refused by something between
		from.leg.Rollback()
		return
	}
	answer, err := to.leg.Answer(offer, randomOptions(r, to.leg, false), to.at())
	if err != nil {
		t.Fatalf("%v\n%s", err, show(offer))
	}
	to.said(t, answer)
	if r.IntN(6) == 0 {
		to.leg.Rollback()
		from.leg.Rollback()
		return
	}
	if r.IntN(3) == 0 {
		if err := from.leg.SetAnswer(answer, true); err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			from.leg.Rollback()
			to.leg.Rollback()
			return
		}
	}
	if err := to.leg.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := from.leg.SetAnswer(answer, false); err != nil {
		t.Fatalf("%v\n%s\n%s", err, show(offer), show(answer))
	}
	from.lines, to.lines = len(from.leg.Agreed()), len(to.leg.Agreed())
}
