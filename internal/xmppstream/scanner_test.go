package xmppstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const header = `<?xml version='1.0'?><stream:stream from='im.example.com' id='++TR84Sm6A3hnt3Q065SnAbbk3Y=' to='juliet@im.example.com' ` +
	`version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

// scan returns all pieces as text, and the error at the end.
func scan(s *Scanner) (pieces []string, err error) {
	names := map[Kind]string{Header: "header", Element: "", Skipped: "skipped", Footer: "footer"}
	for range 1000 {
		p, err := s.Next()
		if err != nil {
			return pieces, err
		}
		text := names[p.Kind]
		switch p.Kind {
		case Element:
			text = string(p.Data)
		case Skipped:
			text = fmt.Sprintf("skipped %s %d", p.Reason, p.Size)
		}
		pieces = append(pieces, text)
	}
	return pieces, nil
}

func TestScan(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"whole stream, RFC 6120 §4", header + "<a/> \n<b><c/>d</b></stream:stream>", []string{"header", "<a/>", "<b><c/>d</b>", "footer"}, io.EOF},
		{"quotes hide angle brackets", header + `<a b='>' c="/>'"/>`, []string{"header", `<a b='>' c="/>'"/>`}, io.EOF},
		{"CDATA hides tags", header + `<a><![CDATA[</a><b>]]]]></a>`, []string{"header", `<a><![CDATA[</a><b>]]]]></a>`}, io.EOF},
		{"comment, RFC 6120 §11.1", header + `<a><!-- </a> ' --></a><b/>`, []string{"header", "skipped restricted-xml 22", "<b/>"}, io.EOF},
		{"processing instruction, RFC 6120 §11.1", header + `<a><?x </a>?></a><b/>`, []string{"header", "skipped restricted-xml 17", "<b/>"}, io.EOF},
		{"entity bomb, RFC 6120 §11.1", header + `<a><!DOCTYPE x [<!ENTITY a "]>"><!ENTITY b '&a;&a;'>]>&b;</a><b/>`, []string{"header", "skipped restricted-xml 61", "<b/>"}, io.EOF},
		{"comment between elements", header + `<a/><!-- <x> --><b/>`, []string{"header", "<a/>", "<b/>"}, io.EOF},
		{"text between elements", header + `<a/>x<b/>`, []string{"header", "<a/>", "<b/>"}, io.EOF},
		{"too long", header + "<a>" + long + "<b/></a><b/>", []string{"header", "skipped policy-violation 211", "<b/>"}, io.EOF},
		{"as long as may be", header + "<a>" + long[:93] + "</a>", []string{"header", "<a>" + long[:93] + "</a>"}, io.EOF},
		{"too deep", header + strings.Repeat("<a>", 5) + strings.Repeat("</a>", 5) + "<b/>", []string{"header", "skipped policy-violation 35", "<b/>"}, io.EOF},
		{"as deep as may be", header + strings.Repeat("<a>", 3) + strings.Repeat("</a>", 3), []string{"header", strings.Repeat("<a>", 3) + strings.Repeat("</a>", 3)}, io.EOF},
		{"endless", header + "<a>" + strings.Repeat(long, 9), []string{"header"}, ErrGarbage},
		{"endless text between elements", header + strings.Repeat("x", 5000), []string{"header"}, ErrGarbage},
		{"endless header", strings.Replace(header, "juliet", strings.Repeat("x", 5000), 1), nil, ErrGarbage},
		{"endless white space is a keepalive", header + strings.Repeat(" \n", 9000) + "<a/>", []string{"header", "<a/>"}, io.EOF},
		{"HTTP instead", "HTTP/1.1 400 Bad Request\r\n\r\n<html>", nil, ErrGarbage},
		{"empty header", "<stream/>", nil, ErrGarbage},
		{"tag in a tag", header + "<a <b/>", []string{"header"}, ErrGarbage},
		{"slash in a tag", header + "<a / >", []string{"header"}, ErrGarbage},
		{"no tag", header + "< a/>", []string{"header"}, ErrGarbage},
		{"end within an element", header + "<a>", []string{"header"}, io.ErrUnexpectedEOF},
		{"end within a tag", header + "<", []string{"header"}, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"at once": strings.NewReader(c.in), "by bytes": iotest.OneByteReader(strings.NewReader(c.in)), "error with data": iotest.DataErrReader(strings.NewReader(c.in)),
			} {
				s := NewScanner(r)
				s.Size, s.Depth = 100, 3
				got, err := scan(s)
				if strings.Join(got, "|") != strings.Join(c.want, "|") || !errors.Is(err, c.err) {
					t.Errorf("%s: %q, %v; want %q, %v", how, got, err, c.want, c.err)
				}
			}
		})
	}
}

// What is kept of a stanza of 10 MB is its beginning, and the stream goes on.
func TestScanHuge(t *testing.T) {
	begin := "<iq id='1' type='get'><q>"
	s := NewScanner(io.MultiReader(strings.NewReader(header+begin), io.LimitReader(repeat("<x/>"), 10<<20), strings.NewReader("</q></iq><b/>")))
	s.Next()
	p, err := s.Next()
	if err != nil || p.Kind != Skipped || len(p.Data) != 4096 || !bytes.HasPrefix(p.Data, []byte(begin)) || p.Size != len(begin)+10<<20+9 {
		t.Fatalf("%d %s %d, %v", p.Kind, p.Data[:min(50, len(p.Data))], p.Size, err)
	}
	if p, err := s.Next(); err != nil || string(p.Data) != "<b/>" {
		t.Fatalf("then %s, %v", p.Data, err)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Fatal(err)
	}
	if cap(s.buf) > smallBuffer {
		t.Errorf("%d bytes are kept by an idle stream", cap(s.buf))
	}
}

// repeated reads a text again and again.
type repeated struct {
	text string
	at   int
}

func repeat(text string) *repeated { return &repeated{text: text} }

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.text[r.at:])
		n += c
		r.at = (r.at + c) % len(r.text)
	}
	return n, nil
}

func TestRestart(t *testing.T) {
	s := NewScanner(strings.NewReader(header + "<success/>" + header + "<a/>"))
	for _, want := range []string{header[21:], "<success/>"} {
		if p, err := s.Next(); err != nil || string(p.Data) != want {
			t.Fatalf("%s, %v", p.Data, err)
		}
	}
	if n := s.Buffered(); n != len(header)+4 {
		t.Errorf("%d bytes are buffered", n)
	}
	s.Restart(strings.NewReader("</stream:stream>"))
	got, err := scan(s)
	if strings.Join(got, "|") != "header|<a/>|footer" || err != io.EOF {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHeader(t *testing.T) {
	p, err := NewScanner(strings.NewReader(header)).Next()
	if err != nil {
		t.Fatal(err)
	}
	o, parser, err := ParseHeader(p.Data)
	if err != nil || *o != (Open{To: "juliet@im.example.com", From: "im.example.com", ID: "++TR84Sm6A3hnt3Q065SnAbbk3Y=", Version: "1.0", Lang: "en", Space: NSClient}) {
		t.Fatalf("%+v, %v", o, err)
	}
	if e, err := parser.Parse([]byte("<stream:features><a/></stream:features>")); err != nil || !e.Is(xmltree.NSStream, "features") || e.Child(NSClient, "a") == nil {
		t.Errorf("%v, %v", e, err)
	}
	p, err = NewScanner(bytes.NewReader(o.AppendHeader(nil))).Next()
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := ParseHeader(p.Data); err != nil || *again != *o {
		t.Errorf("written and read again: %+v, %v", again, err)
	}
	again, err := ParseOpen(o.Element())
	if o.Space = ""; err != nil || *again != *o {
		t.Errorf("by WebSocket: %+v, %v", again, err)
	}
	for _, bad := range []string{"<a>", "<stream xmlns='x'>", "<stream:stream>", "<a/>", ""} {
		if o, _, err := ParseHeader([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, o)
		}
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{"<a/>", "<a><!-- --></a>", "<a b='>'>t<![CDATA[>]]></a></stream:stream>", "<!DOCTYPE a [ <!ENTITY b '>'> ]><a/>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := header + string(b)
		whole := NewScanner(strings.NewReader(in))
		whole.Size, whole.Depth = 64, 3
		bytewise := NewScanner(iotest.OneByteReader(strings.NewReader(in)))
		bytewise.Size, bytewise.Depth = 64, 3
		p1, err1 := scan(whole)
		p2, err2 := scan(bytewise)
		// How much garbage passes depends on when it is counted; the pieces do not.
		if n := min(len(p1), len(p2)); strings.Join(p1[:n], "|") != strings.Join(p2[:n], "|") || err1 != io.EOF != (err2 != io.EOF) && !errors.Is(err1, ErrGarbage) && !errors.Is(err2, ErrGarbage) {
			t.Fatalf("%q %v\nby bytes %q %v", p1, err1, p2, err2)
		}
		// What the parser takes, the scanner finds.
		if e, err := xmltree.Parse(b); err == nil {
			s := NewScanner(strings.NewReader(header + string(b) + "<end/>"))
			got, err := scan(s)
			if len(got) != 3 || got[2] != "<end/>" || err != io.EOF {
				t.Fatalf("%v: %q, %v", e, got, err)
			}
			if again, err := xmltree.Parse([]byte(got[1])); err != nil || again.String() != e.String() {
				t.Fatalf("%v: %v, %v", e, again, err)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	stanza := "<message from='a@example.org/x' to='b@example.org' type='chat'><body>" + strings.Repeat("text ", 100) + "</body><a xmlns='b' c='d'/></message>"
	s := NewScanner(io.MultiReader(strings.NewReader(header), repeat(stanza)))
	if _, err := s.Next(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(stanza)))
	b.ReportAllocs()
	for b.Loop() {
		if p, err := s.Next(); err != nil || p.Kind != Element {
			b.Fatal(p.Kind, err)
		}
	}
}
