package sip

import (
	"reflect"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// inviteWith is an INVITE with a From and further header lines.
func inviteWith(t *testing.T, from string, lines ...string) *sipgo.Request {
	t.Helper()
	m, err := sipwire.Parse([]byte("INVITE sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n"+
		"From: "+from+"\r\nTo: <sip:alice@example.com>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"+
		"Contact: <sip:h>\r\n"+strings.Join(append(lines, "Content-Length: 0", ""), "\r\n")+"\r\n"), true)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*sipgo.Request)
}

// Who calls, by the server's word and by the caller's own.
func TestIdentityShown(t *testing.T) {
	const from = `"Bob" <sip:bob@example.com>;tag=1`
	for _, tt := range []struct {
		name      string
		from      string
		lines     []string
		stranger  bool // it did not come over the account's own flow
		shown     Party
		anonymous bool
		asserted  []Party
	}{
		{name: "only From", from: from, shown: Party{"sip:bob@example.com", "Bob"}},
		{
			name: "RFC 3325 §9.1: a SIP and a tel URI",
			from: `<sip:anonymous@h>;tag=1`, anonymous: true,
			lines:    []string{`P-Asserted-Identity: tel:+14085264000`, `P-Asserted-Identity: "Cullen Jennings" <sip:fluffy@cisco.com>`},
			shown:    Party{"sip:anonymous@h", ""},
			asserted: []Party{{"sip:fluffy@cisco.com", "Cullen Jennings"}, {"tel:+14085264000", ""}},
		},
		{
			name: "the asserted one is shown", from: from,
			lines:    []string{`P-Asserted-Identity:"Robert"<sip:1001@example.com;user=phone>`, "Privacy:none"},
			shown:    Party{"sip:1001@example.com;user=phone", "Robert"},
			asserted: []Party{{"sip:1001@example.com;user=phone", "Robert"}},
		},
		{
			name: "with the name of From where it has none", from: from,
			lines:    []string{`P-Asserted-Identity: <tel:+12155551212>`},
			shown:    Party{"tel:+12155551212", "Bob"},
			asserted: []Party{{"tel:+12155551212", ""}},
		},
		{
			name: "a stranger asserts nothing", from: from, stranger: true,
			lines: []string{`P-Asserted-Identity: "The Bank" <sip:bank@example.com>`},
			shown: Party{"sip:bob@example.com", "Bob"},
		},
		{
			name: "RFC 3325 §9.3: privacy keeps the asserted one off the screen", from: `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1`,
			lines:     []string{`P-Asserted-Identity: "Bob" <sip:bob@example.com>`, "Privacy: critical; ID"},
			shown:     Party{"sip:anonymous@anonymous.invalid", "Anonymous"},
			anonymous: true,
			asserted:  []Party{{"sip:bob@example.com", "Bob"}},
		},
		{name: "RFC 3323 §4.2: user", from: from, lines: []string{"Privacy: user"}, shown: Party{"sip:bob@example.com", "Bob"}, anonymous: true},
		{
			name: "nonsense is passed over", from: from,
			lines: []string{"P-Asserted-Identity: <sip:@", "P-Asserted-Identity: <sip:a@h>, <sip:b@h>", "Diversion: <", "History-Info: ;"},
			shown: Party{"sip:a@h", "Bob"}, asserted: []Party{{"sip:a@h", ""}},
		},
		{
			name: "verstat is no part of whom it names", from: `<sip:+12155551212;verstat=TN-Validation-Passed@example.com;user=phone>;tag=1`,
			shown: Party{"sip:+12155551212@example.com;user=phone", ""},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := identityOf(inviteWith(t, tt.from, tt.lines...), !tt.stranger)
			if got := id.callerOf(); got != tt.shown || id.Anonymous != tt.anonymous || !reflect.DeepEqual(id.Asserted, tt.asserted) {
				t.Errorf("shown %+v, anonymous %v, asserted %+v", got, id.Anonymous, id.Asserted)
			}
		})
	}
}

// verstat counts over the account's own flow alone (3GPP TS 24.229 §7.2A.20).
func TestVerstat(t *testing.T) {
	for _, tt := range []struct {
		from, asserted string
		want           Verification
	}{
		{`<sip:+1@h;user=phone>;tag=1`, "", VerificationAbsent},
		{`<sip:+1;verstat=TN-Validation-Passed@h;user=phone>;tag=1`, "", VerificationPassed},
		{`<sip:+1;verstat=TN-Validation-Failed@h;user=phone>;tag=1`, "", VerificationFailed},
		{`<sip:+1;verstat=No-TN-Validation@h;user=phone>;tag=1`, "", VerificationAbsent},
		{`<sip:+1;isub=2;VERSTAT=tn-validation-passed@h>;tag=1`, "", VerificationPassed},
		{`<sip:+1@h;user=phone;verstat=TN-Validation-Passed>;tag=1`, "", VerificationPassed},
		{`<sip:+1@h;user=phone>;tag=1;verstat=TN-Validation-Failed`, "", VerificationFailed},
		{`<tel:+1;verstat=TN-Validation-Passed-A>;tag=1`, "", VerificationPassed},
		{`<tel:+1;verstat=TN-Validation-PassedNot>;tag=1`, "", VerificationAbsent},
		{`<sip:+1;verstat=TN-Validation-Passed@h>;tag=1`, `<sip:+2;verstat=TN-Validation-Failed@h>`, VerificationFailed},
		{`<sip:+1;verstat=TN-Validation-Passed@h>;tag=1`, `<sip:+2@h>, <tel:+2;verstat=TN-Validation-Failed>`, VerificationFailed},
	} {
		var lines []string
		if tt.asserted != "" {
			lines = append(lines, "P-Asserted-Identity: "+tt.asserted)
		}
		req := inviteWith(t, tt.from, lines...)
		if got := identityOf(req, true).Verified; got != tt.want {
			t.Errorf("%s, %s: %v, want %v", tt.from, tt.asserted, got, tt.want)
		}
		if got := identityOf(req, false).Verified; got != VerificationAbsent {
			t.Errorf("%s from a stranger: %v", tt.from, got)
		}
	}
}

// How a call came here.
func TestDiversions(t *testing.T) {
	id := identityOf(inviteWith(t, "<sip:a@h>;tag=1",
		`Diversion: "Bob" <sip:Bob@b.example>;reason=User-Busy;counter=2`,
		`Diversion: <sip:carol@b.example>;reason="unconditional";privacy=off;screen=no, <tel:+1>;counter=0`,
	), true)
	want := []Diversion{
		{Party{"sip:Bob@b.example", "Bob"}, "user-busy", 2},
		{Party{"sip:carol@b.example", ""}, "unconditional", 1},
		{Party{"tel:+1", ""}, "", 1},
	}
	if !reflect.DeepEqual(id.Diversions, want) {
		t.Errorf("Diversion: %+v", id.Diversions)
	}

	// A hi-entry has its Reason in the URI (RFC 7044 §10.2).
	id = identityOf(inviteWith(t, "<sip:a@h>;tag=1",
		`History-Info: <sip:bob@example.com>;index=1`,
		`History-Info: <sip:bob@192.0.2.7?Reason=SIP%3Bcause%3D302>;index=1.1;rc=1, "Bob" <sip:bob@192.0.2.3>;index=1.2;mp=1`,
	), true)
	history := []HistoryEntry{
		{Party: Party{"sip:bob@example.com", ""}, Index: "1"},
		{Party: Party{"sip:bob@192.0.2.7", ""}, Index: "1.1", Reasons: []Reason{{Protocol: "SIP", Cause: 302}}},
		{Party: Party{"sip:bob@192.0.2.3", "Bob"}, Index: "1.2", Mapped: true},
	}
	if !reflect.DeepEqual(id.History, history) {
		t.Errorf("History-Info: %+v", id.History)
	}

	many := identityOf(inviteWith(t, "<sip:a@h>;tag=1", "Diversion: "+strings.Repeat("<sip:a@h>,", 60)+"<sip:b@h>"), true)
	if len(many.Diversions) != maxDiversions {
		t.Errorf("%d diversions were kept", len(many.Diversions))
	}
}

func TestAutoAnswerAsked(t *testing.T) {
	for _, tt := range []struct {
		line  string
		after time.Duration
		ok    bool
		own   bool // counts over the account's own flow only
	}{
		{"Call-Info:<sip:as.example.com>;answer-after=0", 0, true, false},
		{"Call-Info: <sip:as.example.com>;appearance-index=1, <http://h/a;b>; Answer-After=3", 3 * time.Second, true, false},
		{"Call-Info: <sip:h>;answer-after=4000000000", maxAnswerAfter, true, false},
		{"Call-Info: <sip:h>;answer-after=soon", 0, false, false},
		{"Call-Info: <sip:h;answer-after=0>", 0, false, false},
		{"Answer-Mode: Auto", 0, true, false}, // RFC 5373
		{"Answer-Mode: auto;require", 0, true, false},
		{"Answer-Mode: Manual", 0, false, false},
		{"Priv-Answer-Mode: Auto", 0, true, true},
		{"Alert-Info: <http://127.0.0.1>;info=alert-autoanswer", 0, true, false},
		{"Alert-Info: <http://h/ring.wav>", 0, false, false},
	} {
		req := inviteWith(t, "<sip:a@h>;tag=1", tt.line)
		if id := identityOf(req, true); id.AnswerAfter != tt.after || id.AutoAnswer != tt.ok {
			t.Errorf("%s: %v, %v", tt.line, id.AnswerAfter, id.AutoAnswer)
		}
		if id := identityOf(req, false); id.AutoAnswer != (tt.ok && !tt.own) {
			t.Errorf("%s from a stranger: %v", tt.line, id.AutoAnswer)
		}
	}
}

// Over TLS and UDP: what a call's identity says, and whom a call of ours reached.
func TestCallIdentity(t *testing.T) {
	bubble(t, "incoming", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "x", "b", 1, "", sdpBody, `P-Asserted-Identity:"Robert"<sip:+15551001;verstat=TN-Validation-Passed@example.com;user=phone>`,
			"Diversion:<sip:carol@example.com>;reason=no-answer")
		in, err := ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id := in.Identity()
		if in.Remote() != (Party{"sip:+15551001@example.com;user=phone", "Robert"}) || id.Verified != VerificationPassed ||
			id.From != (Party{"sip:bob@example.com;user=phone", "Bob"}) || len(id.Diversions) != 1 {
			t.Errorf("%+v, %+v", in.Remote(), id)
		}
	})
	bubble(t, "RFC 3325 §5: whom a call of ours has reached", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.replySDP(c.request("INVITE"), 200, `P-Asserted-Identity: "Carol" <sip:carol@example.com>`)
		c.request("ACK")
		if err := out.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id := out.Identity(); !reflect.DeepEqual(id.Asserted, []Party{{"sip:carol@example.com", "Carol"}}) {
			t.Errorf("%+v", id)
		}
	})
	udpAccount(t, "X-None: 1", func(t *testing.T, f *far, ua *UA, _ *datagrams) {
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := f.request("INVITE")
		local, _ := sessionOf(t, invite.req)
		invite.reply(200, "Session-ID: "+uuidB+";remote="+local, `P-Asserted-Identity: "Carol" <sip:carol@example.com>`,
			"Contact: <sip:10.0.0.2>", sdpBody)
		if l, r := sessionOf(t, f.request("ACK").req); l != local || r != uuidB {
			t.Errorf("ACK: %s, %s", l, r)
		}
		if err := out.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id := out.Identity(); len(id.Asserted) != 1 || id.SessionID.Remote != uuidB {
			t.Errorf("%+v", id)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(`"Bob" <sip:+1;verstat=TN-Validation-Passed@h>;verstat=x`, `<sip:bob@192.0.2.7?Reason=SIP%3Bcause%3D302>;index=1.1;rc=1`, `<sip:h>;answer-after=0`)
	f.Add(`<tel:+1;verstat>`, `<sip:a@h?Reason=%>`, `>;answer-after`)
	f.Fuzz(func(t *testing.T, who, history, info string) {
		req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip", Host: "h"})
		for _, h := range [][2]string{
			{"P-Asserted-Identity", who}, {"Diversion", history}, {"History-Info", history}, {"Privacy", info},
			{"Call-Info", info}, {"Answer-Mode", info}, {"Alert-Info", info}, {"Session-ID", who},
		} {
			req.AppendHeader(sipgo.NewHeader(h[0], h[1]))
		}
		id := identityOf(req, true)
		if len(id.Asserted) > 2 || len(id.Diversions) > maxDiversions || len(id.History) > maxDiversions ||
			id.AnswerAfter < 0 || id.AnswerAfter > maxAnswerAfter || len(id.Privacy) > 8 {
			t.Errorf("%+v", id)
		}
		id.callerOf()
		parseSessionID(who)
	})
}
