package siptest_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it anew):\n%s", name, got)
	}
}

// drawn is a transcript with everything that is drawn in its own way.
func drawn() *siptest.Transcript {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	t := &siptest.Transcript{Missing: 3}
	add := func(ms int, party string, sent bool, fault, head, body string) {
		port := uint16(5060 + len(party))
		data := fmt.Sprintf("%s\r\nVia: SIP/2.0/TLS 10.0.0.9;branch=z9hG4bK1\r\nFrom: <sip:x@pbx.example>;tag=1\r\nTo: <sip:y@pbx.example>\r\n%s\r\n%s",
			strings.Split(head, "|")[0], strings.Join(strings.Split(head, "|")[1:], "\r\n")+"\r\n", body)
		t.Entries = append(t.Entries, siptest.Entry{
			Time: begin.Add(time.Duration(ms) * time.Millisecond), Sent: sent, Party: party, Fault: fault,
			Transport: sip.TLS, Local: netip.MustParseAddrPort("10.0.0.1:5061"),
			Remote: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), port), Data: []byte(data),
		})
	}
	sdp := "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0IGtleSBzZWNyZXQga2V5IHNlY3JldCE=|2^20|1:4\r\n"
	call := func(id, cseq string) string { return "|Call-ID: " + id + "|CSeq: " + cseq }
	withSDP := fmt.Sprintf("|Content-Type: application/sdp|Content-Length: %d", len(sdp))
	none := "|Content-Length: 0"
	add(0, "alice", false, "", "INVITE sip:bob@pbx.example SIP/2.0"+call("a@1", "1 INVITE")+withSDP, sdp)
	add(1, "bob", true, "", "INVITE sip:bob@10.0.0.9 SIP/2.0"+call("BW2@1", "1 INVITE")+withSDP, sdp)
	add(2, "bob#2", true, "", "INVITE sip:bob@10.0.0.9 SIP/2.0"+call("BW3@1", "1 INVITE")+withSDP, sdp)
	add(3, "192.0.2.44:5060", true, "", "INVITE sip:bob@10.0.0.9 SIP/2.0"+call("BW4@1", "1 INVITE")+withSDP, sdp)
	add(1203, "192.0.2.44:5060", false, "", "SIP/2.0 603 Decline"+call("BW4@1", "1 INVITE")+none, "")
	add(1250, "bob", false, "delayed 2s", "SIP/2.0 180 Ringing"+call("BW2@1", "1 INVITE")+none, "")
	add(1251, "alice", true, "lost", "SIP/2.0 180 Ringing"+call("a@1", "1 INVITE")+none, "")
	add(2500, "bob", false, "", "SIP/2.0 200 OK"+call("BW2@1", "1 INVITE")+withSDP, sdp)
	add(2501, "bob#2", true, "", "CANCEL sip:bob@10.0.0.9 SIP/2.0"+call("BW3@1", "1 CANCEL")+none, "")
	add(2502, "alice", true, "", "SIP/2.0 200 OK"+call("a@1", "1 INVITE")+withSDP, sdp)
	add(2600, "alice", false, "lost", "ACK sip:bob@10.0.0.1 SIP/2.0"+call("a@1", "1 ACK")+none, "")
	add(2700, "alice", false, "", `OPTIONS sip:"><script>alert(1)</script>@x SIP/2.0|Subject: </pre><img src=x>`+call("<b>&\"'", "1 OPTIONS")+none, "<svg onload=alert(1)>\x00\xff")
	add(9000, "bob", false, "", "SIP/2.0 481 Call/Transaction Does Not Exist At All Here"+call("BW2@1", "2 BYE")+none, "")
	return t
}

func TestLadderText(t *testing.T) {
	var b bytes.Buffer
	if err := drawn().WriteText(&b, nil); err != nil {
		t.Fatal(err)
	}
	golden(t, "ladder.txt", b.Bytes())
}

func TestLadderHTML(t *testing.T) {
	var b bytes.Buffer
	if err := drawn().WriteHTML(&b, &siptest.DrawOptions{Title: "Alice & <Bob>"}); err != nil {
		t.Fatal(err)
	}
	golden(t, "ladder.html", b.Bytes())
	text := b.String()
	for _, bad := range []string{"<script", "<svg", "<img", "c2VjcmV0", "http://", "https://", "src=", "href=", "@import", "url("} {
		if strings.Contains(strings.ReplaceAll(text, "&lt;img src=x&gt;", ""), bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	if n := strings.Count(text, "<details>"); n != len(drawn().Entries) {
		t.Errorf("%d messages on the page, want %d", n, len(drawn().Entries))
	}
	wellFormed(t, text)
}

// wellFormed checks that every element is closed where it should be: the page
// is XML but for what stands in its head.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	_, body, _ := strings.Cut(page, "</head>")
	body, _, _ = strings.Cut(body, "</html>")
	d := xml.NewDecoder(strings.NewReader("<html>" + body + "</html>"))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, page)
		}
	}
}

func TestLadderOptions(t *testing.T) {
	var b bytes.Buffer
	if err := drawn().WriteHTML(&b, &siptest.DrawOptions{Keys: true, Lab: "PBX"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"inline:c2VjcmV0", "<span>PBX</span>"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	b.Reset()
	only := drawn().Filter(func(e *siptest.Entry) bool { return e.Party == "nobody" })
	if err := only.WriteText(&b, nil); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := new(siptest.Transcript).WriteHTML(&b, nil); err != nil || !strings.Contains(b.String(), "No messages.") {
		t.Errorf("an empty page: %v\n%s", err, b.String())
	}
}

// Whatever a peer sends is drawn, and stays text on the page.
func FuzzLadder(f *testing.F) {
	for _, e := range drawn().Entries {
		f.Add(e.Data, e.Party, e.Fault)
	}
	f.Add([]byte("INVITE sip:a@b SIP/2.0\r\n<script>: x\r\n\r\n</pre><script>"), "<script>", "lost<script>")
	f.Add([]byte{}, "lab", "")
	f.Fuzz(func(t *testing.T, data []byte, party, fault string) {
		tr := &siptest.Transcript{Entries: []siptest.Entry{{Party: "alice"}, {Party: party, Data: data, Fault: fault}}}
		var text, page bytes.Buffer
		if err := tr.WriteText(&text, nil); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text.Bytes(), []byte("\n")); n != len(tr.Entries)+1 {
			t.Errorf("%d lines for %d messages:\n%s", n, len(tr.Entries), text.String())
		}
		if err := tr.WriteHTML(&page, nil); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(page.Bytes(), []byte("<details>")); n != len(tr.Entries) || bytes.Contains(page.Bytes(), []byte("<script")) {
			t.Errorf("elements that are not ours:\n%s", page.String())
		}
		if utf8.Valid(data) && utf8.ValidString(party+fault) && !strings.ContainsFunc(string(data)+party+fault, notXML) {
			wellFormed(t, page.String())
		}
	})
}

// notXML tells which characters XML does not have, and HTML does.
func notXML(r rune) bool { return r < ' ' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError }
