package negotiate

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

func TestFirstOffer(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		at   Locate
		want string
	}{
		{"everything in the clear", config(policy(Off)), here, `
			v=0
			o=- 896744479 1 IN IP4 192.0.2.1
			s=-
			c=IN IP4 192.0.2.1
			t=0 0
			m=audio 4000 RTP/AVP 96 9 0 8 101 97 13
			a=rtpmap:96 opus/48000/2
			a=fmtp:96 useinbandfec=1
			a=rtpmap:9 G722/8000
			a=rtpmap:0 PCMU/8000
			a=rtpmap:8 PCMA/8000
			a=rtpmap:101 telephone-event/8000
			a=fmtp:101 0-16
			a=rtpmap:97 telephone-event/48000
			a=fmtp:97 0-16
			a=rtpmap:13 CN/8000
			a=ptime:20
			a=sendrecv
			a=rtcp-mux`},
		{"events and noise for the clocks in use only", config(policy(Off), codecs(opus)), here, `
			v=0
			o=- 896744479 1 IN IP4 192.0.2.1
			s=-
			c=IN IP4 192.0.2.1
			t=0 0
			m=audio 4000 RTP/AVP 96 97
			a=rtpmap:96 opus/48000/2
			a=fmtp:96 useinbandfec=1
			a=rtpmap:97 telephone-event/48000
			a=fmtp:97 0-16
			a=ptime:20
			a=sendrecv
			a=rtcp-mux`},
		{"names, times, IPv6, one port", config(plain, codecs(pcmu), func(c *Config) {
			c.Username, c.SessionName, c.PTime, c.MaxPTime, c.RTCPMux = "bob", "a call", 30*ms, 60*ms, true
		}), func(int, netip.Addr) (Transport, error) { return Transport{RTP: addr("[2001:db8::1]:4000")}, nil }, `
			v=0
			o=bob 896744479 1 IN IP6 2001:db8::1
			s=a call
			c=IN IP6 2001:db8::1
			t=0 0
			m=audio 4000 RTP/AVP 0
			a=rtpmap:0 PCMU/8000
			a=ptime:30
			a=maxptime:60
			a=sendrecv
			a=rtcp:4000
			a=rtcp-mux`},
		{"required", config(plain, codecs(pcmu), policy(Required), func(c *Config) { c.Suites = []sdes.Suite{sdes.AEADAES128GCM} }), here, `
			v=0
			o=- 896744479 1 IN IP4 192.0.2.1
			s=-
			c=IN IP4 192.0.2.1
			t=0 0
			m=audio 4000 RTP/SAVP 0
			a=rtpmap:0 PCMU/8000
			a=ptime:20
			a=sendrecv
			a=crypto:1 AEAD_AES_128_GCM inline:briLc6SO0kfb5YguJXloNDLBv8UlRUrdDNhydA==`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := newSession(t, tt.cfg).Offer(offeranswer.Options{}, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			if show(got) != show(text(tt.want)) {
				t.Errorf("got\n%s", show(got))
			}
		})
	}
}

// The default suites in the default order, each with a key of its own.
func TestOfferSuites(t *testing.T) {
	got, err := newSession(t, config(policy(Required))).Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	keys := make(map[string]bool)
	for line := range strings.SplitSeq(show(got), "\n") {
		if v, ok := strings.CutPrefix(line, "a=crypto:"); ok {
			c, err := sdes.Parse(v)
			if err != nil {
				t.Fatal(err)
			}
			if c.Tag != len(names)+1 || len(c.Keys) != 1 {
				t.Errorf("%s", line)
			}
			names = append(names, c.Suite.String())
			keys[string(c.Keys[0].Master[:16])] = true
		}
	}
	want := "AEAD_AES_128_GCM AEAD_AES_256_GCM AES_256_CM_HMAC_SHA1_80 AES_CM_128_HMAC_SHA1_80 AES_CM_128_HMAC_SHA1_32"
	if strings.Join(names, " ") != want || len(keys) != 5 {
		t.Errorf("%v, %d different keys", names, len(keys))
	}
}

func TestNewErrors(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no codec":             func(c *Config) { c.Codecs = nil },
		"33 codecs":            func(c *Config) { c.Codecs = make([]codec.Codec, 33) },
		"codec without name":   codecs(fake{f: codec.Format{ClockRate: 8000}}),
		"codec without clock":  codecs(fake{f: codec.Format{Name: "x"}}),
		"codec with two lines": codecs(fake{f: codec.Format{Name: "x", ClockRate: 8000, Fmtp: "a\r\na=x"}}),
		"policy":               policy(7),
		"packet time":          func(c *Config) { c.PTime = time.Microsecond },
		"longest packet time":  func(c *Config) { c.MaxPTime = 2 * time.Second },
		"streams":              func(c *Config) { c.MaxStreams = -1 },
		"user with a space":    func(c *Config) { c.Username = "a b" },
		"name with a line":     func(c *Config) { c.SessionName = "a\nb" },
		"suite":                func(c *Config) { c.Suites = []sdes.Suite{99} },
		"suite twice":          func(c *Config) { c.Suites = []sdes.Suite{1, 1} },
		"no suite":             func(c *Config) { c.Suites, c.Policy = []sdes.Suite{}, Required },
		"no randomness":        func(c *Config) { c.Rand = iotest.ErrReader(io.ErrUnexpectedEOF) },
	} {
		if s, err := New(config(change)); s != nil || err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Config{Codecs: []codec.Codec{pcmu}}); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

// Randomness that fails after the session identifier fails what needs keys.
func TestNoKeys(t *testing.T) {
	s := newSession(t, config(policy(Required), func(c *Config) {
		c.Rand = io.MultiReader(strings.NewReader("12345678"), iotest.ErrReader(io.ErrUnexpectedEOF))
	}))
	if _, err := s.Offer(offeranswer.Options{}, here); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Offer: %v", err)
	}
	offer := []byte(head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80)
	if _, err := s.Leg().Answer(offer, offeranswer.Options{}, here); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Answer: %v", err)
	}
}

func TestOptionErrors(t *testing.T) {
	s := newSession(t, config())
	l := s.Leg()
	mustAnswer(t, l, []byte(head+"m=audio 6000 RTP/AVP 0"), offeranswer.Options{})
	for name, o := range map[string]offeranswer.Options{
		"direction of nothing":   {Direction: map[int]offeranswer.Direction{1: offeranswer.SendOnly}},
		"direction of before":    {Direction: map[int]offeranswer.Direction{-1: offeranswer.SendOnly}},
		"no direction":           {Direction: map[int]offeranswer.Direction{0: 9}},
		"removal of nothing":     {Remove: []int{1}},
		"video":                  {Add: []offeranswer.Kind{offeranswer.Video}},
		"more than there can be": {Add: slices.Repeat([]offeranswer.Kind{offeranswer.Audio}, 64)},
	} {
		if _, err := l.Offer(o, here); !errors.Is(err, ErrOptions) || l.Open() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Answer([]byte(head+"m=audio 6000 RTP/AVP 0"), offeranswer.Options{Add: []offeranswer.Kind{offeranswer.Audio}}, here); !errors.Is(err, ErrOptions) {
		t.Errorf("an answer with more: %v", err)
	}
}

// What the answers to one offer make of it.
func TestSetAnswer(t *testing.T) {
	const ours = "AEAD_AES_128_GCM inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubA=="
	for _, tt := range []struct {
		name   string
		cfg    Config
		answer string
		err    error
		check  func(m Media) bool
	}{
		{"the first listed is sent", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000", nil,
			func(m Media) bool { return m.Send.PT == 0 && m.DTMFSend.PT == 101 && !m.CN && m.Recv[96].Codec != nil }},
		{"other numbers in the answer, RFC 3264 §6.1", config(policy(Off)), head + "m=audio 6000 RTP/AVP 107 108\na=rtpmap:107 opus/48000/2\na=fmtp:107 stereo=0\na=rtpmap:108 telephone-event/48000", nil,
			func(m Media) bool {
				return m.Send.PT == 107 && m.Send.RemoteFmtp == "stereo=0" && m.Send.LocalFmtp == "useinbandfec=1" &&
					m.Recv[96].Codec == codec.Codec(opus) && m.Recv[96].RemoteFmtp == "stereo=0" && m.Recv[107].Codec == nil &&
					m.DTMFSend.PT == 108 && m.DTMFRecv[97] == 48000
			}},
		{"formats that were not offered", config(policy(Off)), head + "m=audio 6000 RTP/AVP 18 8", nil, func(m Media) bool { return m.Send.PT == 8 }},
		{"only formats that were not offered", config(policy(Off)), head + "m=audio 6000 RTP/AVP 18 101\na=rtpmap:101 telephone-event/8000", ErrNoCodec, nil},
		{"noise", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0 13", nil, func(m Media) bool { return m.CN }},
		{"multiplexed", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0\na=rtcp-mux", nil, func(m Media) bool { return m.Mux }},
		{"multiplexed without being asked", config(plain), head + "m=audio 6000 RTP/AVP 0\na=rtcp-mux", nil, func(m Media) bool { return !m.Mux }},
		{"refused", config(policy(Off)), head + "m=audio 0 RTP/AVP 0", nil, func(m Media) bool { return m.Disabled }},
		{"held", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0\na=sendonly", nil, func(m Media) bool { return !m.Sends() && m.Receives() }},
		{"no stream", config(policy(Off)), head, ErrContradiction, nil},
		{"two streams", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0\nm=audio 6000 RTP/AVP 0", ErrContradiction, nil},
		{"another kind", config(policy(Off)), head + "m=video 6000 RTP/AVP 0", ErrContradiction, nil},
		{"another transport", config(policy(Off)), head + "m=audio 6000 udp 0", ErrContradiction, nil},
		{"two directions", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0\na=sendonly\na=inactive", ErrContradiction, nil},
		{"malformed", config(policy(Off)), "hello", ErrMalformed, nil},

		{"keys", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + ours, nil,
			func(m Media) bool {
				return m.LocalCrypto.Suite == sdes.AEADAES128GCM && m.LocalCrypto.Tag == 1 && string(m.RemoteCrypto.Keys[0].Master) == "YS___semctl () {"
			}},
		{"another line", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:4 " + key80, nil,
			func(m Media) bool { return m.LocalCrypto.Suite == sdes.AESCM128HMACSHA1_80 }},
		{"no keys", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0", ErrNotSecure, nil},
		{"stripped to RTP/AVP", config(policy(Required)), head + "m=audio 6000 RTP/AVP 0", ErrNotSecure, nil},
		{"RTP/AVP with keys", config(policy(Required)), head + "m=audio 6000 RTP/AVP 0\na=crypto:4 " + key80, nil, func(m Media) bool { return m.Secure() }},
		{"a tag that was not offered", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:9 " + key80, ErrNotSecure, nil},
		{"the tag of another suite", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80, ErrNotSecure, nil},
		{"two lines, RFC 4568 §5.1.3", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:4 " + key80 + "\na=crypto:1 " + ours, ErrNotSecure, nil},
		{"a line that would not encrypt", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:4 " + key80 + " UNENCRYPTED_SRTP", ErrNotSecure, nil},
		{"optional, taken", config(), head + "m=audio 6000 RTP/AVP 0\na=crypto:4 " + key80, nil, func(m Media) bool { return m.Secure() }},
		{"optional, not taken", config(), head + "m=audio 6000 RTP/AVP 0", nil, func(m Media) bool { return !m.Secure() }},
		{"optional, taken as RTP/SAVP", config(), head + "m=audio 6000 RTP/SAVP 0\na=crypto:4 " + key80, nil, func(m Media) bool { return m.Secure() }},
		{"optional, RTP/SAVP without keys", config(), head + "m=audio 6000 RTP/SAVP 0", ErrNotSecure, nil},
		{"optional, with a broken key: no falling back", config(), head + "m=audio 6000 RTP/AVP 0\na=crypto:4 " + key80[:40], ErrNotSecure, nil},
		{"off, RTP/SAVP", config(policy(Off)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80, ErrSecure, nil},
		{"off, keys over RTP/AVP", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0\na=crypto:1 " + key80, nil, func(m Media) bool { return !m.Secure() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSession(t, tt.cfg)
			if _, err := s.Offer(offeranswer.Options{}, here); err != nil {
				t.Fatal(err)
			}
			l := s.Leg()
			err := l.SetAnswer([]byte(tt.answer), false)
			if tt.err != nil {
				isRefusal(t, err, tt.err)
				if l.Agreed() != nil || !l.Open() {
					t.Error("something came of it")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m := l.Agreed(); len(m) != 1 || !tt.check(m[0]) {
				t.Errorf("%+v", m)
			}
		})
	}
}
