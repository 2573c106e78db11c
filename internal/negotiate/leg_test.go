package negotiate

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// answerTo is the body with which peer answers, committed on its side.
func answerTo(t testing.TB, peer *Leg, offer []byte) []byte {
	t.Helper()
	return []byte(mustAnswer(t, peer, offer, offeranswer.Options{}))
}

// pair is two legs that agreed on a first offer of a.
func pair(t testing.TB, ca, cb Config) (a, b *Leg) {
	t.Helper()
	s := newSession(t, ca)
	offer, err := s.Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	a, b = s.Leg(), newSession(t, cb).Leg()
	mustAccept(t, a, answerTo(t, b, offer))
	return a, b
}

func secure(seed byte) Config {
	return config(policy(Required), func(c *Config) { c.Rand = seeded(seed) })
}

func hold(d offeranswer.Direction) offeranswer.Options {
	return offeranswer.Options{Direction: map[int]offeranswer.Direction{0: d}}
}

// Calls that do not fit the state are errors and change nothing.
func TestOutOfOrder(t *testing.T) {
	offer := []byte(head + "m=audio 6000 RTP/AVP 0")
	l := newSession(t, config()).Leg()
	state := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", what, err)
		}
	}
	state("SetAnswer without an offer", l.SetAnswer(offer, false))
	state("Commit of nothing", l.Commit())
	if l.Local() != nil || l.Agreed() != nil || l.Streams() != nil || l.Staged() != nil {
		t.Error("something is agreed")
	}
	mustOffer(t, l, offeranswer.Options{})
	_, err := l.Offer(offeranswer.Options{}, here)
	state("a second offer", err)
	_, err = l.Answer(offer, offeranswer.Options{}, here)
	state("glare", err)
	l.Rollback()
	l.Rollback()
	state("SetAnswer after Rollback", l.SetAnswer(offer, false))
	if _, err := l.Answer(offer, offeranswer.Options{}, here); err != nil {
		t.Fatal(err)
	}
	_, err = l.Offer(offeranswer.Options{}, here)
	state("an offer over a staged answer", err)
	_, err = l.Answer(offer, offeranswer.Options{}, here)
	state("a second offer of the peer", err)
	if err := l.Commit(); err != nil {
		t.Error(err)
	}
	state("a second Commit", l.Commit())
	state("SetAnswer after an answer of ours", l.SetAnswer(offer, false))
}

// A late offer: ours in the 2xx, the peer's answer in the ACK.
func TestLateOffer(t *testing.T) {
	l, peer := newSession(t, secure(1)).Leg(), newSession(t, secure(2)).Leg()
	offer := mustOffer(t, l, offeranswer.Options{})
	m := mustAccept(t, l, answerTo(t, peer, []byte(offer)))
	if !m[0].Secure() || !m[0].Sends() || show(l.Local()) != offer {
		t.Errorf("%+v", m)
	}
}

// A staged answer takes effect with Commit, and is gone after Rollback.
func TestStaged(t *testing.T) {
	a, b := pair(t, secure(1), secure(2))
	before, local := b.Agreed()[0], b.Local()
	offer := mustOffer(t, a, hold(offeranswer.SendOnly))
	if _, err := b.Answer([]byte(offer), offeranswer.Options{}, here); err != nil {
		t.Fatal(err)
	}
	if got := b.Agreed()[0]; got.Local != before.Local || !bytes.Equal(b.Local(), local) {
		t.Error("in force before Commit")
	}
	if got := b.Staged()[0]; got.Local != offeranswer.RecvOnly {
		t.Errorf("staged %v", got.Local)
	}
	b.Rollback()
	if got := b.Agreed()[0]; got.Local != before.Local || !bytes.Equal(b.Local(), local) || b.Staged() != nil {
		t.Error("not rolled back")
	}
	a.Rollback()
	if a.Open() || a.Agreed()[0].Local != offeranswer.SendRecv {
		t.Error("offer not rolled back")
	}
}

// RFC 3264 §8: the version in o= goes up by one when something changed, and
// the text is the same when nothing did.
func TestVersion(t *testing.T) {
	a, b := pair(t, secure(1), secure(2))
	version := func(text string) string { return strings.Fields(text)[3] }
	exchange := func(from, to *Leg, o offeranswer.Options) (offer, answer string) {
		t.Helper()
		offer = mustOffer(t, from, o)
		answer = mustAnswer(t, to, []byte(offer), offeranswer.Options{})
		mustAccept(t, from, []byte(answer))
		return offer, answer
	}
	first := show(a.Local())
	offer, answer := exchange(a, b, offeranswer.Options{})
	if offer != first || version(answer) != "1" {
		t.Errorf("a refresh changed\n%s\n%s", offer, answer)
	}
	offer, answer = exchange(a, b, hold(offeranswer.SendOnly))
	if version(offer) != "2" || version(answer) != "2" {
		t.Errorf("hold: %s, %s", version(offer), version(answer))
	}
	has(t, offer, "a=sendonly")
	has(t, answer, "a=recvonly")
	// A refused offer leaves the agreed description, and its text, in force.
	refused := mustOffer(t, a, hold(offeranswer.Inactive))
	a.Rollback()
	if version(refused) != "3" || show(a.Local()) != offer {
		t.Errorf("%s\n%s", refused, show(a.Local()))
	}
	if again := mustOffer(t, a, hold(offeranswer.Inactive)); again != refused {
		t.Errorf("offered again, it is\n%s", again)
	}
	a.Rollback()
	offer, answer = exchange(a, b, hold(offeranswer.SendRecv))
	if version(offer) != "4" || version(answer) != "3" {
		t.Errorf("resumed: %s, %s", version(offer), version(answer))
	}
	// An address that changes is a change; who made the session does not.
	moved, err := a.Offer(offeranswer.Options{}, ports("2001:db8::1"))
	if err != nil {
		t.Fatal(err)
	}
	has(t, show(moved), "o=- 896744479 5 IN IP4 192.0.2.1", "c=IN IP6 2001:db8::1")
	mustAccept(t, a, answerTo(t, b, moved))
	if got := b.Agreed()[0].RemoteRTP; got != addr("[2001:db8::1]:4000") {
		t.Errorf("b sends to %v", got)
	}
}

// Hold from both sides: each side's wish is its own.
func TestHold(t *testing.T) {
	a, b := pair(t, secure(1), secure(2))
	for _, step := range []struct {
		who    *Leg
		wish   offeranswer.Direction
		answer offeranswer.Direction
	}{
		{a, offeranswer.SendOnly, offeranswer.RecvOnly}, // a holds
		{b, offeranswer.SendOnly, offeranswer.Inactive}, // b too: a still wants sendonly, and may not receive
		{a, offeranswer.SendRecv, offeranswer.SendOnly}, // a resumes, b still holds
		{b, offeranswer.SendRecv, offeranswer.SendRecv},
		{a, offeranswer.Inactive, offeranswer.Inactive},
		{a, offeranswer.SendRecv, offeranswer.SendRecv},
	} {
		other := a
		if step.who == a {
			other = b
		}
		offer := mustOffer(t, step.who, hold(step.wish))
		mustAccept(t, step.who, answerTo(t, other, []byte(offer)))
		m, o := step.who.Agreed()[0], other.Agreed()[0]
		if o.Local != step.answer {
			t.Errorf("offered %v, answered %v, want %v", step.wish, o.Local, step.answer)
		}
		if m.Sends() != o.Receives() || m.Receives() != o.Sends() {
			t.Errorf("no agreement: %+v %+v", m, o)
		}
	}
	// A held peer that makes an offer for another reason does not resume.
	offer := mustOffer(t, a, hold(offeranswer.SendOnly))
	mustAccept(t, a, answerTo(t, b, []byte(offer)))
	offer = mustOffer(t, b, offeranswer.Options{})
	has(t, offer, "a=sendrecv")
	mustAccept(t, b, answerTo(t, a, []byte(offer)))
	if a.Agreed()[0].Local != offeranswer.SendOnly || b.Agreed()[0].Sends() {
		t.Errorf("%+v", a.Agreed()[0])
	}
	// The answerer may change its wish with its answer.
	offer = mustOffer(t, a, hold(offeranswer.SendRecv))
	if _, err := b.Answer([]byte(offer), hold(offeranswer.Inactive), here); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil || b.Agreed()[0].Local != offeranswer.Inactive {
		t.Errorf("%v %+v", err, b.Agreed()[0])
	}
}

// Keys stay unless they are to change (RFC 4568 §7.1.4).
func TestRekey(t *testing.T) {
	a, b := pair(t, secure(1), secure(2))
	keys := func() (ka, kb *sdes.Crypto) { return a.Agreed()[0].LocalCrypto, b.Agreed()[0].LocalCrypto }
	exchange := func(from, to *Leg, o, p offeranswer.Options) {
		t.Helper()
		offer := mustOffer(t, from, o)
		answer := mustAnswer(t, to, []byte(offer), p)
		mustAccept(t, from, []byte(answer))
		ma, mb := a.Agreed()[0], b.Agreed()[0]
		if !ma.LocalCrypto.SameContext(mb.RemoteCrypto) || !mb.LocalCrypto.SameContext(ma.RemoteCrypto) {
			t.Fatal("keys do not meet")
		}
	}
	a0, b0 := keys()
	exchange(a, b, hold(offeranswer.SendOnly), offeranswer.Options{})
	exchange(b, a, offeranswer.Options{}, offeranswer.Options{})
	a1, b1 := keys()
	if !a0.SameContext(a1) || !b0.SameContext(b1) {
		t.Error("keys changed by themselves")
	}
	// A rekeyed offer that is refused changes nothing.
	mustOffer(t, a, offeranswer.Options{NewKeys: true})
	a.Rollback()
	exchange(a, b, offeranswer.Options{}, offeranswer.Options{})
	if a2, _ := keys(); !a2.SameContext(a0) {
		t.Error("keys changed by a refused offer")
	}
	// A new key of the peer's brings a new one of ours.
	exchange(a, b, offeranswer.Options{NewKeys: true}, offeranswer.Options{})
	a3, b3 := keys()
	if a3.SameContext(a0) || b3.SameContext(b0) {
		t.Error("keys did not change")
	}
	exchange(b, a, offeranswer.Options{}, offeranswer.Options{NewKeys: true})
	if a4, b4 := keys(); a4.SameContext(a3) || !b4.SameContext(b3) {
		t.Error("NewKeys in an answer")
	}
}

// The peer's suite may change in a re-offer; tags and keys of our next offer
// fit the new one.
func TestSuiteChange(t *testing.T) {
	l := newSession(t, secure(1)).Leg()
	mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/SAVP 0\na=crypto:3 "+key32), offeranswer.Options{})
	first := l.Agreed()[0].LocalCrypto
	mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/SAVP 0\na=crypto:3 "+key80), offeranswer.Options{})
	second := l.Agreed()[0].LocalCrypto
	if second.Suite != sdes.AESCM128HMACSHA1_80 || bytes.Equal(first.Keys[0].Master, second.Keys[0].Master) {
		t.Error("a key was used for two suites")
	}
	offer := mustOffer(t, l, offeranswer.Options{})
	var tags, order []string
	for line := range strings.SplitSeq(offer, "\n") {
		if v, ok := strings.CutPrefix(line, "a=crypto:"); ok {
			tags = append(tags, strings.Fields(v)[0])
			order = append(order, strings.Fields(v)[1])
		}
	}
	if strings.Join(tags, " ") != "3 1 2 4 5" || order[0] != second.Suite.String() {
		t.Errorf("tags %v, suites %v", tags, order)
	}
	if err := l.SetAnswer([]byte(head+"m=audio 6000 RTP/SAVP 0\na=crypto:3 "+key80), false); err != nil {
		t.Fatal(err)
	}
	if !l.Agreed()[0].LocalCrypto.SameContext(second) {
		t.Error("the key changed")
	}
}

// All legs of a fork answer one offer with one key, and go their own ways.
func TestFork(t *testing.T) {
	s := newSession(t, secure(1))
	offer, err := s.Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	l1, l2 := s.Leg(), s.Leg()
	p1 := newSession(t, config(policy(Required), codecs(pcmu), func(c *Config) { c.Rand = seeded(2) })).Leg()
	p2 := newSession(t, config(policy(Required), codecs(opus), func(c *Config) { c.Rand = seeded(3) })).Leg()
	m1 := mustAccept(t, l1, answerTo(t, p1, offer))[0]
	m2 := mustAccept(t, l2, answerTo(t, p2, offer))[0]
	if m1.LocalCrypto != m2.LocalCrypto || m1.RemoteCrypto.SameContext(m2.RemoteCrypto) {
		t.Error("keys")
	}
	if m1.Send.PT != 0 || m2.Send.PT != 96 {
		t.Errorf("%d %d", m1.Send.PT, m2.Send.PT)
	}
	if !bytes.Equal(l1.Local(), offer) || !bytes.Equal(l2.Local(), offer) {
		t.Error("Local")
	}
	// One changes and the other does not notice.
	again := mustOffer(t, l1, offeranswer.Options{NewKeys: true})
	has(t, again, "o=- 896744479 2 IN IP4 192.0.2.1")
	mustAccept(t, l1, answerTo(t, p1, []byte(again)))
	if !bytes.Equal(l2.Local(), offer) || l2.Agreed()[0].LocalCrypto != m2.LocalCrypto {
		t.Error("the other leg changed")
	}
	// A leg that never hears of the offer can still be offered something.
	l3 := s.Leg()
	got := mustAnswer(t, l3, []byte(head+"m=audio 6000 RTP/SAVP 0\na=crypto:1 "+key80), offeranswer.Options{})
	if !l3.Agreed()[0].Secure() || l3.Open() || !strings.Contains(got, "RTP/SAVP 0") {
		t.Errorf("%+v", l3.Agreed())
	}
	// Another INVITE has other keys, a higher version and the same session.
	second, err := s.Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	has(t, show(second), "o=- 896744479 2 IN IP4 192.0.2.1")
	for line := range strings.SplitSeq(show(second), "\n") {
		if strings.HasPrefix(line, "a=crypto") && strings.Contains(show(offer), line) {
			t.Errorf("%s again", line)
		}
	}
}

// Provisional answers take effect, and later ones supersede them.
func TestProvisional(t *testing.T) {
	s := newSession(t, config(policy(Off)))
	if _, err := s.Offer(offeranswer.Options{}, here); err != nil {
		t.Fatal(err)
	}
	answer := func(port, formats string) []byte { return []byte(head + "m=audio " + port + " RTP/AVP " + formats) }
	l := s.Leg()
	check := func(port uint16, pt uint8) {
		t.Helper()
		m := l.Agreed()
		if len(m) != 1 || m[0].RemoteRTP.Port() != port || m[0].Send.PT != pt {
			t.Errorf("%+v", m)
		}
	}
	set := func(b []byte, provisional bool) {
		t.Helper()
		if err := l.SetAnswer(b, provisional); err != nil {
			t.Fatal(err)
		}
	}
	set(answer("6000", "0"), true)
	check(6000, 0)
	if !l.Open() {
		t.Error("the offer is closed")
	}
	set(answer("6002", "8"), true)
	check(6002, 8)
	if err := l.SetAnswer([]byte("junk"), true); err == nil {
		t.Error("junk")
	}
	check(6002, 8)
	set(answer("6004", "9"), false) // the 200 says something else than the 183
	check(6004, 9)
	if l.Open() {
		t.Error("the offer is open")
	}
	set(answer("6004", "9"), false) // again in a retransmission
	check(6004, 9)
	set(answer("6006", "0"), false) // after a reliable 183
	check(6006, 0)

	// In a re-INVITE, what was provisional goes with the offer.
	mustOffer(t, l, hold(offeranswer.Inactive))
	set(answer("6008", "8"), true)
	check(6008, 8)
	l.Rollback()
	check(6006, 0)
	if m := l.Agreed()[0]; m.Local != offeranswer.SendRecv {
		t.Errorf("%v", m.Local)
	}
}

// The same answer to another offer is read anew.
func TestSameAnswerOtherOffer(t *testing.T) {
	l := newSession(t, config(policy(Off))).Leg()
	mustOffer(t, l, offeranswer.Options{})
	answer := []byte(head + "m=audio 6000 RTP/AVP 0")
	mustAccept(t, l, answer)
	mustOffer(t, l, hold(offeranswer.SendOnly))
	if m := mustAccept(t, l, answer)[0]; m.Local != offeranswer.SendOnly {
		t.Errorf("%v", m.Local)
	}
}

// Streams come and go, and their lines stay (RFC 3264 §8).
func TestAddRemove(t *testing.T) {
	a, b := pair(t, secure(1), secure(2))
	exchange := func(from, to *Leg, o, p offeranswer.Options) (offer, answer string) {
		t.Helper()
		offer = mustOffer(t, from, o)
		answer = mustAnswer(t, to, []byte(offer), p)
		mustAccept(t, from, []byte(answer))
		return offer, answer
	}
	offer, answer := exchange(a, b, offeranswer.Options{
		Add: []offeranswer.Kind{offeranswer.Audio}, Direction: map[int]offeranswer.Direction{1: offeranswer.SendOnly},
	}, offeranswer.Options{})
	has(t, offer, "m=audio 4002 RTP/SAVP 96 9 0 8 101 97 13")
	has(t, answer, "m=audio 4002 RTP/SAVP 96 9 0 8 101 97 13", "a=recvonly")
	if ma, mb := a.Agreed(), b.Agreed(); len(ma) != 2 || ma[0].LocalCrypto.SameContext(ma[1].LocalCrypto) || !mb[1].Receives() || mb[1].Sends() {
		t.Errorf("%+v\n%+v", ma, mb)
	}
	if s := b.Streams(); len(s) != 2 || s[1].Local != offeranswer.RecvOnly || !s[1].Secure || s[1].Detail != "opus/48000/2, AEAD_AES_128_GCM" {
		t.Errorf("%+v", s)
	}
	offer, answer = exchange(b, a, offeranswer.Options{Remove: []int{0}}, offeranswer.Options{})
	has(t, offer, "m=audio 0 RTP/SAVP 96 9 0 8 101 97 13", "m=audio 4002 RTP/SAVP 96 9 0 8 101 97 13")
	has(t, answer, "m=audio 0 RTP/SAVP 96 9 0 8 101 97 13")
	if s := a.Streams(); !s[0].Disabled || s[1].Disabled || s[0].Detail != "" {
		t.Errorf("%+v", s)
	}
	// The other side can refuse a stream that was there.
	_, answer = exchange(b, a, offeranswer.Options{}, offeranswer.Options{Remove: []int{1}})
	has(t, answer, "m=audio 0 RTP/SAVP 96 9 0 8 101 97 13", "!m=audio 4")
	offer, _ = exchange(a, b, offeranswer.Options{Add: []offeranswer.Kind{offeranswer.Audio}}, offeranswer.Options{})
	if strings.Count(offer, "m=audio") != 3 {
		t.Errorf("%s", offer)
	}
	// And never fewer lines.
	if _, err := a.Answer([]byte(head+"m=audio 6000 RTP/SAVP 0\na=crypto:1 "+key80), offeranswer.Options{}, here); !errors.Is(err, ErrContradiction) {
		t.Errorf("fewer lines: %v", err)
	}
}

// A place that is off may get another kind, a live one may not (RFC 3264 §8.1).
func TestKindChange(t *testing.T) {
	l := newSession(t, config(plain)).Leg()
	mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/AVP 0\nm=video 6002 RTP/AVP 31"), offeranswer.Options{})
	got := mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/AVP 0\nm=audio 6002 RTP/AVP 8"), offeranswer.Options{})
	has(t, got, "m=audio 4002 RTP/AVP 8")
	_, err := l.Answer([]byte(head+"m=video 6000 RTP/AVP 31\nm=audio 6002 RTP/AVP 8"), offeranswer.Options{}, here)
	isRefusal(t, err, ErrContradiction)
	// Off and on again: the wish of before holds.
	mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/AVP 0\nm=audio 6002 RTP/AVP 8"), hold(offeranswer.SendOnly))
	mustAnswer(t, l, []byte(head+"m=audio 0 RTP/AVP 0\nm=audio 6002 RTP/AVP 8"), offeranswer.Options{})
	got = mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/AVP 0\nm=audio 6002 RTP/AVP 8"), offeranswer.Options{})
	has(t, got, "a=sendonly", "a=sendrecv")
}

// Our numbers never change their meaning (RFC 3264 §8.3.2), whatever the peer
// does with its own.
func TestNumbers(t *testing.T) {
	s := newSession(t, config(policy(Off), codecs(opus, ilbc, pcmu)))
	if _, err := s.Offer(offeranswer.Options{}, here); err != nil { // 96 opus, 97 iLBC, 101 and 98 events
		t.Fatal(err)
	}
	l := s.Leg()
	m := mustAccept(t, l, []byte(head+"m=audio 6000 RTP/AVP 97 110\na=rtpmap:97 opus/48000/2\na=rtpmap:110 iLBC/8000"))[0]
	if m.Send.PT != 97 || m.Recv[96].Codec != codec.Codec(opus) || m.Recv[97].Codec != codec.Codec(ilbc) {
		t.Errorf("%+v", m)
	}
	// The peer offers opus as 97, which means iLBC to us: it keeps our 96.
	got := mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/AVP 97 110\na=rtpmap:97 opus/48000/2\na=rtpmap:110 iLBC/8000"), offeranswer.Options{})
	has(t, got, "m=audio 4000 RTP/AVP 96 110", "a=rtpmap:96 opus/48000/2", "a=rtpmap:110 iLBC/8000")
	m = l.Agreed()[0]
	if m.Send.PT != 97 || m.Recv[97].Codec != codec.Codec(ilbc) || m.Recv[110].Codec != codec.Codec(ilbc) || m.Recv[96].Codec != codec.Codec(opus) {
		t.Errorf("%+v", m)
	}
	// Our next offer repeats what stood there last, and avoids their numbers.
	has(t, mustOffer(t, l, offeranswer.Options{}), "m=audio 4000 RTP/AVP 96 110 0 101 98 13")
}

// With every number taken, what does not fit is left out.
func TestNumbersExhausted(t *testing.T) {
	var cs []codec.Codec
	for i := range maxCodecs {
		cs = append(cs, fake{f: codec.Format{Name: "x", ClockRate: 8000 + i, PayloadType: codec.Dynamic}})
	}
	cs[0] = pcmu
	s := newSession(t, config(policy(Off), codecs(cs...)))
	offer, err := s.Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.SplitSeq(show(offer), "\n") {
		if pt, ok := strings.CutPrefix(line, "a=rtpmap:"); ok {
			pt, _, _ = strings.Cut(pt, " ")
			if seen[pt] {
				t.Errorf("%s twice", pt)
			}
			seen[pt] = true
		}
	}
	if len(seen) != 63 { // PCMU, CN, 96 to 127 and 35 to 63
		t.Errorf("%d formats", len(seen))
	}
}
