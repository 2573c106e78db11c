package sipwire

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"
)

// What Parse makes of a torture message.
const (
	accept = -1 // a message; what it means is the user agent's business
	drop   = 0  // no message and no answer
	// else the status of the response
)

// What a Framer makes of it, when it comes over a stream.
type framing uint8

const (
	whole   framing = iota // one message
	waiting                // the rest of a message that never comes
	broken                 // a FramingError
)

// tortures says what becomes of every message of RFC 4475 and RFC 5118 and
// why. Where the RFC leaves a choice, the choice is explained.
var tortures = []struct {
	file    string
	section string
	outcome int
	stream  framing
	why     string
}{
	// RFC 4475 §3.1.1: valid messages.
	{"rfc4475/wsinv", "3.1.1.1", accept, whole, "white space and folding wherever the grammar has them"},
	{"rfc4475/intmeth", "3.1.1.2", accept, whole, "every character that a method, user, tag or Call-ID may have"},
	{"rfc4475/esc01", "3.1.1.3", accept, whole, "escapes in URIs are kept"},
	{"rfc4475/escnull", "3.1.1.4", accept, whole, "escaped nulls in URIs are kept"},
	{"rfc4475/esc02", "3.1.1.5", accept, whole, "a % in a method or display name is no escape"},
	{"rfc4475/lwsdisp", "3.1.1.6", accept, whole, "no white space between display name and <"},
	{"rfc4475/longreq", "3.1.1.7", accept, whole, "long values, 34 Vias"},
	{"rfc4475/dblreq", "3.1.1.8", accept, whole, "octets behind the Content-Length of a datagram are discarded; on a stream they are the next message"},
	{"rfc4475/semiuri", "3.1.1.9", accept, whole, "semicolons in the user part are no parameters"},
	{"rfc4475/transports", "3.1.1.10", accept, whole, "unknown transports in Via"},
	{"rfc4475/mpart01", "3.1.1.11", accept, whole, "a body of octets"},
	{"rfc4475/unreason", "3.1.1.12", accept, whole, "UTF-8 in the reason phrase"},
	{"rfc4475/noreason", "3.1.1.13", accept, whole, "an empty reason phrase"},

	// §3.1.2: invalid messages.
	{"rfc4475/badinv01", "3.1.2.1", 400, whole, "empty parameters and list elements in Via"},
	{"rfc4475/clerr", "3.1.2.2", 400, waiting, "body shorter than Content-Length: an error in a datagram, unfinished on a stream"},
	{"rfc4475/ncl", "3.1.2.3", 400, broken, "a negative Content-Length: answered, and a stream is closed"},
	{"rfc4475/scalar02", "3.1.2.4", 400, whole, "CSeq beyond 2^31-1 (overlarge Max-Forwards and expiry alone would count as absent)"},
	{"rfc4475/scalarlg", "3.1.2.5", drop, whole, "a response with CSeq beyond 2^31-1 is discarded"},
	{"rfc4475/quotbal", "3.1.2.6", 400, whole, "unbalanced quote in To"},
	{"rfc4475/ltgtruri", "3.1.2.7", 400, whole, "brackets around the Request-URI"},
	{"rfc4475/lwsruri", "3.1.2.8", 400, whole, "white space within the Request-URI"},
	{"rfc4475/lwsstart", "3.1.2.9", 400, whole, "more than one space in the request line; the choice is to reject, as the grammar does"},
	{"rfc4475/trws", "3.1.2.10", 400, whole, "white space behind the version; the choice is to reject, as the grammar does"},
	{"rfc4475/escruri", "3.1.2.11", 400, whole, "header fields in the Request-URI; the choice is to reject, as ignoring them would change what was asked"},
	{"rfc4475/baddate", "3.1.2.12", accept, whole, "a Date that is not GMT; nothing here needs the Date, so the choice is to ignore it"},
	{"rfc4475/regbadct", "3.1.2.13", 400, whole, "a Contact with ? that is not in brackets"},
	{"rfc4475/badaspec", "3.1.2.14", accept, whole, "white space next to the brackets of To; the choice is to be liberal, as there is one reading only"},
	{"rfc4475/baddn", "3.1.2.15", accept, whole, "a comma in an unquoted display name; the choice is to be liberal in From and To, which are no lists; it is quoted when sent on"},
	{"rfc4475/badvers", "3.1.2.16", 505, whole, "version 7.0"},
	{"rfc4475/mismatch01", "3.1.2.17", 400, whole, "CSeq names another method"},
	{"rfc4475/mismatch02", "3.1.2.18", 400, whole, "CSeq names another method, and the method is unknown: 400 or 501, and the parser does not know the methods of its user"},
	{"rfc4475/bigcode", "3.1.2.19", drop, whole, "a status code of ten digits"},

	// §3.2: transaction layer.
	{"rfc4475/badbranch", "3.2.1", accept, whole, "a branch that is the cookie alone; the transaction falls back to RFC 2543"},

	// §3.3: application layer.
	{"rfc4475/insuf", "3.3.1", 400, whole, "no Call-ID, From or To"},
	{"rfc4475/unkscm", "3.3.2", 416, whole, "a scheme nobody knows in the Request-URI"},
	{"rfc4475/novelsc", "3.3.3", 416, whole, "a scheme that has no meaning here in the Request-URI"},
	{"rfc4475/unksm2", "3.3.4", accept, whole, "any scheme may be in To, From and Contact"},
	{"rfc4475/bext01", "3.3.5", accept, whole, "the user agent answers 420"},
	{"rfc4475/invut", "3.3.6", accept, whole, "the user agent answers 415"},
	{"rfc4475/regaut01", "3.3.7", accept, whole, "a registrar answers 401"},
	{"rfc4475/multi01", "3.3.8", 400, whole, "several values where one is allowed"},
	{"rfc4475/mcl01", "3.3.9", 400, broken, "two different Content-Lengths"},
	{"rfc4475/bcast", "3.3.10", drop, whole, "a response with a second Via is not for this element"},
	{"rfc4475/zeromf", "3.3.11", accept, whole, "Max-Forwards 0 is for proxies; this is where the request wanted to go"},
	{"rfc4475/cparam01", "3.3.12", accept, whole, "a parameter of the Contact"},
	{"rfc4475/cparam02", "3.3.13", accept, whole, "a parameter of the URI in the Contact"},
	{"rfc4475/regescrt", "3.3.14", accept, whole, "header fields in the URI of a Contact"},
	{"rfc4475/sdp01", "3.3.15", accept, whole, "the user agent answers 406"},

	// §3.4: backward compatibility.
	{"rfc4475/inv2543", "3.4.1", accept, broken, "no branch, no tag, no Content-Length: right over UDP; a stream needs the Content-Length"},

	{"rfc5118/ipv6-good", "4.1", accept, whole, "IPv6 references"},
	{"rfc5118/ipv6-bad", "4.2", 400, whole, "an IPv6 address without brackets in the Request-URI"},
	{"rfc5118/port-ambiguous", "4.3", accept, whole, "what looks like a port within the brackets is part of the address"},
	{"rfc5118/port-unambiguous", "4.4", accept, whole, "address and port"},
	{"rfc5118/via-received-param-with-delim", "4.5", accept, whole, "received with brackets"},
	{"rfc5118/via-received-param-no-delim", "4.5", accept, whole, "received without brackets"},
	{"rfc5118/ipv6-in-sdp", "4.6", accept, whole, "IPv6 in SDP"},
	{"rfc5118/mult-ip-in-header", "4.7", accept, whole, "IPv4 and IPv6 in Vias"},
	{"rfc5118/mult-ip-in-sdp", "4.8", accept, whole, "IPv4 and IPv6 in SDP"},
	{"rfc5118/ipv4-mapped-ipv6", "4.9", accept, whole, "IPv4-mapped addresses"},
	{"rfc5118/ipv6-bug-abnf-3-colons", "4.10", accept, whole, "three colons before an IPv4 part have to be tolerated; they become two"},
	{"rfc5118/ipv6-correct-abnf-2-colons", "4.10", accept, whole, "two colons before an IPv4 part"},
}

func readTorture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)+".dat"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every message of the RFCs is in the table, once.
func TestTortureComplete(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc*/*.dat")
	if err != nil || len(files) != 49+12 || len(tortures) != len(files) {
		t.Fatalf("%d files, %d rows, %v", len(files), len(tortures), err)
	}
	seen := map[string]bool{}
	for _, c := range tortures {
		if seen[c.file] {
			t.Errorf("%s twice", c.file)
		}
		seen[c.file] = true
	}
}

func TestTortureDatagram(t *testing.T) {
	for _, c := range tortures {
		t.Run(c.file, func(t *testing.T) {
			m, err := Parse(readTorture(t, c.file), false)
			outcome := accept
			if err != nil {
				var bad *BadMessage
				if !errors.As(err, &bad) {
					t.Fatalf("error of type %T", err)
				}
				outcome = bad.Status
				checkRefusal(t, bad)
			}
			if outcome != c.outcome || (m == nil) != (c.outcome != accept) {
				t.Errorf("§%s: outcome %d (%v), want %d: %s", c.section, outcome, err, c.outcome, c.why)
			}
		})
	}
}

// checkRefusal checks that a refused request can be answered, and that the
// answer is a message which goes back to where the request came from.
func checkRefusal(t *testing.T, bad *BadMessage) {
	t.Helper()
	res := bad.Response("totag")
	if (res != nil) != (bad.Status != 0) || (bad.Request != nil) != (bad.Status != 0) {
		t.Fatalf("status %d, request %v, response %v", bad.Status, bad.Request != nil, res != nil)
	}
	if res == nil {
		return
	}
	wire := string(Append(nil, res))
	if res.StatusCode != bad.Status || !strings.HasPrefix(wire, "SIP/2.0 ") || !strings.Contains(wire, "\r\n"+string(appendHeader(nil, ": ", bad.Request.Via()))) {
		t.Errorf("response:\n%s", wire)
	}
}

func TestTortureStream(t *testing.T) {
	for _, c := range tortures {
		t.Run(c.file, func(t *testing.T) {
			var f Framer
			f.Write(readTorture(t, c.file))
			frame, err := f.Next()
			var lost *FramingError
			switch {
			case errors.As(err, &lost):
				if c.stream != broken {
					t.Fatalf("§%s: %v: %s", c.section, err, c.why)
				}
				// The header section can still be refused.
				var bad *BadMessage
				if _, err := Parse(lost.Head, true); !errors.As(err, &bad) || bad.Status != 400 {
					t.Errorf("head: %v", err)
				}
				return
			case frame.Kind == NoFrame:
				if c.stream != waiting {
					t.Fatalf("§%s: no frame: %s", c.section, c.why)
				}
				return
			case frame.Kind != Message || c.stream != whole:
				t.Fatalf("§%s: frame %d: %s", c.section, frame.Kind, c.why)
			}
			_, err = Parse(frame.Data, true)
			outcome := accept
			var bad *BadMessage
			if errors.As(err, &bad) {
				outcome = bad.Status
			}
			if outcome != c.outcome {
				t.Errorf("§%s: outcome %d (%v), want %d: %s", c.section, outcome, err, c.outcome, c.why)
			}
		})
	}
}

// What was accepted is the same message after it was sent on.
func TestTortureRoundTrip(t *testing.T) {
	for _, c := range tortures {
		if c.outcome == accept {
			checkRoundTrip(t, c.file, readTorture(t, c.file))
		}
	}
}

// checkRoundTrip checks that the wire form of a parsed message is stable.
func checkRoundTrip(t *testing.T, name string, data []byte) {
	t.Helper()
	m, err := Parse(data, false)
	if err != nil {
		t.Fatal(err)
	}
	once := Append(nil, m)
	again, err := Parse(once, true)
	if err != nil {
		t.Fatalf("%s: cannot read what was written: %v\n%s", name, err, once)
	}
	if twice := Append(nil, again); string(once) != string(twice) {
		t.Errorf("%s: not stable:\n%q\n%q", name, once, twice)
	}
}

// RFC 4475 §3.1.1.1.
func TestTortureWsinv(t *testing.T) {
	m, err := Parse(readTorture(t, "rfc4475/wsinv"), false)
	if err != nil {
		t.Fatal(err)
	}
	req := m.(*sipgo.Request)
	if _, ok := Param(req.Recipient.UriParams, "unknownparam"); !ok || req.Recipient.User != "vivekg" {
		t.Errorf("Request-URI %s", FormatURI(&req.Recipient))
	}
	if ToTag(m) != "1918181833n" || FromTag(m) != "98asjd8" || m.From().DisplayName != `J Rosenberg \"` {
		t.Errorf("tags %q %q, from %q", ToTag(m), FromTag(m), m.From().DisplayName)
	}
	if mf := req.MaxForwards(); mf == nil || *mf != 68 {
		t.Error("Max-Forwards")
	}
	if c := req.CSeq(); c.SeqNo != 9 || c.MethodName != "INVITE" {
		t.Errorf("CSeq %v", c)
	}
	if TopBranch(m) != "390skdjuw" || req.Via().Host != "192.0.2.2" {
		t.Errorf("top Via %v", req.Via())
	}
	var vias []string
	for _, h := range Headers(m) {
		if v, ok := h.(*sipgo.ViaHeader); ok {
			vias = append(vias, v.Value())
		}
	}
	want := []string{
		"SIP/2.0/UDP 192.0.2.2;branch=390skdjuw",
		"SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8",
		"SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239",
	}
	if strings.Join(vias, "\n") != strings.Join(want, "\n") {
		t.Errorf("Vias %q", vias)
	}
	if s := Find(m, "Subject"); s == nil || s.Value() != "" {
		t.Error("empty Subject")
	}
	if v := Header(m, "NewFangledHeader"); v != "newfangled value continued newfangled value" {
		t.Errorf("folded: %q", v)
	}
	if v := Header(m, "Route"); v != "<sip:services.example.com;lr;unknownwith=value;unknown-no-value>" {
		t.Errorf("Route %q", v)
	}
	c := req.Contact()
	if c.DisplayName != `Quoted string ""` || c.Address.User != "jdrosen" {
		t.Errorf("Contact %q %q", c.DisplayName, c.Address.User)
	}
	for name, value := range map[string]string{"newparam": "newvalue", "secondparam": "", "q": "0.33"} {
		if v, ok := Param(c.Params, name); !ok || v != value {
			t.Errorf("Contact parameter %s: %q %v", name, v, ok)
		}
	}
	if len(m.Body()) != 150 {
		t.Errorf("body of %d", len(m.Body()))
	}
}

// RFC 4475 §3.1.1.2: every octet of the names and values is there.
func TestTortureIntmeth(t *testing.T) {
	m, err := Parse(readTorture(t, "rfc4475/intmeth"), false)
	if err != nil {
		t.Fatal(err)
	}
	req := m.(*sipgo.Request)
	if req.Method != "!interesting-Method0123456789_*+`.%indeed'~" {
		t.Errorf("method %q", req.Method)
	}
	u := req.Recipient
	if u.User != "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*" || u.Password != "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)" || u.Host != "example.com" {
		t.Errorf("Request-URI %q %q %q", u.User, u.Password, u.Host)
	}
	if d := m.To().DisplayName; d != "BEL:\a NUL:\x00 DEL:\x7f" {
		t.Errorf("To %q", d)
	}
	if d := m.From().DisplayName; d != "token1~` token2'+_ token3*%!.-" {
		t.Errorf("From %q", d)
	}
	if FromTag(m) != "_token~1'+`*%!-." {
		t.Errorf("tag %q", FromTag(m))
	}
	if v, _ := Param(m.From().Params, "fromParam''~+*_!.-%"); v != "\u0440\u0430\u0431\u043e\u0442\u0430\u044e\u0449\u0438\u0439" {
		t.Errorf("parameter %q", v)
	}
	if id := string(*m.CallID()); id != `intmeth.word%ZK-!.*_+'@word`+"`"+`~)(><:\/"][?}{` {
		t.Errorf("Call-ID %q", id)
	}
	if v := Header(m, "extensionHeader-!.%*+_`'~"); v != "\ufeff\u5927\u505c\u96fb" {
		t.Errorf("extension %q", v)
	}
}

// RFC 4475 §3.1.1.8: the first request is taken.
func TestTortureDblreq(t *testing.T) {
	data := readTorture(t, "rfc4475/dblreq")
	m, err := Parse(data, false)
	if err != nil || m.(*sipgo.Request).Method != "REGISTER" || len(m.Body()) != 0 {
		t.Fatalf("%v %v", m, err)
	}
}

// RFC 4475 §3.1.1.9 and §3.3.12 to §3.3.14: what belongs to user part, URI
// and Contact.
func TestTortureParameters(t *testing.T) {
	m, err := Parse(readTorture(t, "rfc4475/semiuri"), false)
	if err != nil {
		t.Fatal(err)
	}
	if u := m.(*sipgo.Request).Recipient; u.User != "user;par=u%40example.net" || u.UriParams != nil {
		t.Errorf("semiuri: %q %v", u.User, u.UriParams)
	}
	for file, inURI := range map[string]bool{"rfc4475/cparam01": false, "rfc4475/cparam02": true} {
		m, err := Parse(readTorture(t, file), false)
		if err != nil {
			t.Fatal(err)
		}
		c := Contacts(m)[0]
		_, uri := Param(c.Address.UriParams, "unknownparam")
		_, contact := Param(c.Params, "unknownparam")
		if uri != inURI || contact == inURI {
			t.Errorf("%s: in URI %v, in Contact %v", file, uri, contact)
		}
	}
	m, err = Parse(readTorture(t, "rfc4475/regescrt"), false)
	if err != nil {
		t.Fatal(err)
	}
	if h := Contacts(m)[0].Address.Headers; len(h) != 1 || h[0].K != "Route" || h[0].V != "%3Csip:sip.example.com%3E" {
		t.Errorf("regescrt: %v", h)
	}
}

// RFC 5118 §4.3, §4.4 and §4.10.
func TestTortureIPv6Hosts(t *testing.T) {
	for file, want := range map[string]struct {
		host string
		port int
	}{
		"rfc5118/port-ambiguous":             {"[2001:db8::10:5070]", 0},
		"rfc5118/port-unambiguous":           {"[2001:db8::10]", 5070},
		"rfc5118/ipv6-bug-abnf-3-colons":     {"[2001:db8::192.0.2.1]", 0},
		"rfc5118/ipv6-correct-abnf-2-colons": {"[2001:db8::192.0.2.1]", 0},
	} {
		m, err := Parse(readTorture(t, file), false)
		if err != nil {
			t.Fatal(err)
		}
		if u := m.(*sipgo.Request).Recipient; u.Host != want.host || u.Port != want.port {
			t.Errorf("%s: %q %d", file, u.Host, u.Port)
		}
	}
}
