package negotiate

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// g723 is named by an RFC 3264 example.
var g723 = fake{f: codec.Format{Name: "G723", ClockRate: 8000, PayloadType: 4}}

// The basic exchange: two video streams that we do not do are refused in their
// places, and a later offer adds a stream of nothing but events.
func TestRFC3264Section10_1(t *testing.T) {
	bob := newSession(t, config(plain, codecs(pcmu))).Leg()
	got := mustAnswer(t, bob, text(`
		v=0
		o=alice 2890844526 2890844526 IN IP4 host.anywhere.com
		s=
		c=IN IP4 host.anywhere.com
		t=0 0
		m=audio 49170 RTP/AVP 0
		a=rtpmap:0 PCMU/8000
		m=video 51372 RTP/AVP 31
		a=rtpmap:31 H261/90000
		m=video 53000 RTP/AVP 32
		a=rtpmap:32 MPV/90000`), offeranswer.Options{})
	want := show(text(`
		v=0
		o=- 896744479 1 IN IP4 192.0.2.1
		s=-
		c=IN IP4 192.0.2.1
		t=0 0
		m=audio 4000 RTP/AVP 0
		a=rtpmap:0 PCMU/8000
		a=ptime:20
		a=sendrecv
		m=video 0 RTP/AVP 31
		m=video 0 RTP/AVP 32`))
	if got != want {
		t.Errorf("got\n%s", got)
	}
	m := bob.Agreed()
	if m[0].RemoteHost != "host.anywhere.com" || m[0].RemoteRTP.Port() != 49170 || m[0].RemoteRTCP.Port() != 49171 {
		t.Errorf("%+v", m[0])
	}
	got = mustAnswer(t, bob, text(`
		v=0
		o=alice 2890844526 2890844527 IN IP4 host.anywhere.com
		s=
		c=IN IP4 host.anywhere.com
		t=0 0
		m=audio 65422 RTP/AVP 0
		a=rtpmap:0 PCMU/8000
		m=video 0 RTP/AVP 31
		m=video 53000 RTP/AVP 32
		a=rtpmap:32 MPV/90000
		m=audio 51434 RTP/AVP 110
		a=rtpmap:110 telephone-events/8000
		a=recvonly`), offeranswer.Options{})
	has(t, got, "o=- 896744479 2 IN IP4 192.0.2.1", "m=audio 4000 RTP/AVP 0", "m=video 0 RTP/AVP 31", "m=audio 0 RTP/AVP 110")
	if m := bob.Agreed(); m[0].RemoteRTP.Port() != 65422 || !m[3].Disabled {
		t.Errorf("%+v", m)
	}
}

// One of N codecs: the stream starts inactive, the answerer says what it can
// do, and the offerer comes back with its choice.
func TestRFC3264Section10_2(t *testing.T) {
	offer := `
		v=0
		o=alice 2890844526 2890844526 IN IP4 host.anywhere.com
		s=
		c=IN IP4 host.anywhere.com
		t=0 0
		m=audio 62986 RTP/AVP 0 4 18
		a=rtpmap:0 PCMU/8000
		a=rtpmap:4 G723/8000
		a=rtpmap:18 G729/8000
		a=inactive`
	bob := newSession(t, config(plain, codecs(g723, pcmu))).Leg()
	got := mustAnswer(t, bob, text(offer), offeranswer.Options{})
	has(t, got, "m=audio 4000 RTP/AVP 0 4", "a=inactive")
	if m := bob.Agreed()[0]; m.Sends() || m.Receives() {
		t.Errorf("%+v", m)
	}
	offer = strings.NewReplacer("6\n", "7\n", "0 4 18", "4", "a=inactive", "a=sendrecv").Replace(offer)
	got = mustAnswer(t, bob, text(offer), offeranswer.Options{})
	has(t, got, "m=audio 4000 RTP/AVP 4", "a=sendrecv")
	m := bob.Agreed()[0]
	if !m.Sends() || !m.Receives() || m.Send.PT != 4 || m.Send.Codec != codec.Codec(g723) {
		t.Errorf("%+v", m)
	}
	// Packets of before may still be under way (§8.3.2).
	if _, ok := m.Recv[0]; !ok {
		t.Errorf("PCMU is not received any more: %v", m.Recv)
	}
}

// RFC 4317 has the descriptions of both sides; we are one of them, and the
// other one's text is given.
func TestRFC4317(t *testing.T) {
	const head = `
		v=0
		o=alice 2890844526 2890844526 IN IP4 host.atlanta.example.com
		s=
		c=IN IP4 host.atlanta.example.com
		t=0 0
		`
	for _, tt := range []struct {
		name   string
		cfg    Config
		offers []string // of the peer, one after the other
		want   [][]string
	}{
		{"§2.1 audio and video, one codec each", config(plain, codecs(pcmu)), []string{head + `
			m=audio 49170 RTP/AVP 0 8 97
			a=rtpmap:0 PCMU/8000
			a=rtpmap:8 PCMA/8000
			a=rtpmap:97 iLBC/8000
			m=video 51372 RTP/AVP 31 32
			a=rtpmap:31 H261/90000
			a=rtpmap:32 MPV/90000`},
			[][]string{{"m=audio 4000 RTP/AVP 0", "m=video 0 RTP/AVP 31 32"}}},
		{"§2.2 two codecs, then one", config(plain, codecs(pcmu, ilbc)), []string{head + `
			m=audio 49170 RTP/AVP 0 8 97
			a=rtpmap:0 PCMU/8000
			a=rtpmap:8 PCMA/8000
			a=rtpmap:97 iLBC/8000
			m=video 51372 RTP/AVP 31 32
			a=rtpmap:31 H261/90000
			a=rtpmap:32 MPV/90000`, head + `
			m=audio 51372 RTP/AVP 97
			a=rtpmap:97 iLBC/8000
			m=video 0 RTP/AVP 31`},
			[][]string{
				{"m=audio 4000 RTP/AVP 0 97", "a=rtpmap:97 iLBC/8000", "o=- 896744479 1 IN IP4 192.0.2.1"},
				{"m=audio 4000 RTP/AVP 97", "m=video 0 RTP/AVP 31", "o=- 896744479 2 IN IP4 192.0.2.1"}}},
		{"§2.4 events on the stream", config(plain, codecs(pcmu), func(c *Config) { c.DTMF = true }), []string{head + `
			m=audio 49170 RTP/AVP 0 97
			a=rtpmap:0 PCMU/8000
			a=rtpmap:97 telephone-event/8000
			m=audio 49172 RTP/AVP 98
			a=rtpmap:98 telephone-event/8000
			a=sendonly`},
			[][]string{{"m=audio 4000 RTP/AVP 0 97", "a=rtpmap:97 telephone-event/8000", "m=audio 0 RTP/AVP 98"}}},
		{"§3.1 hold and unhold", config(plain, codecs(pcmu, ilbc)), []string{head + `
			m=audio 49170 RTP/AVP 0 97
			a=rtpmap:0 PCMU/8000
			a=rtpmap:97 iLBC/8000`, head + `
			m=audio 49170 RTP/AVP 97
			a=rtpmap:97 iLBC/8000
			a=sendonly`, head + `
			m=audio 49170 RTP/AVP 97
			a=rtpmap:97 iLBC/8000`},
			[][]string{{"a=sendrecv"}, {"a=recvonly", "m=audio 4000 RTP/AVP 97"}, {"a=sendrecv"}}},
		{"§3.2 hold of one stream of two", config(plain, codecs(pcmu)), []string{head + `
			m=audio 49170 RTP/AVP 0
			a=rtpmap:0 PCMU/8000
			m=audio 49172 RTP/AVP 0
			a=sendonly`, head + `
			m=audio 49170 RTP/AVP 0
			a=inactive
			m=audio 49172 RTP/AVP 0`},
			[][]string{{"m=audio 4002 RTP/AVP 0", "a=sendrecv", "a=recvonly"}, {"a=inactive", "a=sendrecv"}}},
		{"§4.1 a second stream", config(plain, codecs(pcmu)), []string{head + `
			m=audio 49170 RTP/AVP 0
			a=rtpmap:0 PCMU/8000`, head + `
			m=audio 49170 RTP/AVP 0
			a=rtpmap:0 PCMU/8000
			m=audio 49172 RTP/AVP 0
			a=rtpmap:0 PCMU/8000`, head + `
			m=audio 49170 RTP/AVP 0
			a=rtpmap:0 PCMU/8000
			m=audio 0 RTP/AVP 0`},
			[][]string{{"!m=audio 4002"}, {"m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0"}, {"m=audio 4000 RTP/AVP 0", "m=audio 0 RTP/AVP 0"}}},
		{"§5.1 third party: no stream at first", config(plain, codecs(pcmu)), []string{head, head + `
			m=audio 49170 RTP/AVP 0
			a=rtpmap:0 PCMU/8000`},
			[][]string{{"!m="}, {"m=audio 4000 RTP/AVP 0"}}},
		{"third party: the null address, RFC 3264 §8.4", config(plain, codecs(pcmu)), []string{`
			v=0
			o=controller 1 1 IN IP4 192.0.2.4
			s=
			c=IN IP4 0.0.0.0
			t=0 0
			m=audio 5000 RTP/AVP 0`},
			[][]string{{"m=audio 4000 RTP/AVP 0", "a=recvonly"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newSession(t, tt.cfg).Leg()
			for i, offer := range tt.offers {
				has(t, mustAnswer(t, l, text(offer), offeranswer.Options{}), tt.want[i]...)
			}
		})
	}
}

// The example of RFC 4568 §4: tag, suite, lifetime and MKI of either side.
func TestRFC4568Section4(t *testing.T) {
	offer := text(`
		v=0
		o=jdoe 2890844526 2890842807 IN IP4 10.47.16.5
		s=SDP Seminar
		i=A Seminar on the session description protocol
		u=http://www.example.com/seminars/sdp.pdf
		e=j.doe@example.com (Jane Doe)
		c=IN IP4 161.44.17.12/127
		t=2873397496 2873404696
		m=video 51372 RTP/SAVP 31
		a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32
		m=audio 49170 RTP/SAVP 0
		a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|1:32
		m=application 32416 udp wb
		a=orient:portrait`)
	l := newSession(t, config(codecs(pcmu), policy(Required))).Leg()
	got := mustAnswer(t, l, offer, offeranswer.Options{})
	has(t, got, "m=video 0 RTP/SAVP 31", "m=audio 4002 RTP/SAVP 0", "m=application 0 udp wb")
	if !strings.Contains(got, "\na=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:") || strings.Count(got, "a=crypto") != 1 {
		t.Errorf("got\n%s", got)
	}
	m := l.Agreed()[1]
	if k := m.RemoteCrypto.Keys[0]; k.Lifetime != 1<<20 || len(k.MKI) != 32 || m.RemoteRTP.String() != "161.44.17.12:49170" {
		t.Errorf("%+v", m)
	}
}

// The example of RFC 4568 §7.1: with FEC_ORDER, which is not done here, on all
// lines there is nothing to accept; without it the second line is taken over
// the first one's unknown suite.
func TestRFC4568Section7(t *testing.T) {
	offer := `
		v=0
		o=sam 2890844526 2890842807 IN IP4 10.47.16.5
		s=SRTP Discussion
		i=A discussion of Secure RTP
		u=http://www.example.com/seminars/srtp.pdf
		e=marge@example.com (Marge Simpson)
		c=IN IP4 168.2.17.12
		t=2873397496 2873404696
		m=audio 49170 RTP/SAVP 0
		a=crypto:1 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4;inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5|2^20|2:4 FEC_ORDER=FEC_SRTP
		a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP`
	l := newSession(t, config(codecs(pcmu), policy(Required))).Leg()
	if _, err := l.Answer(text(offer), offeranswer.Options{}, here); !errors.Is(err, ErrNotSecure) {
		t.Errorf("FEC_ORDER: %v", err)
	}
	offer = strings.ReplaceAll(offer, " FEC_ORDER=FEC_SRTP", "")
	got := mustAnswer(t, l, text(offer), offeranswer.Options{})
	if !strings.Contains(got, "\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:") {
		t.Errorf("got\n%s", got)
	}
}

// RFC 8643 §3.1: RTP/AVP with keys, answered by one who takes them and by one
// who does not know of them.
func TestRFC8643(t *testing.T) {
	offerer := newSession(t, config(policy(Optional)))
	offer, err := offerer.Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(show(offer), "m=audio 4000 RTP/AVP 96") || !strings.Contains(show(offer), "\na=crypto:1 AEAD_AES_128_GCM ") {
		t.Fatalf("offer\n%s", show(offer))
	}
	for _, tt := range []struct {
		policy Policy
		secure bool
	}{{Required, true}, {Optional, true}, {Off, false}} {
		t.Run(tt.policy.String(), func(t *testing.T) {
			answerer := newSession(t, config(policy(tt.policy), func(c *Config) { c.Rand = seeded(2) })).Leg()
			got := mustAnswer(t, answerer, offer, offeranswer.Options{})
			if !strings.Contains(got, "m=audio 4000 RTP/AVP ") || strings.Contains(got, "a=crypto") != tt.secure {
				t.Errorf("answer\n%s", got)
			}
			m := mustAccept(t, offerer.Leg(), []byte(got))
			if m[0].Secure() != tt.secure || answerer.Agreed()[0].Secure() != tt.secure {
				t.Errorf("secure: %v, %v", m[0].Secure(), answerer.Agreed()[0].Secure())
			}
		})
	}
}

// RFC 8643 leaves out what happens later in a call. Here what was encrypted
// stays so, whichever side is asked to give it up.
func TestStaysEncrypted(t *testing.T) {
	a, b := newSession(t, config(policy(Optional))), newSession(t, config(policy(Optional), func(c *Config) { c.Rand = seeded(2) }))
	offer, err := a.Offer(offeranswer.Options{}, here)
	if err != nil {
		t.Fatal(err)
	}
	caller, callee := a.Leg(), b.Leg()
	first := mustAnswer(t, callee, offer, offeranswer.Options{})
	mustAccept(t, caller, text(first))
	bare := func(desc string) []byte {
		lines := slices.DeleteFunc(strings.Split(desc, "\n"), func(l string) bool { return strings.HasPrefix(l, "a=crypto") })
		return text(strings.Join(lines, "\n"))
	}

	again := mustOffer(t, caller, offeranswer.Options{})
	if _, err := callee.Answer(bare(again), offeranswer.Options{}, here); !errors.Is(err, ErrNotSecure) {
		t.Errorf("an offer without keys: %v", err)
	}
	answer := mustAnswer(t, callee, text(again), offeranswer.Options{})
	if err := caller.SetAnswer(bare(answer), false); !errors.Is(err, ErrNotSecure) {
		t.Errorf("an answer without keys: %v", err)
	}
	if m := mustAccept(t, caller, text(answer)); !m[0].Secure() || !callee.Agreed()[0].Secure() {
		t.Error("no longer encrypted")
	}
}

// The offer of Webex Calling: SAVP throughout, telephone-event at two rates,
// formats and attributes that mean nothing here.
func TestWebexOffer(t *testing.T) {
	offer := text(`
		v=0
		o=WebexCalling 0 1 IN IP4 198.51.100.7
		s=-
		c=IN IP4 198.51.100.7
		b=AS:4064
		t=0 0
		a=cisco-mari:v1
		m=audio 20104 RTP/SAVP 99 9 8 0 18 101 108
		b=TIAS:64000
		a=rtpmap:99 opus/48000/2
		a=fmtp:99 maxplaybackrate=16000;useinbandfec=1
		a=rtpmap:9 G722/8000
		a=rtpmap:8 PCMA/8000
		a=rtpmap:0 PCMU/8000
		a=rtpmap:18 G729/8000
		a=fmtp:18 annexb=no
		a=rtpmap:101 telephone-event/8000
		a=fmtp:101 0-15
		a=rtpmap:108 telephone-event/48000
		a=fmtp:108 0-15
		a=ptime:20
		a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj
		a=sendrecv
		m=video 20106 RTP/SAVP 97 126 111
		b=TIAS:4000000
		a=rtpmap:97 H264/90000
		a=fmtp:97 profile-level-id=640c16;packetization-mode=1;max-br=4000
		a=rtpmap:126 H264/90000
		a=fmtp:126 profile-level-id=428016;packetization-mode=1
		a=rtpmap:111 H264/90000
		a=fmtp:111 profile-level-id=428016;packetization-mode=0
		a=imageattr:97 recv [x=1920,y=1080,q=0.8]
		a=rtcp-fb:* nack pli
		a=rtcp-fb:* ccm fir
		a=rtcp-fb:* ccm tmmbr
		a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj`)
	l := newSession(t, config(policy(Required), codecs(opus, g722, pcmu, pcma, g729))).Leg()
	got := mustAnswer(t, l, offer, offeranswer.Options{})
	has(t, got, "m=audio 4000 RTP/SAVP 99 9 8 0 18 101 108", "a=fmtp:99 useinbandfec=1", "a=fmtp:108 0-16",
		"m=video 0 RTP/SAVP 97 126 111", "!a=rtcp-mux")
	m := l.Agreed()[0]
	if m.Send.PT != 99 || m.Send.RemoteFmtp != "maxplaybackrate=16000;useinbandfec=1" ||
		m.DTMFSend != (Event{PT: 108, Rate: 48000}) || m.DTMFRecv[101] != 8000 || m.CN ||
		m.RemoteRTP != addr("198.51.100.7:20104") ||
		m.Params() != (codec.Params{PTime: 20 * ms, LocalFmtp: "useinbandfec=1", RemoteFmtp: m.Send.RemoteFmtp}) {
		t.Errorf("%+v", m)
	}
	// A re-offer of ours keeps their numbers, the suite first, and adds what
	// else we can do.
	again := mustOffer(t, l, offeranswer.Options{})
	has(t, again, "m=audio 4000 RTP/SAVP 99 9 8 0 18 101 108 13", "m=video 0 RTP/SAVP 97 126 111")
	if i, j := strings.Index(again, "a=crypto:1 AES_CM_128_HMAC_SHA1_80"), strings.Index(again, "AEAD"); i < 0 || i > j {
		t.Errorf("offer\n%s", again)
	}
}
