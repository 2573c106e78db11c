package xmltree

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

// result is a message as an archive sends it (XEP-0313 §4.2), 0.8 KB.
const result = `<message xmlns='jabber:client' to='juliet@capulet.lit/chamber' from='juliet@capulet.lit'><result xmlns='urn:xmpp:mam:2' queryid='f27' id='28482-98726-73623'>` +
	`<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/><message xmlns='jabber:client' xml:lang='en' to='juliet@capulet.lit/balcony' ` +
	`from='romeo@montague.lit/orchard' type='chat' id='5c4a5c3b-9d0a-44f7-8c5a-d9a3f0f8f8a1'><body>Call me but love, and I&apos;ll be new baptized; Henceforth I never will be Romeo.</body>` +
	`<origin-id xmlns='urn:xmpp:sid:0' id='5c4a5c3b-9d0a-44f7-8c5a-d9a3f0f8f8a1'/><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='28482-98726-73623'/><markable xmlns='urn:xmpp:chat-markers:0'/>` +
	`<request xmlns='urn:xmpp:receipts'/></message></forwarded></result></message>`

func TestParse(t *testing.T) {
	el := New
	for _, c := range []struct {
		name, in string
		want     *Element
	}{
		{"empty", `<a/>`, el("", "a")},
		{"space around, and in tags", " \n<a  b = 'c' ></a\t>\n", el("", "a").Set("b", "c")},
		{"text", `<a>b &amp;&lt;&gt;&apos;&quot; c</a>`, el("", "a").AddText(`b &<>'" c`)},
		{"references by number, XML §4.1", `<a>&#228;&#xE4;&#x1F600;</a>`, el("", "a").AddText("ää😀")},
		{"line ends, XML §2.11", "<a>1\r\n2\r3&#13;</a>", el("", "a").AddText("1\n2\n3\r")},
		{"values, XML §3.3.3", "<a b=\"1\r\n2\t3&#10;\"/>", el("", "a").Set("b", "1 2 3\n")},
		{"CDATA is text", `<a>1<![CDATA[<&]]>2</a>`, el("", "a").AddText("1<&2")},
		{"mixed content keeps its order", `<a>1<b/>2</a>`, el("", "a").AddText("1").Add(el("", "b")).AddText("2")},
		{"default namespace", `<a xmlns='x'><b/><c xmlns='y'><d/></c><e/></a>`, el("x", "a", el("x", "b"), el("y", "c", el("y", "d")), el("x", "e"))},
		{"default namespace undeclared", `<a xmlns='x'><b xmlns=''/></a>`, el("x", "a", el("", "b"))},
		{"prefixes", `<p:a xmlns:p='x' p:q='1' q='2'><p:b xmlns:p='y'/><p:c/></p:a>`,
			el("x", "a", el("y", "b"), el("x", "c")).SetNS("x", "q", "1").Set("q", "2")},
		{"declared behind its use", `<p:a p:q='1' xmlns:p='x'/>`, el("x", "a").SetNS("x", "q", "1")},
		{"xml:lang needs no declaration", `<a xml:lang='de'/>`, el("", "a").SetNS(NSXML, "lang", "de")},
		{"names beyond ASCII", `<schlüssel größe='1'/>`, el("", "schlüssel").Set("größe", "1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if !equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			again, err := Parse(got.AppendXML(nil, ""))
			if err != nil || !equal(got, again) {
				t.Errorf("written and read again: %v, %v", again, err)
			}
		})
	}
}

func TestParseScope(t *testing.T) {
	p := Parser{Space: "jabber:client", Prefixes: map[string]string{"stream": NSStream}}
	e, err := p.Parse([]byte(`<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><x/></stream:features>`))
	want := New(NSStream, "features", New("urn:ietf:params:xml:ns:xmpp-bind", "bind"), New("jabber:client", "x"))
	if err != nil || !equal(e, want) {
		t.Fatalf("got %v, %v", e, err)
	}
	const wire = `<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><x/></stream:features>`
	if got := string(e.AppendXML(nil, "jabber:client")); got != wire {
		t.Errorf("written as %s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		reason   Reason
	}{
		{"nothing", ``, NotWellFormed},
		{"text alone", `a`, NotWellFormed},
		{"two elements", `<a/><b/>`, NotWellFormed},
		{"not closed", `<a><b></b>`, NotWellFormed},
		{"closed crosswise", `<a><b></a></b>`, NotWellFormed},
		{"closed by a longer name", `<a></ab>`, NotWellFormed},
		{"tag not closed", `<a b='c'`, NotWellFormed},
		{"stray slash", `<a / >`, NotWellFormed},
		{"value without quotes", `<a b=c/>`, NotWellFormed},
		{"tag in a value", `<a b='<'/>`, NotWellFormed},
		{"attributes without space", `<a b='1'c='2'/>`, NotWellFormed},
		{"attribute twice", `<a b='1' b='2'/>`, NotWellFormed},
		{"attribute twice by namespace, Namespaces §6.3", `<a xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'/>`, NotWellFormed},
		{"declared twice", `<a xmlns='x' xmlns='y'/>`, NotWellFormed},
		{"end of CDATA in text, XML §2.4", `<a>]]></a>`, NotWellFormed},
		{"bad UTF-8", "<a>\xff</a>", NotWellFormed},
		{"overlong UTF-8", "<a>\xc0\xaf</a>", NotWellFormed},
		{"surrogate", "<a>\xed\xa0\x80</a>", NotWellFormed},
		{"NUL", "<a>\x00</a>", NotWellFormed},
		{"control character by number", "<a>&#1;</a>", RestrictedXML},
		{"U+FFFE", "<a>\uFFFE</a>", NotWellFormed},
		{"digit first", `<1/>`, NotWellFormed},
		{"two colons", `<a:b:c xmlns:a='x'/>`, NotWellFormed},
		{"prefix of nobody", `<p:a/>`, BadNamespace},
		{"prefix of nobody in an attribute", `<a p:b='1'/>`, BadNamespace},
		{"prefix undeclared, Namespaces §5", `<a xmlns:p=''/>`, BadNamespace},
		{"prefix xmlns", `<a xmlns:xmlns='x'/>`, BadNamespace},
		{"prefix xml elsewhere", `<a xmlns:xml='x'/>`, BadNamespace},
		{"comment, RFC 6120 §11.1", `<a><!-- --></a>`, RestrictedXML},
		{"processing instruction, RFC 6120 §11.1", `<a><?b?></a>`, RestrictedXML},
		{"document type, RFC 6120 §11.1", `<a><!DOCTYPE b></a>`, RestrictedXML},
		{"entity, RFC 6120 §11.1", `<a>&lol;</a>`, RestrictedXML},
		{"too deep", strings.Repeat("<a>", 65) + strings.Repeat("</a>", 65), TooMuch},
		{"too many attributes", "<a" + func() (s string) {
			for i := range 65 {
				s += fmt.Sprintf(" a%d=''", i)
			}
			return
		}() + "/>", TooMuch},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Parse([]byte(c.in))
			var se *SyntaxError
			if !errors.As(err, &se) || se.Reason != c.reason || e != nil {
				t.Errorf("got %v, %v; want %s", e, err, c.reason)
			}
		})
	}
}

// A parser is used again after an error, and what it parsed stays as it was.
func TestParserAgain(t *testing.T) {
	p := Parser{Space: "jabber:client"}
	first, err := p.Parse([]byte(result))
	if err != nil {
		t.Fatal(err)
	}
	copied := first.Clone()
	for _, bad := range []string{`<a><b xmlns:p='x'><c>text`, `<a xmlns:p='x'`, strings.Repeat(`<a xmlns='y'>`, 70)} {
		if _, err := p.Parse([]byte(bad)); err == nil {
			t.Fatalf("%s parsed", bad)
		}
		if e, err := p.Parse([]byte(`<p:a/>`)); err == nil {
			t.Errorf("after %s its declarations stay: %v", bad, e)
		}
	}
	if !equal(first, copied) {
		t.Error("an element has changed")
	}
}

func TestAppendIsWellFormed(t *testing.T) {
	for _, e := range []*Element{
		New("", "a b='c'><x").Set("1'<", "v").AddText("t"),
		New("", ""),
		New("a'b<&", "e").SetNS("n\"<", "a", "\x00\xff\r\n\t'\"<>&\uFFFF"),
		NewText("", "a", "\x00\xff\r\n\t'\"<>&]]>\uFFFE"),
	} {
		b := e.AppendXML(nil, "")
		if _, err := Parse(b); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestNil(t *testing.T) {
	var e *Element
	if e.Child("a", "b").Child("c", "d").Text() != "" || e.Get("x") != "" || e.First() != nil || e.Is("", "") || e.Clone() != nil || e.String() != "" {
		t.Error("a nil element has something")
	}
	for range e.Named("", "a") {
		t.Error("a nil element has children")
	}
	if err := e.Decode(new(struct{})); err == nil {
		t.Error("a nil element was decoded")
	}
}

func TestEdit(t *testing.T) {
	e := New("x", "a", New("x", "b"), nil, New("y", "b")).AddText("1").Add(NewText("x", "c", "in")).AddText("2")
	if got := e.Text(); got != "12" {
		t.Errorf("text %q", got)
	}
	if !e.Remove("x", "b") || e.Remove("x", "b") || e.Child("y", "b") == nil {
		t.Errorf("after Remove: %v", e)
	}
	e.Set("k", "1").Set("k", "2").SetNS("z", "k", "3")
	if e.Get("k") != "2" || e.GetNS("z", "k") != "3" {
		t.Errorf("after Set: %v", e)
	}
	if e.Set("k", ""); e.Get("k") != "" || len(e.Attr) != 1 {
		t.Errorf("after Set to nothing: %v", e)
	}
}

func TestTokens(t *testing.T) {
	e, err := Parse([]byte(result))
	if err != nil {
		t.Fatal(err)
	}
	back, err := FromTokens(e.TokenReader())
	if err != nil || !equal(e, back) {
		t.Errorf("by tokens: %v, %v", back, err)
	}
	var v struct {
		XMLName xml.Name `xml:"jabber:client message"`
		Body    string   `xml:"result>forwarded>message>body"`
	}
	if err := e.Decode(&v); err != nil || !strings.HasPrefix(v.Body, "Call me but love, and I'll") {
		t.Errorf("decoded %+v, %v", v, err)
	}
	back, err = FromValue(&v)
	if err != nil || back.Child("jabber:client", "result") == nil {
		t.Errorf("from a value: %v, %v", back, err)
	}
	for _, bad := range []string{"<a>", "text", ""} {
		if e, err := FromTokens(xml.NewDecoder(strings.NewReader(bad))); err == nil {
			t.Errorf("%q gave %v", bad, e)
		}
	}
}

func equal(a, b *Element) bool { return reflect.DeepEqual(normal(a), normal(b)) }

// normal has no empty slices beside nil ones, and text in one node.
func normal(e *Element) *Element {
	if e == nil {
		return nil
	}
	n := &Element{Name: e.Name, Attr: append([]xml.Attr(nil), e.Attr...)}
	for _, c := range e.Nodes {
		last := len(n.Nodes) - 1
		switch {
		case c.Element != nil:
			n.Nodes = append(n.Nodes, Node{Element: normal(c.Element)})
		case last >= 0 && n.Nodes[last].Element == nil:
			n.Nodes[last].Text += c.Text
		default:
			n.Nodes = append(n.Nodes, c)
		}
	}
	return n
}

// FuzzParse holds the parser against encoding/xml: what this one takes the
// other takes too, and both see the same. (The reverse is not so: encoding/xml
// takes undeclared prefixes, attributes that come twice, comments.)
func FuzzParse(f *testing.F) {
	for _, s := range []string{result, `<p:a xmlns:p='x' p:q='1'>&#x41;<![CDATA[<]]>]]&gt;</p:a>`, "<a b=\"\r\n\">\r</a>", `<a xmlns='x'><b xmlns=''/></a>`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > len(b) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := Parse(e.AppendXML(nil, ""))
		if err != nil || !equal(e, again) {
			t.Fatalf("written and read again: %v, %v", again, err)
		}
		for _, c := range b {
			if c >= 0x80 { // its tables of names are those of XML's fourth edition
				return
			}
		}
		d := xml.NewDecoder(strings.NewReader(string(b)))
		other, err := FromTokens(d)
		if err != nil {
			t.Fatalf("encoding/xml refuses: %v", err)
		}
		if _, err := d.Token(); err != io.EOF {
			if _, ok := err.(*xml.SyntaxError); ok {
				t.Fatalf("encoding/xml finds more: %v", err)
			}
		}
		if !equal(spaced(e), spaced(other)) {
			t.Fatalf("%v\nencoding/xml: %v", e, other)
		}
	})
}

// spaced maps white space in values to spaces: encoding/xml does not do what XML §3.3.3 says.
func spaced(e *Element) *Element {
	c := e.Clone()
	for i := range c.Attr {
		c.Attr[i].Value = strings.Map(func(r rune) rune {
			if r == '\n' || r == '\t' || r == '\r' {
				return ' '
			}
			return r
		}, c.Attr[i].Value)
	}
	for i, n := range c.Nodes {
		if n.Element != nil {
			c.Nodes[i].Element = spaced(n.Element)
		}
	}
	return c
}

func BenchmarkParse(b *testing.B) {
	p := Parser{Space: "jabber:client"}
	in := []byte(result)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodingXML(b *testing.B) {
	b.SetBytes(int64(len(result)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromTokens(xml.NewDecoder(strings.NewReader(result))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	e, err := Parse([]byte(result))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendXML(buf[:0], "jabber:client")
	}
}
