package xmltree

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a Parser where it says nothing.
const (
	DefaultDepth = 64
	maxAttrs     = 64   // of one element, declarations included
	maxInterned  = 1024 // namespaces and names that a Parser remembers
)

// Reason is what is wrong with XML.
type Reason string

// The reasons; their texts are the conditions of stream errors (RFC 6120 §4.9.3).
const (
	NotWellFormed Reason = "not-well-formed"
	RestrictedXML Reason = "restricted-xml"   // well-formed perhaps, but RFC 6120 §11.1 forbids it
	BadNamespace  Reason = "bad-format"       // a prefix that nobody declared
	TooMuch       Reason = "policy-violation" // too deep, or too many attributes
)

// SyntaxError says that bytes are not an element as XMPP has it.
type SyntaxError struct {
	Reason Reason
	Offset int // bytes from the beginning
	Text   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("xmltree: %s at byte %d: %s", e.Reason, e.Offset, e.Text)
}

// Parser parses elements that stand in the same place, as all stanzas of a
// stream do. The zero value is for elements that stand alone. It remembers
// names, and so is not safe for concurrent use.
type Parser struct {
	Space    string            // the default namespace in force, such as "jabber:client"
	Prefixes map[string]string // prefixes that are declared outside, with their namespaces
	Depth    int               // how deep elements may be nested; 0 is DefaultDepth

	names map[string]string
	nodes []Node // of elements that are not closed yet
	bound []binding
}

// binding is a declaration of a prefix; "" is the default namespace.
type binding struct{ prefix, space string }

// Parse parses one element that stands alone.
func Parse(b []byte) (*Element, error) { return new(Parser).Parse(b) }

// Parse parses one element, which white space may surround. All that is in the
// result shares one copy of b; Clone what is kept for long. Errors are *SyntaxError.
func (p *Parser) Parse(b []byte) (*Element, error) {
	if p.names == nil {
		p.names = make(map[string]string)
	}
	s := string(b)
	// Each element has at least one '<', and each '<' takes four bytes.
	elements := strings.Count(s, "<") - strings.Count(s, "</")
	elements = max(0, min(elements, len(s)/4+1))
	r := reader{p: p, s: s, elements: make([]Element, 0, elements), nodes: make([]Node, 0, 2*elements)}
	p.nodes, p.bound = p.nodes[:0], p.bound[:0]
	e, err := r.document()
	clear(p.nodes[:cap(p.nodes)]) // nothing of the stanza stays here
	if cap(p.nodes) > 256 {
		p.nodes = nil
	}
	clear(p.bound[:cap(p.bound)])
	if err != nil {
		return nil, err
	}
	return e, nil
}

// intern returns s as a string that outlives the stanza, for names that come again and again.
func (p *Parser) intern(s string) string {
	if known, ok := p.names[s]; ok {
		return known
	}
	if len(p.names) >= maxInterned || len(s) > 128 {
		return s
	}
	s = strings.Clone(s)
	p.names[s] = s
	return s
}

// reader is one run of a Parser.
type reader struct {
	p        *Parser
	s        string
	i        int
	depth    int
	elements []Element  // never grows, so that pointers into it stay good
	nodes    []Node     // of elements that are closed
	attrs    []xml.Attr // a block of which attributes are cut
}

func (r *reader) fail(reason Reason, format string, args ...any) error {
	return &SyntaxError{Reason: reason, Offset: r.i, Text: fmt.Sprintf(format, args...)}
}

func (r *reader) document() (*Element, error) {
	if err := r.characters(); err != nil {
		return nil, err
	}
	r.space()
	if r.i >= len(r.s) || r.s[r.i] != '<' {
		return nil, r.fail(NotWellFormed, "no element")
	}
	e, err := r.element()
	if err != nil {
		return nil, err
	}
	r.space()
	if r.i != len(r.s) {
		return nil, r.fail(NotWellFormed, "something follows the element")
	}
	return e, nil
}

// characters checks that all is UTF-8 of the characters of XML §2.2.
func (r *reader) characters() error {
	if !utf8.ValidString(r.s) {
		return r.fail(NotWellFormed, "not UTF-8")
	}
	for i := 0; i < len(r.s); i++ {
		c := r.s[i]
		if c >= 0x20 && c != 0xEF {
			continue
		}
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0xEF && r.s[i+1] == 0xBF && r.s[i+2] >= 0xBE {
			r.i = i
			return r.fail(NotWellFormed, "a character that XML does not have")
		}
	}
	return nil
}

func (r *reader) space() bool {
	start := r.i
	for r.i < len(r.s) && isSpace(r.s[r.i]) {
		r.i++
	}
	return r.i > start
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// element parses from '<' to the end of the element that begins there.
func (r *reader) element() (*Element, error) {
	if r.depth++; r.depth > limit(r.p.Depth, DefaultDepth) {
		return nil, r.fail(TooMuch, "nested too deeply")
	}
	scope := len(r.p.bound)
	e, tag, empty, err := r.startTag()
	if err != nil {
		return nil, err
	}
	if !empty {
		if err := r.content(e, tag); err != nil {
			return nil, err
		}
	}
	r.p.bound = r.p.bound[:scope]
	r.depth--
	return e, nil
}

func limit(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// content parses what is between the tags, and the end tag.
func (r *reader) content(e *Element, tag string) error {
	first := len(r.p.nodes)
	for {
		next := strings.IndexByte(r.s[r.i:], '<')
		if next < 0 {
			return r.fail(NotWellFormed, "%s is not closed", tag)
		}
		if next > 0 {
			text, err := r.text(r.s[r.i : r.i+next])
			if err != nil {
				return err
			}
			r.addText(first, text)
			r.i += next
		}
		rest := r.s[r.i+1:]
		switch {
		case rest != "" && rest[0] == '/':
			return r.endTag(e, tag, first)
		case strings.HasPrefix(rest, "![CDATA["):
			if err := r.cdata(first); err != nil {
				return err
			}
		case rest != "" && (rest[0] == '!' || rest[0] == '?'):
			return r.fail(RestrictedXML, "a comment, processing instruction or declaration")
		default:
			c, err := r.element()
			if err != nil {
				return err
			}
			r.p.nodes = append(r.p.nodes, Node{Element: c})
		}
	}
}

// addText appends text to the open element whose nodes begin at first.
func (r *reader) addText(first int, text string) {
	if text == "" {
		return
	}
	if n := len(r.p.nodes); n > first && r.p.nodes[n-1].Element == nil {
		r.p.nodes[n-1].Text += text // CDATA beside text
		return
	}
	r.p.nodes = append(r.p.nodes, Node{Text: text})
}

func (r *reader) cdata(first int) error {
	const begin, end = "<![CDATA[", "]]>"
	n := strings.Index(r.s[r.i+len(begin):], end)
	if n < 0 {
		return r.fail(NotWellFormed, "CDATA is not closed")
	}
	r.i += len(begin)
	r.addText(first, newlines(r.s[r.i:r.i+n]))
	r.i += n + len(end)
	return nil
}

// endTag parses "</tag>" and gives the element its nodes.
func (r *reader) endTag(e *Element, tag string, first int) error {
	if !strings.HasPrefix(r.s[r.i+2:], tag) {
		return r.fail(NotWellFormed, "an end tag that is not of %s", tag)
	}
	r.i += 2 + len(tag)
	r.space()
	if r.i >= len(r.s) || r.s[r.i] != '>' {
		return r.fail(NotWellFormed, "an end tag that is not of %s", tag)
	}
	r.i++
	if nodes := r.p.nodes[first:]; len(nodes) > 0 {
		start := len(r.nodes)
		r.nodes = append(r.nodes, nodes...)
		e.Nodes = r.nodes[start:len(r.nodes):len(r.nodes)]
		r.p.nodes = r.p.nodes[:first]
	}
	return nil
}

// startTag parses a start tag, or the tag of an empty element. tag is the name as it is written.
func (r *reader) startTag() (e *Element, tag string, empty bool, err error) {
	r.i++
	prefix, local, err := r.name()
	if err != nil {
		return nil, "", false, err
	}
	tag = local
	if prefix != "" {
		tag = prefix + ":" + local
	}
	r.elements = append(r.elements, Element{})
	e = &r.elements[len(r.elements)-1]
	first, declared := len(r.attrs), 0
	for {
		spaced := r.space()
		if r.i >= len(r.s) {
			return nil, "", false, r.fail(NotWellFormed, "a tag is not closed")
		}
		switch r.s[r.i] {
		case '>':
			r.i++
			return e, tag, false, r.resolve(e, prefix, local, first)
		case '/':
			if !strings.HasPrefix(r.s[r.i:], "/>") {
				return nil, "", false, r.fail(NotWellFormed, "a stray slash")
			}
			r.i += 2
			return e, tag, true, r.resolve(e, prefix, local, first)
		}
		if !spaced {
			return nil, "", false, r.fail(NotWellFormed, "no space before an attribute")
		}
		if declared++; declared > maxAttrs {
			return nil, "", false, r.fail(TooMuch, "too many attributes")
		}
		if first, err = r.attribute(first); err != nil {
			return nil, "", false, err
		}
	}
}

// attribute parses an attribute and puts it behind those from first on, with
// its prefix as Space, or takes it as a declaration. It returns where they are now.
func (r *reader) attribute(first int) (int, error) {
	prefix, local, err := r.name()
	if err != nil {
		return first, err
	}
	r.space()
	if r.i >= len(r.s) || r.s[r.i] != '=' {
		return first, r.fail(NotWellFormed, "an attribute without a value")
	}
	r.i++
	r.space()
	value, err := r.value()
	if err != nil {
		return first, err
	}
	switch {
	case prefix == "" && local == "xmlns":
		return first, r.declare("", value)
	case prefix == "xmlns":
		return first, r.declare(local, value)
	}
	if len(r.attrs) == cap(r.attrs) {
		// A new block; only those of the element at hand move to it.
		block := make([]xml.Attr, len(r.attrs)-first, max(16, 2*(len(r.attrs)-first)))
		copy(block, r.attrs[first:])
		r.attrs, first = block, 0
	}
	r.attrs = append(r.attrs, xml.Attr{Name: xml.Name{Space: prefix, Local: local}, Value: value})
	return first, nil
}

// declare binds a prefix for the element at hand (Namespaces in XML 1.0 §3, §2.2).
func (r *reader) declare(prefix, space string) error {
	switch {
	case prefix != "" && space == "", prefix == "xmlns", (prefix == "xml") != (space == NSXML), space == "http://www.w3.org/2000/xmlns/":
		return r.fail(BadNamespace, "prefix %q cannot be %q", prefix, space)
	}
	for i := len(r.p.bound) - 1; i >= 0 && r.p.bound[i].prefix != mark; i-- {
		if r.p.bound[i].prefix == prefix {
			return r.fail(NotWellFormed, "declared twice")
		}
	}
	r.p.bound = append(r.p.bound, binding{prefix, r.p.intern(space)})
	return nil
}

// mark is where the declarations of an element end; no prefix is like it.
const mark = ":"

// resolve gives names their namespaces when all declarations of the tag are known.
func (r *reader) resolve(e *Element, prefix, local string, first int) error {
	r.p.bound = append(r.p.bound, binding{prefix: mark})
	space, ok := r.lookup(prefix)
	if !ok {
		return r.fail(BadNamespace, "prefix %q is not declared", prefix)
	}
	e.Name = xml.Name{Space: space, Local: r.p.intern(local)}
	if first == len(r.attrs) {
		return nil
	}
	e.Attr = r.attrs[first:len(r.attrs):len(r.attrs)]
	for i := range e.Attr {
		a := &e.Attr[i]
		a.Name.Local = r.p.intern(a.Name.Local)
		if a.Name.Space != "" {
			if a.Name.Space, ok = r.lookup(a.Name.Space); !ok {
				return r.fail(BadNamespace, "a prefix of an attribute is not declared")
			}
		}
		for j := range i {
			if e.Attr[j].Name == a.Name {
				return r.fail(NotWellFormed, "an attribute twice")
			}
		}
	}
	return nil
}

func (r *reader) lookup(prefix string) (string, bool) {
	for i := len(r.p.bound) - 1; i >= 0; i-- {
		if b := &r.p.bound[i]; b.prefix == prefix {
			return b.space, true
		}
	}
	switch prefix {
	case "":
		return r.p.Space, true
	case "xml":
		return NSXML, true
	}
	space, ok := r.p.Prefixes[prefix]
	return space, ok
}

// name parses a name with or without a prefix.
func (r *reader) name() (prefix, local string, err error) {
	start := r.i
	for {
		at := r.i
		for r.i < len(r.s) {
			c := r.s[r.i]
			if c < utf8.RuneSelf {
				if byteClass[c]&nameByte == 0 {
					break
				}
				r.i++
				continue
			}
			ch, size := utf8.DecodeRuneInString(r.s[r.i:])
			if !nameChar(ch) {
				break
			}
			r.i += size
		}
		first, _ := utf8.DecodeRuneInString(r.s[at:r.i])
		if at == r.i || !nameStart(first) {
			return "", "", r.fail(NotWellFormed, "not a name")
		}
		if r.i < len(r.s) && r.s[r.i] == ':' {
			if at != start {
				return "", "", r.fail(NotWellFormed, "a name with two colons")
			}
			prefix = r.s[start:r.i]
			r.i++
			continue
		}
		return prefix, r.s[at:r.i], nil
	}
}

// value parses the quoted value of an attribute.
func (r *reader) value() (string, error) {
	if r.i >= len(r.s) || r.s[r.i] != '"' && r.s[r.i] != '\'' {
		return "", r.fail(NotWellFormed, "a value without quotes")
	}
	n := strings.IndexByte(r.s[r.i+1:], r.s[r.i])
	if n < 0 {
		return "", r.fail(NotWellFormed, "a value is not closed")
	}
	raw := r.s[r.i+1 : r.i+1+n]
	if strings.IndexByte(raw, '<') >= 0 {
		return "", r.fail(NotWellFormed, "a tag within a value")
	}
	if strings.ContainsAny(raw, "\t\n\r") {
		// XML §3.3.3, after §2.11.
		raw = strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ", "\t", " ").Replace(raw)
	}
	value, err := r.unescape(raw)
	r.i += n + 2
	return value, err
}

// text unescapes text between tags.
func (r *reader) text(raw string) (string, error) {
	if strings.Contains(raw, "]]>") {
		return "", r.fail(NotWellFormed, "an end of CDATA in text") // XML §2.4
	}
	return r.unescape(newlines(raw))
}

// newlines makes line ends what XML §2.11 wants.
func newlines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

func (r *reader) unescape(raw string) (string, error) {
	at := strings.IndexByte(raw, '&')
	if at < 0 {
		return raw, nil
	}
	b := make([]byte, 0, len(raw))
	for at >= 0 {
		b = append(b, raw[:at]...)
		raw = raw[at+1:]
		end := strings.IndexByte(raw, ';')
		if end < 0 {
			return "", r.fail(NotWellFormed, "a reference without an end")
		}
		ch, ok := reference(raw[:end])
		if !ok {
			return "", r.fail(RestrictedXML, "an entity that is not predefined")
		}
		b = utf8.AppendRune(b, ch)
		raw = raw[end+1:]
		at = strings.IndexByte(raw, '&')
	}
	return string(append(b, raw...)), nil
}

// reference is the character that "&name;" means (XML §4.1, §4.6).
func reference(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "apos":
		return '\'', true
	case "quot":
		return '"', true
	}
	digits, ok := strings.CutPrefix(name, "#")
	base := 10
	if hex, isHex := strings.CutPrefix(digits, "x"); isHex {
		digits, base = hex, 16
	}
	if !ok || len(digits) == 0 || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) || n < 0x20 && n != '\t' && n != '\n' && n != '\r' || n == 0xFFFE || n == 0xFFFF {
		return 0, false
	}
	return rune(n), true
}

// ParseStart parses a start tag that stands alone, such as the header of a
// stream, and returns a Parser for the elements that follow in it. The prefixes
// and the default namespace that the tag declares are in force there.
func ParseStart(b []byte) (*Element, *Parser, error) {
	p := &Parser{names: make(map[string]string)}
	r := reader{p: p, s: string(b), elements: make([]Element, 0, 1)}
	if err := r.characters(); err != nil {
		return nil, nil, err
	}
	r.space()
	if r.i >= len(r.s) || r.s[r.i] != '<' {
		return nil, nil, r.fail(NotWellFormed, "no start tag")
	}
	e, _, empty, err := r.startTag()
	if err != nil {
		return nil, nil, err
	}
	if r.space(); empty || r.i != len(r.s) {
		return nil, nil, r.fail(NotWellFormed, "not a start tag alone")
	}
	for _, b := range p.bound {
		switch b.prefix {
		case mark:
		case "":
			p.Space = b.space
		default:
			if p.Prefixes == nil {
				p.Prefixes = make(map[string]string)
			}
			p.Prefixes[b.prefix] = b.space
		}
	}
	return e, p, nil
}

// ParseBeginning parses the start tag with which b begins, whatever follows it:
// what can be told of an element that is not to be parsed whole.
func (p *Parser) ParseBeginning(b []byte) (*Element, error) {
	if p.names == nil {
		p.names = make(map[string]string)
	}
	if end := tagEnd(b); end > 0 {
		b = b[:end]
	}
	p.bound = p.bound[:0]
	r := reader{p: p, s: string(b), elements: make([]Element, 0, 1)}
	if err := r.characters(); err != nil {
		return nil, err
	}
	if r.space(); r.i >= len(r.s) || r.s[r.i] != '<' {
		return nil, r.fail(NotWellFormed, "no start tag")
	}
	e, _, _, err := r.startTag()
	if err != nil {
		return nil, err
	}
	return e, nil
}

// tagEnd returns where the first tag ends; 0 if it does not.
func tagEnd(b []byte) int {
	var quote byte
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return 0
}
