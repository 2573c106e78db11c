package sipwire

import (
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"
)

// The messages of a call as they come from a proxy, with an SDP of SRTP.
var (
	benchInvite = strings.ReplaceAll(`INVITE sip:bob@192.0.2.4:5061;transport=tls SIP/2.0
Via: SIP/2.0/TLS proxy.biloxi.example:5061;branch=z9hG4bK721e418c4.1;rport
Via: SIP/2.0/TLS pc33.atlanta.example:41234;branch=z9hG4bKnashds8;received=192.0.2.1;rport=41234
Max-Forwards: 69
Record-Route: <sip:proxy.biloxi.example:5061;transport=tls;lr>
From: "Alice" <sip:alice@atlanta.example>;tag=1928301774
To: "Bob" <sip:bob@biloxi.example>
Call-ID: a84b4c76e66710@pc33.atlanta.example
CSeq: 314159 INVITE
Contact: <sip:alice@192.0.2.1:41234;transport=tls;ob>
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, UPDATE, PRACK
Supported: replaces, timer, outbound
User-Agent: hoorn/1.0
Content-Type: application/sdp
Content-Length: 244

v=0
o=- 3724394400 3724394405 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 49172 RTP/SAVP 0 8 101
a=rtpmap:101 telephone-event/8000
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj
a=sendrecv
`, "\n", "\r\n")
	benchBye = strings.ReplaceAll(`BYE sip:bob@192.0.2.4:5061;transport=tls SIP/2.0
Via: SIP/2.0/TLS pc33.atlanta.example:41234;branch=z9hG4bKnashds9;rport
Max-Forwards: 70
From: "Alice" <sip:alice@atlanta.example>;tag=1928301774
To: "Bob" <sip:bob@biloxi.example>;tag=a6c85cf
Call-ID: a84b4c76e66710@pc33.atlanta.example
CSeq: 314160 BYE
Content-Length: 0

`, "\n", "\r\n")
	benchOK = strings.ReplaceAll(`SIP/2.0 200 OK
Via: SIP/2.0/TLS pc33.atlanta.example:41234;branch=z9hG4bKnashds9;rport=41234;received=192.0.2.1
From: "Alice" <sip:alice@atlanta.example>;tag=1928301774
To: "Bob" <sip:bob@biloxi.example>;tag=a6c85cf
Call-ID: a84b4c76e66710@pc33.atlanta.example
CSeq: 314160 BYE
Content-Length: 0

`, "\n", "\r\n")
)

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"INVITE", benchInvite}, {"BYE", benchBye}, {"200", benchOK}} {
		b.Run(c.name, func(b *testing.B) {
			data := []byte(c.text)
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := Parse(data, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// For comparison: the parser this one takes the place of.
func BenchmarkParseSipgo(b *testing.B) {
	data := []byte(benchInvite)
	p := sipgo.NewParser()
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := p.ParseSIP(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"INVITE", benchInvite}, {"BYE", benchBye}, {"200", benchOK}} {
		b.Run(c.name, func(b *testing.B) {
			m, err := Parse([]byte(c.text), false)
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = Append(buf[:0], m)
			}
		})
	}
}

func BenchmarkResponseTo(b *testing.B) {
	m, err := Parse([]byte(benchInvite), false)
	if err != nil {
		b.Fatal(err)
	}
	req := m.(*sipgo.Request)
	b.ReportAllocs()
	for b.Loop() {
		ResponseTo(req, 200, "", "tag")
	}
}

func BenchmarkFramer(b *testing.B) {
	data := []byte(benchInvite)
	var f Framer
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f.Write(data)
		for {
			frame, err := f.Next()
			if err != nil {
				b.Fatal(err)
			}
			if frame.Kind == NoFrame {
				break
			}
		}
	}
}

// The size of what the parser allocates matters at thousands of calls a
// second.
func TestAllocations(t *testing.T) {
	m, err := Parse([]byte(benchInvite), false)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], m) }); n > 3 {
		t.Errorf("Append allocates %v times", n)
	}
	data := []byte(benchInvite)
	if n := testing.AllocsPerRun(100, func() { Parse(data, false) }); n > 12 {
		t.Errorf("Parse allocates %v times", n)
	}
}
