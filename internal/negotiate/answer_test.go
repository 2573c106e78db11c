package negotiate

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// head begins a description of the peer.
const head = "v=0\no=- 1 1 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\n"

const (
	key80  = "AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
	key80b = "AES_CM_128_HMAC_SHA1_80 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj"
	key32  = "AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
)

// An answer to each offer: lines it has or has not, or the error.
var answers = []struct {
	name  string
	cfg   Config
	offer string
	want  []string
	err   error
	check func(m Media) bool
}{
	// Codecs.
	{"static types without rtpmap", config(plain), head + "m=audio 6000 RTP/AVP 8 0 9",
		[]string{"m=audio 4000 RTP/AVP 8 0 9"}, nil, func(m Media) bool { return m.Send.PT == 8 }},
	{"own preference", config(plain, func(c *Config) { c.PreferOwn = true }), head + "m=audio 6000 RTP/AVP 8 0 9",
		[]string{"m=audio 4000 RTP/AVP 9 0 8"}, nil, func(m Media) bool { return m.Send.PT == 9 }},
	{"a static type given another meaning", config(plain), head + "m=audio 6000 RTP/AVP 0\na=rtpmap:0 opus/48000/2",
		[]string{"m=audio 4000 RTP/AVP 0", "a=rtpmap:0 opus/48000/2"}, nil, nil},
	{"a codec with a dynamic type of the peer", config(plain), head + "m=audio 6000 RTP/AVP 120 121\na=rtpmap:120 pcma/8000/1\na=rtpmap:121 OPUS/48000/2",
		[]string{"m=audio 4000 RTP/AVP 120 121", "a=rtpmap:120 PCMA/8000"}, nil, nil},
	{"a codec twice counts once", config(plain), head + "m=audio 6000 RTP/AVP 120 0\na=rtpmap:120 PCMU/8000",
		[]string{"m=audio 4000 RTP/AVP 120"}, nil, nil},
	{"G722 at 16000, RFC 3551 §4.5.2", config(plain), head + "m=audio 6000 RTP/AVP 9\na=rtpmap:9 G722/16000",
		[]string{"a=rtpmap:9 G722/8000"}, nil, nil},
	{"opus without its channels is something else", config(plain), head + "m=audio 6000 RTP/AVP 96 0\na=rtpmap:96 opus/48000",
		[]string{"m=audio 4000 RTP/AVP 0"}, nil, nil},
	{"parameters that the codec refuses", config(plain, codecs(g729, pcmu)), head + "m=audio 6000 RTP/AVP 18 0\na=fmtp:18 annexb=yes",
		[]string{"m=audio 4000 RTP/AVP 0"}, nil, nil},
	{"unknown formats, dynamic types without rtpmap, types that are no numbers", config(plain), head + "m=audio 6000 RTP/AVP 97 98 200 x 0 0\na=rtpmap:98 AMR/8000",
		[]string{"m=audio 4000 RTP/AVP 0"}, nil, nil},
	{"no codec in common", config(plain), head + "m=audio 6000 RTP/AVP 3 18", nil, ErrNoCodec, nil},
	{"events alone", config(plain, func(c *Config) { c.DTMF = true }), head + "m=audio 6000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000", nil, ErrNoCodec, nil},

	// Events and noise.
	{"events at the codecs' rates only", config(), head + "m=audio 6000 RTP/AVP 0 101 102\na=rtpmap:101 telephone-event/8000\na=rtpmap:102 telephone-event/48000\na=fmtp:101 0-16",
		[]string{"m=audio 4000 RTP/AVP 0 101", "a=fmtp:101 0-16"}, nil,
		func(m Media) bool { return m.DTMFSend == Event{PT: 101, Rate: 8000, Flash: true} }},
	{"events at 8000 next to opus, for lack of others", config(), head + "m=audio 6000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000",
		[]string{"m=audio 4000 RTP/AVP 96 101"}, nil,
		func(m Media) bool { return m.DTMFSend == Event{PT: 101, Rate: 8000} && m.DTMFRecv[101] == 8000 }},
	{"events at both rates follow the codec", config(), head + "m=audio 6000 RTP/AVP 96 0 101 102\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\na=rtpmap:102 telephone-event/48000",
		[]string{"m=audio 4000 RTP/AVP 96 0 101 102"}, nil, func(m Media) bool { return m.DTMFSend.PT == 102 }},
	{"events not wanted", config(plain), head + "m=audio 6000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000",
		[]string{"m=audio 4000 RTP/AVP 0"}, nil, func(m Media) bool { return m.DTMFSend == Event{} }},
	{"comfort noise, RFC 3389 §4", config(), head + "m=audio 6000 RTP/AVP 0 13",
		[]string{"m=audio 4000 RTP/AVP 0 13"}, nil, func(m Media) bool { return m.CN }},
	{"no comfort noise next to opus", config(), head + "m=audio 6000 RTP/AVP 96 13\na=rtpmap:96 opus/48000/2",
		[]string{"m=audio 4000 RTP/AVP 96"}, nil, func(m Media) bool { return !m.CN }},
	{"comfort noise under another number", config(), head + "m=audio 6000 RTP/AVP 0 99\na=rtpmap:99 CN/16000",
		[]string{"m=audio 4000 RTP/AVP 0"}, nil, nil},

	// Packet times.
	{"the peer's packet time", config(plain), head + "m=audio 6000 RTP/AVP 0\na=ptime:40\na=maxptime:60",
		[]string{"a=ptime:20"}, nil, func(m Media) bool { return m.PTime == 40*ms && m.MaxPTime == 60*ms }},
	{"the peer's limit is below our packet time", config(plain, func(c *Config) { c.PTime = 60 * ms }), head + "m=audio 6000 RTP/AVP 0\na=maxptime:30",
		[]string{"a=ptime:60"}, nil, func(m Media) bool { return m.PTime == 30*ms }},
	{"packet times that are none", config(plain, func(c *Config) { c.MaxPTime = 100 * ms }), head + "m=audio 6000 RTP/AVP 0\na=ptime:0\na=ptime:x\na=ptime:70000\na=ptime:30.5",
		[]string{"a=ptime:20", "a=maxptime:100"}, nil, func(m Media) bool { return m.PTime == 30*ms }},

	// Directions.
	{"held", config(plain), head + "m=audio 6000 RTP/AVP 0\na=sendonly", []string{"a=recvonly"}, nil,
		func(m Media) bool { return m.Receives() && !m.Sends() }},
	{"recvonly", config(plain), head + "m=audio 6000 RTP/AVP 0\na=recvonly", []string{"a=sendonly"}, nil,
		func(m Media) bool { return !m.Receives() && m.Sends() }},
	{"held for the session", config(plain), head + "a=inactive\nm=audio 6000 RTP/AVP 0", []string{"a=inactive"}, nil, nil},
	{"the stream's own direction comes first", config(plain), head + "a=inactive\nm=audio 6000 RTP/AVP 0\na=sendrecv", []string{"a=sendrecv"}, nil, nil},
	{"the null address", config(plain), strings.Replace(head, "c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0", 1) + "m=audio 6000 RTP/AVP 0", []string{"a=recvonly"}, nil,
		func(m Media) bool { return m.ConnectionHold && m.Receives() && !m.Sends() }},
	{"the null address of IPv6", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP6 ::\na=sendonly", []string{"a=recvonly"}, nil,
		func(m Media) bool { return m.ConnectionHold }},
	{"the null name, RFC 6157", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP6 held.invalid\na=inactive", []string{"a=inactive"}, nil,
		func(m Media) bool { return m.ConnectionHold }},
	{"two directions", config(plain), head + "m=audio 6000 RTP/AVP 0\na=sendonly\na=recvonly", nil, ErrContradiction, nil},
	{"one direction twice", config(plain), head + "m=audio 6000 RTP/AVP 0\na=sendonly\na=sendonly", []string{"a=recvonly"}, nil, nil},

	// Addresses.
	{"the stream's own address", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP4 203.0.113.9", nil, nil,
		func(m Media) bool {
			return m.RemoteRTP == addr("203.0.113.9:6000") && m.RemoteRTCP == addr("203.0.113.9:6001")
		}},
	{"IPv6", config(plain), head + "m=audio 6000/1 RTP/AVP 0\nc=IN IP6 2001:db8::9", nil, nil,
		func(m Media) bool { return m.RemoteRTP == addr("[2001:db8::9]:6000") }},
	{"a mapped address", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP6 ::ffff:203.0.113.9", nil, nil,
		func(m Media) bool { return m.RemoteRTP == addr("203.0.113.9:6000") }},
	{"a name", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP4 media.example.com", nil, nil,
		func(m Media) bool {
			return m.RemoteHost == "media.example.com" && !m.RemoteRTP.Addr().IsValid() && m.RemoteRTP.Port() == 6000
		}},
	{"no address", config(plain), "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=audio 6000 RTP/AVP 0", nil, ErrContradiction, nil},
	{"an address of the other family", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP4 2001:db8::9", nil, ErrContradiction, nil},
	{"multicast", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP4 224.2.1.1/127/2", nil, ErrNoStream, nil},
	{"broadcast", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP4 255.255.255.255", nil, ErrNoStream, nil},
	{"a zone", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP6 fe80::1%eth0", nil, ErrNoStream, nil},
	{"neither address nor name", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=IN IP4 a*b", nil, ErrMalformed, nil},
	{"several ports", config(plain), head + "m=audio 6000/2 RTP/AVP 0", nil, ErrNoStream, nil},

	// RTCP.
	{"a=rtcp with a port, RFC 3605 §2.1", config(plain), head + "m=audio 6000 RTP/AVP 0\na=rtcp:7001", nil, nil,
		func(m Media) bool { return m.RemoteRTCP == addr("198.51.100.1:7001") }},
	{"a=rtcp with an address, RFC 3605 §2.1", config(plain), head + "m=audio 6000 RTP/AVP 0\na=rtcp:53020 IN IP6 2001:2345:6789:ABCD:EF01:2345:6789:ABCD", nil, nil,
		func(m Media) bool { return m.RemoteRTCP == addr("[2001:2345:6789:ABCD:EF01:2345:6789:ABCD]:53020") }},
	{"a=rtcp that is none", config(plain), head + "m=audio 6000 RTP/AVP 0\na=rtcp:x", nil, nil,
		func(m Media) bool { return m.RemoteRTCP == addr("198.51.100.1:6001") }},
	{"no port above", config(plain), head + "m=audio 65535 RTP/AVP 0", nil, nil,
		func(m Media) bool { return m.RemoteRTCP.Port() == 0 }},
	{"multiplexed, RFC 5761 §5.1.1", config(), head + "m=audio 6000 RTP/AVP 0\na=rtcp:7000\na=rtcp-mux", []string{"a=rtcp-mux"}, nil,
		func(m Media) bool { return m.Mux && m.RemoteRTCP == m.RemoteRTP }},
	{"multiplexing not wanted", config(plain), head + "m=audio 6000 RTP/AVP 0\na=rtcp-mux", []string{"!a=rtcp-mux"}, nil,
		func(m Media) bool { return !m.Mux }},
	{"a type that looks like RTCP, RFC 5761 §4", config(), head + "m=audio 6000 RTP/AVP 72\na=rtpmap:72 PCMU/8000\na=rtcp-mux", []string{"!a=rtcp-mux"}, nil, nil},

	// Other streams.
	{"streams that we do not do", config(plain), head +
		"a=group:BUNDLE 0 1\nm=video 6002 RTP/AVP 31 34\na=mid:v\nm=audio 6000 RTP/AVP 0\na=mid:0\na=extmap:1 urn:x\n" +
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:2\nm=message 2855 TCP/MSRP *\nm=image 6004 udptl t38\nm=audio 0 RTP/AVP 0\na=bundle-only",
		[]string{"m=video 0 RTP/AVP 31 34", "a=mid:v", "m=audio 4002 RTP/AVP 0", "a=mid:0", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
			"m=message 0 TCP/MSRP *", "m=image 0 udptl t38", "m=audio 0 RTP/AVP 0", "!a=group", "!a=extmap"}, nil, nil},
	{"nothing that we do", config(plain), head + "m=video 6002 RTP/AVP 31\nm=image 6004 udptl t38", nil, ErrNoStream, nil},
	{"DTLS-SRTP", config(plain), head + "m=audio 9 UDP/TLS/RTP/SAVPF 0", nil, ErrNoStream, nil},
	{"all streams off", config(plain), head + "m=audio 0 RTP/AVP 0", []string{"m=audio 0 RTP/AVP 0"}, nil, nil},
	{"too many streams", config(plain, func(c *Config) { c.MaxStreams = 1 }), head + "m=audio 6000 RTP/AVP 0\nm=audio 6002 RTP/AVP 8",
		[]string{"m=audio 4000 RTP/AVP 0", "m=audio 0 RTP/AVP 8"}, nil, nil},
	{"a broken stream beside a good one", config(plain), head + "m=audio 6000 RTP/AVP 0\na=sendonly\na=inactive\nm=audio 6002 RTP/AVP 8",
		[]string{"m=audio 0 RTP/AVP 0", "m=audio 4002 RTP/AVP 8"}, nil, nil},
	{"two meanings of one type", config(plain), head + "m=audio 6000 RTP/AVP 96\na=rtpmap:96 opus/48000/2\na=rtpmap:96 PCMU/8000", nil, ErrContradiction, nil},

	// Encryption.
	{"feedback profile", config(policy(Required)), head + "m=audio 6000 RTP/SAVPF 0\na=crypto:7 " + key80,
		[]string{"m=audio 4000 RTP/SAVPF 0", "!a=rtcp-fb"}, nil,
		func(m Media) bool { return m.Feedback && m.LocalCrypto.Tag == 7 && m.RemoteCrypto.Tag == 7 }},
	{"the first that we have", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 F8_128_HMAC_SHA1_80 inline:x\na=crypto:2 " + key32 + "\na=crypto:3 " + key80,
		nil, nil, func(m Media) bool { return m.LocalCrypto.Tag == 2 && m.LocalCrypto.Suite == sdes.AESCM128HMACSHA1_32 }},
	{"the first that is allowed", config(policy(Required), func(c *Config) { c.Suites = []sdes.Suite{sdes.AESCM128HMACSHA1_80} }), head + "m=audio 6000 RTP/SAVP 0\na=crypto:2 " + key32 + "\na=crypto:3 " + key80,
		nil, nil, func(m Media) bool { return m.LocalCrypto.Tag == 3 }},
	{"SRTP that would not encrypt", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80 + " UNENCRYPTED_SRTP\na=crypto:2 " + key80 + " UNENCRYPTED_SRTCP\na=crypto:3 " + key80 + " UNAUTHENTICATED_SRTP",
		nil, ErrNotSecure, nil},
	{"two lines with one tag, RFC 4568 §9.1", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80 + "\na=crypto:1 " + key32, nil, ErrContradiction, nil},
	{"required and not offered", config(policy(Required)), head + "m=audio 6000 RTP/AVP 0", nil, ErrNotSecure, nil},
	{"required and stripped", config(policy(Required)), head + "m=audio 6000 RTP/SAVP 0", nil, ErrNotSecure, nil},
	{"keys at session level do not count, RFC 4568 §9.1", config(policy(Required)), head + "a=crypto:1 " + key80 + "\nm=audio 6000 RTP/SAVP 0", nil, ErrNotSecure, nil},
	{"required, with keys over RTP/AVP", config(policy(Required)), head + "m=audio 6000 RTP/AVP 0\na=crypto:1 " + key80, []string{"m=audio 4000 RTP/AVP 0"}, nil,
		func(m Media) bool { return m.Secure() }},
	{"required, and not offered is the better reason", config(policy(Required)), head + "m=video 6002 RTP/SAVP 31\nm=audio 6000 RTP/AVP 0", nil, ErrNotSecure, nil},
	{"the choice between two streams, required", config(policy(Required)), head + "m=audio 6000 RTP/AVP 0\nm=audio 6002 RTP/SAVP 0\na=crypto:1 " + key80,
		[]string{"m=audio 0 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0"}, nil, nil},
	{"the choice between two streams, optional", config(), head + "m=audio 6000 RTP/AVP 0\nm=audio 6002 RTP/SAVP 0\na=crypto:1 " + key80,
		[]string{"m=audio 0 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0"}, nil, nil},
	{"optional, with keys", config(), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80, []string{"m=audio 4000 RTP/SAVP 0"}, nil,
		func(m Media) bool { return m.Secure() }},
	{"optional, without", config(), head + "m=audio 6000 RTP/AVP 0", []string{"m=audio 4000 RTP/AVP 0", "!a=crypto"}, nil,
		func(m Media) bool { return !m.Secure() }},
	{"optional, with keys that cannot be used, RFC 8643", config(), head + "m=audio 6000 RTP/AVP 0\na=crypto:1 " + key80 + " KDR=1", []string{"!a=crypto"}, nil, nil},
	{"optional, RTP/SAVP without keys", config(), head + "m=audio 6000 RTP/SAVP 0", nil, ErrNotSecure, nil},
	{"off", config(policy(Off)), head + "m=audio 6000 RTP/SAVP 0\na=crypto:1 " + key80, nil, ErrSecure, nil},
	{"off, with keys over RTP/AVP", config(policy(Off)), head + "m=audio 6000 RTP/AVP 0\na=crypto:1 " + key80, []string{"!a=crypto"}, nil, nil},

	// What is not SDP, and what nearly is not.
	{"empty", config(plain), "", nil, ErrMalformed, nil},
	{"not SDP", config(plain), "<xml/>", nil, ErrMalformed, nil},
	{"another version", config(plain), strings.Replace(head, "v=0", "v=1", 1), nil, ErrMalformed, nil},
	{"no origin", config(plain), "v=0\ns=-\nt=0 0", nil, ErrMalformed, nil},
	{"a line without =", config(plain), head + "m=audio 6000 RTP/AVP 0\nnonsense", nil, ErrMalformed, nil},
	{"an unknown type", config(plain), head + "M=audio 6000 RTP/AVP 0", nil, ErrMalformed, nil},
	{"a stream without formats", config(plain), head + "m=audio 6000 RTP/AVP", nil, ErrMalformed, nil},
	{"a stream without port", config(plain), head + "m=audio x RTP/AVP 0", nil, ErrMalformed, nil},
	{"a port of 17 bits", config(plain), head + "m=audio 65536 RTP/AVP 0", nil, ErrMalformed, nil},
	{"a stream in another script", config(plain), head + "m=аудио 6000 RTP/AVP 0", nil, ErrMalformed, nil},
	{"a network that is not IN", config(plain), head + "m=audio 6000 RTP/AVP 0\nc=ATM NSAP x", nil, ErrMalformed, nil},
	{"no t=, odd order, odd bandwidth, lines of no concern", config(plain),
		"v=0\no=Some One 1.5 x IN IP4\ns=\nb=X-Y:1\nb=FOO:128:1\nc=IN IP4 198.51.100.1\nk=prompt\nm=audio 6000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\nb=AS:z\ni=x\n\n",
		[]string{"m=audio 4000 RTP/AVP 0"}, nil, nil},
	{"64 streams", config(plain), head + strings.Repeat("m=video 6000 RTP/AVP 31\n", 63) + "m=audio 6000 RTP/AVP 0", []string{"m=audio 4126 RTP/AVP 0"}, nil, nil},
	{"65 streams", config(plain), head + strings.Repeat("m=audio 6000 RTP/AVP 0\n", 65), nil, ErrMalformed, nil},
	{"256 attributes", config(plain), head + "m=audio 6000 RTP/AVP 0\n" + strings.Repeat("a=x\n", 256), []string{"m=audio 4000 RTP/AVP 0"}, nil, nil},
	{"257 attributes", config(plain), head + "m=audio 6000 RTP/AVP 0\n" + strings.Repeat("a=x\n", 257), nil, ErrMalformed, nil},
	{"257 formats", config(plain), head + "m=audio 6000 RTP/AVP" + strings.Repeat(" 0", 257), nil, ErrMalformed, nil},
	{"64 KiB", config(plain), head + "m=audio 6000 RTP/AVP 0\na=" + strings.Repeat("x", 64<<10), nil, ErrMalformed, nil},
}

const ms = time.Millisecond

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestAnswer(t *testing.T) {
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			l := newSession(t, tt.cfg).Leg()
			offer := []byte(strings.ReplaceAll(tt.offer, "\n", "\r\n"))
			got, err := l.Answer(offer, offeranswer.Options{}, here)
			if tt.err != nil {
				isRefusal(t, err, tt.err)
				if got != nil || l.Staged() != nil || l.Local() != nil {
					t.Error("something came of it")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			has(t, show(got), tt.want...)
			if l.Agreed() != nil {
				t.Error("in force before Commit")
			}
			if err := l.Commit(); err != nil {
				t.Fatal(err)
			}
			if tt.check != nil && !tt.check(l.Agreed()[0]) {
				t.Errorf("%+v", l.Agreed()[0])
			}
			if string(l.Local()) != string(got) {
				t.Error("Local is something else")
			}
		})
	}
}

// isRefusal checks that err is an *Error of this kind, with the status that
// belongs to it, and shows no key.
func isRefusal(t testing.TB, err, kind error) {
	t.Helper()
	var e *Error
	var status offeranswer.StatusCoder
	if !errors.As(err, &e) || !errors.As(err, &status) || !errors.Is(err, kind) {
		t.Fatalf("error %v, want %v", err, kind)
	}
	want := 488
	if kind == ErrMalformed {
		want = 400
	}
	if status.SIPStatus() != want || e.Reason == "" || strings.Contains(err.Error(), "inline") {
		t.Errorf("%d %v", status.SIPStatus(), err)
	}
}

// Lines may end with LF alone, and the last one with nothing.
func TestAnswerLineEnds(t *testing.T) {
	l := newSession(t, config(plain)).Leg()
	if _, err := l.Answer([]byte(head+"m=audio 6000 RTP/AVP 0"), offeranswer.Options{}, here); err != nil {
		t.Error(err)
	}
}

// What Locate is asked, and what becomes of its errors and nonsense.
func TestAnswerLocate(t *testing.T) {
	offer := []byte(head + "m=video 6000 RTP/AVP 31\nm=audio 6002 RTP/AVP 0\nm=audio 6004 RTP/AVP 8\nc=IN IP6 2001:db8::9")
	var asked []string
	l := newSession(t, config(plain)).Leg()
	got, err := l.Answer(offer, offeranswer.Options{}, func(i int, remote netip.Addr) (Transport, error) {
		asked = append(asked, fmt.Sprint(i, remote))
		if remote.Is6() {
			return Transport{RTP: addr("[2001:db8::1]:4000"), RTCP: addr("[2001:db8::2]:5000")}, nil
		}
		return Transport{RTP: addr("[::ffff:192.0.2.1]:4000")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(asked) != "[1 198.51.100.1 2 2001:db8::9]" {
		t.Errorf("asked %v", asked)
	}
	has(t, show(got), "o=- 896744479 1 IN IP4 192.0.2.1", "c=IN IP4 192.0.2.1", "a=rtcp:4000",
		"c=IN IP6 2001:db8::1", "a=rtcp:5000 IN IP6 2001:db8::2")
	broken := errors.New("no socket")
	for name, at := range map[string]Locate{
		"error":       func(int, netip.Addr) (Transport, error) { return Transport{}, broken },
		"nothing":     func(int, netip.Addr) (Transport, error) { return Transport{}, nil },
		"unspecified": func(int, netip.Addr) (Transport, error) { return Transport{RTP: addr("0.0.0.0:4000")}, nil },
		"no port": func(int, netip.Addr) (Transport, error) {
			return Transport{RTP: addr("192.0.2.1:4000"), RTCP: addr("192.0.2.1:0")}, nil
		},
	} {
		l := newSession(t, config(plain)).Leg()
		_, err := l.Answer(offer, offeranswer.Options{}, at)
		if err == nil || l.Staged() != nil || name == "error" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := l.Offer(offeranswer.Options{}, at); err == nil || l.Open() {
			t.Errorf("%s: %v", name, err)
		}
	}
}
