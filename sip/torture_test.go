package sip

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const (
	silence = 0
	aCall   = -1 // the INVITE becomes a call, which the test refuses with 486
)

// tortures says what a user agent answers to every request of RFC 4475 and
// RFC 5118. Messages not named are refused as malformed, with 400.
// internal/sipwire has the reasons of the parser; here are those of the user
// agent.
var tortures = map[string]struct {
	status int
	why    string
}{
	"rfc4475/wsinv":      {481, "§3.1.1.1: valid, and within a dialog that is not there"},
	"rfc4475/intmeth":    {405, "§3.1.1.2: valid, a method that nobody knows"},
	"rfc4475/esc01":      {aCall, "§3.1.1.3: valid"},
	"rfc4475/escnull":    {405, "§3.1.1.4: valid; a user agent is no registrar"},
	"rfc4475/esc02":      {405, "§3.1.1.5: the method is RE%47IST%45R, which is not REGISTER"},
	"rfc4475/lwsdisp":    {200, "§3.1.1.6: valid OPTIONS"},
	"rfc4475/longreq":    {aCall, "§3.1.1.7: valid"},
	"rfc4475/dblreq":     {405, "§3.1.1.8: a REGISTER"},
	"rfc4475/semiuri":    {200, "§3.1.1.9: valid OPTIONS"},
	"rfc4475/transports": {200, "§3.1.1.10: valid OPTIONS"},
	"rfc4475/mpart01":    {415, "§3.1.1.11: MESSAGE with a body that nobody reads"},
	"rfc4475/unreason":   {silence, "§3.1.1.12: a response to nothing"},
	"rfc4475/noreason":   {silence, "§3.1.1.13: a response to nothing"},

	"rfc4475/scalarlg":  {silence, "§3.1.2.5: a malformed response"},
	"rfc4475/baddate":   {aCall, "§3.1.2.12: the Date is not needed"},
	"rfc4475/badaspec":  {200, "§3.1.2.14: OPTIONS, read liberally"},
	"rfc4475/baddn":     {200, "§3.1.2.15: OPTIONS, read liberally"},
	"rfc4475/badvers":   {505, "§3.1.2.16: version 7.0"},
	"rfc4475/bigcode":   {silence, "§3.1.2.19: a malformed response"},
	"rfc4475/badbranch": {200, "§3.2.1: OPTIONS, matched as RFC 2543 did"},

	"rfc4475/unkscm":   {416, "§3.3.2"},
	"rfc4475/novelsc":  {416, "§3.3.3"},
	"rfc4475/unksm2":   {405, "§3.3.4: REGISTER"},
	"rfc4475/bext01":   {420, "§3.3.5"},
	"rfc4475/invut":    {415, "§3.3.6"},
	"rfc4475/regaut01": {405, "§3.3.7: REGISTER"},
	"rfc4475/bcast":    {silence, "§3.3.10: a response for somebody else"},
	"rfc4475/zeromf":   {200, "§3.3.11: OPTIONS that has arrived"},
	"rfc4475/cparam01": {405, "§3.3.12: REGISTER"},
	"rfc4475/cparam02": {405, "§3.3.13: REGISTER"},
	"rfc4475/regescrt": {405, "§3.3.14: REGISTER"},
	"rfc4475/sdp01":    {406, "§3.3.15: the caller does not take SDP"},
	"rfc4475/inv2543":  {aCall, "§3.4.1: a call of RFC 2543"},

	"rfc5118/ipv6-good":                     {405, "§4.1: REGISTER"},
	"rfc5118/port-ambiguous":                {405, "§4.3: REGISTER"},
	"rfc5118/port-unambiguous":              {405, "§4.4: REGISTER"},
	"rfc5118/via-received-param-with-delim": {481, "§4.5: BYE of no dialog"},
	"rfc5118/via-received-param-no-delim":   {200, "§4.5: OPTIONS"},
	"rfc5118/ipv6-in-sdp":                   {aCall, "§4.6: valid"},
	"rfc5118/mult-ip-in-header":             {481, "§4.7: BYE of no dialog"},
	"rfc5118/mult-ip-in-sdp":                {aCall, "§4.8: valid"},
	"rfc5118/ipv4-mapped-ipv6":              {aCall, "§4.9: valid"},
	"rfc5118/ipv6-bug-abnf-3-colons":        {200, "§4.10: OPTIONS"},
	"rfc5118/ipv6-correct-abnf-2-colons":    {200, "§4.10: OPTIONS"},
}

// streams says what differs over a stream, where the borders of a message
// come from its Content-Length alone.
var streams = map[string]int{
	"rfc4475/clerr":   silence, // §3.1.2.2: the rest of the message never comes
	"rfc4475/inv2543": 400,     // no Content-Length: refused, and the flow is closed (RFC 3261 §18.3)
}

func tortureFiles(t testing.TB) []string {
	files, err := filepath.Glob("../internal/sipwire/testdata/rfc*/*.dat")
	if err != nil || len(files) < 61 {
		t.Fatalf("%d torture messages, %v", len(files), err)
	}
	return files
}

// Every message of RFC 4475 and RFC 5118, sent to a user agent over UDP and
// over TCP. After each it still answers.
func TestTorture(t *testing.T) {
	for _, tr := range []Transport{UDP, TCP} {
		for _, file := range tortureFiles(t) {
			name := strings.TrimSuffix(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), ".dat")
			want := 400
			if o, ok := tortures[name]; ok {
				want = o.status
			}
			if s, ok := streams[name]; ok && tr == TCP {
				want = s
			}
			if name == "rfc4475/dblreq" && tr == TCP {
				continue // "ostensibly arrived over UDP in a single datagram": a stream has no such thing
			}
			t.Run(string(tr)+"/"+name, func(t *testing.T) {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Test(t, func(t *testing.T) { torture(t, tr, data, want) })
			})
		}
	}
}

func torture(t *testing.T, tr Transport, data []byte, want int) {
	n, alice, _ := pair(t, tr, nil)
	peer := n.Host("10.0.0.9")
	conn, err := peer.Dial(t.Context(), map[Transport]string{UDP: "udp", TCP: "tcp"}[tr], "10.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := make(chan int, 16)
	if tr == UDP {
		// Answers go to the port in the Via (RFC 3261 §18.2.2): whichever
		// that is, the wire sees them.
		n.ImpairAll(memnet.Impairment{Drop: func(_, to netip.AddrPort, b []byte) bool {
			if to.Addr() == netip.MustParseAddr("10.0.0.9") {
				answers <- statusOf(b)
			}
			return false
		}})
	} else {
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				answers <- statusOf(buf[:n])
			}
		}()
	}
	answer := func() int {
		select {
		case s := <-answers:
			return s
		case <-time.After(250 * time.Millisecond):
			return silence
		}
	}
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	got := answer()
	if got == 100 {
		in, err := alice.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Reject(t.Context(), 486); err != nil {
			t.Fatal(err)
		}
		if final := answer(); final == 486 {
			got = aCall
		}
	}
	if got != want {
		t.Errorf("answered with %d, want %d", got, want)
	}
	// The user agent lives, for others.
	other, err := peer.Dial(t.Context(), map[Transport]string{UDP: "udp", TCP: "tcp"}[tr], "10.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fmt.Fprintf(other, "OPTIONS sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%s 10.0.0.9:9;branch=z9hG4bKlives;rport\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:alice@10.0.0.1>\r\n"+
		"Call-ID: lives\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n", strings.ToUpper(string(tr)))
	other.SetReadDeadline(time.Now().Add(time.Second))
	if tr == UDP {
		n.ImpairAll(memnet.Impairment{})
	}
	if s := readStatus(other); s != 200 {
		t.Errorf("afterwards OPTIONS is answered with %d", s)
	}
}

// readStatus reads one response; 0 if none comes.
func readStatus(c net.Conn) int {
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		return silence
	}
	return statusOf(buf[:n])
}

// statusOf reads the status line alone: what else an answer mirrors may be as
// strange as the request.
func statusOf(b []byte) int {
	var status int
	if _, err := fmt.Sscanf(string(b), "SIP/2.0 %d ", &status); err != nil {
		return -2
	}
	return status
}

// Broken framing closes the flow (RFC 3261 §18.3); the account finds its way
// back, and its call lives on.
func TestBrokenFraming(t *testing.T) {
	bubble(t, "the call goes on over the next flow", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		<-time.After(time.Minute)
		in := called(t, ua, c, "x")
		go in.Answer(t.Context(), nil)
		ok := c.response(200)
		c.ask("ACK", "x", "b2", 1, sipwire.ToTag(ok), "")
		if err := in.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.write("OPTIONS sip:alice@10.0.0.1 SIP/2.0\r\nContent-Length: -999\r\n\r\n")
		c2 := s.accept()
		if _, open := <-c.in; open {
			t.Error("the flow is still open")
		}
		c2.granted(c2.request("REGISTER"), 3600)
		if in.State() != CallEstablished {
			t.Fatalf("the call is %v", in.State())
		}
		c2.ask("BYE", "x", "b3", 2, sipwire.ToTag(ok), "")
		c2.response(200)
		if err := in.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
