package xmltree

import (
	"encoding/xml"
	"strconv"
	"unicode/utf8"
)

// AppendXML appends the element to b. space is the default namespace at the
// place where it goes, such as "jabber:client" in a client's stream: elements
// in it are not declared again. What comes out is always well-formed: characters
// that XML cannot hold become U+FFFD in text and values, and "_" in names.
func (e *Element) AppendXML(b []byte, space string) []byte {
	if e == nil {
		return b
	}
	b, inner, name := e.appendTag(b, space)
	if len(e.Nodes) == 0 {
		return append(b, "/>"...)
	}
	b = append(b, '>')
	for i := range e.Nodes {
		if n := &e.Nodes[i]; n.Element != nil {
			b = n.Element.AppendXML(b, inner)
		} else {
			b = appendText(b, n.Text)
		}
	}
	b = append(b, "</"...)
	b = append(b, b[name[0]:name[1]]...)
	return append(b, '>')
}

// AppendStart appends the start tag alone, with inner declared as the default
// namespace of what follows, as in the header of a stream.
func (e *Element) AppendStart(b []byte, inner string) []byte {
	b, space, _ := e.appendTag(b, "")
	if inner != space {
		b = appendAttr(b, "xmlns", inner)
	}
	return append(b, '>')
}

// appendTag appends the start tag without its end. It returns the default
// namespace of what is inside, and where the name stands.
func (e *Element) appendTag(b []byte, space string) (_ []byte, inner string, name [2]int) {
	name[0] = len(b) + 1
	b = append(b, '<')
	switch e.Name.Space {
	case NSStream:
		// Peers expect this prefix (RFC 6120 §4.8.5). It does not change the
		// default namespace for what is inside.
		b = append(b, "stream:"...)
		b = appendName(b, e.Name.Local)
	default:
		b = appendName(b, e.Name.Local)
	}
	name[1] = len(b)
	switch e.Name.Space {
	case space:
	case NSStream:
		b = appendAttr(b, "xmlns:stream", NSStream)
	default:
		b = appendAttr(b, "xmlns", e.Name.Space)
		space = e.Name.Space
	}
	prefixes := 0
	for i := range e.Attr {
		b = appendNamed(b, &e.Attr[i], &prefixes)
	}
	return b, space, name
}

// appendNamed appends an attribute with a prefix where its name needs one.
func appendNamed(b []byte, a *xml.Attr, prefixes *int) []byte {
	switch a.Name.Space {
	case "":
		if a.Name.Local == "xmlns" {
			return b // a declaration: the names have it
		}
		b = append(b, ' ')
	case NSXML:
		b = append(b, " xml:"...)
	default:
		prefix := "n" + strconv.Itoa(*prefixes)
		*prefixes++
		b = appendAttr(b, "xmlns:"+prefix, a.Name.Space)
		b = append(b, ' ')
		b = append(b, prefix...)
		b = append(b, ':')
	}
	b = appendName(b, a.Name.Local)
	return appendValue(b, a.Value)
}

func appendAttr(b []byte, name, value string) []byte {
	b = append(b, ' ')
	b = append(b, name...)
	return appendValue(b, value)
}

func appendValue(b []byte, value string) []byte {
	b = append(b, "='"...)
	b = appendEscaped(b, value, &valueEscapes)
	return append(b, '\'')
}

func appendText(b []byte, text string) []byte { return appendEscaped(b, text, &textEscapes) }

// appendName appends a name. One that is none is a mistake of the program's;
// it must not turn into other markup.
func appendName(b []byte, name string) []byte {
	if validName(name) {
		return append(b, name...)
	}
	for i, r := range name {
		if i == 0 && !nameStart(r) || !nameChar(r) {
			r = '_'
		}
		b = utf8.AppendRune(b, r)
	}
	if name == "" {
		b = append(b, '_')
	}
	return b
}

// escapes says for each byte below 0x80 how it is written: "" as it is.
type escapes [utf8.RuneSelf]string

var textEscapes, valueEscapes = func() (text, value escapes) {
	for c := range byte(0x20) {
		text[c] = "\uFFFD"
	}
	text['\t'], text['\n'] = "", ""
	text['\r'] = "&#13;" // a parser would make a line feed of it
	text['&'], text['<'], text['>'] = "&amp;", "&lt;", "&gt;"
	value = text
	// A parser would make spaces of them (XML §3.3.3).
	value['\t'], value['\n'] = "&#9;", "&#10;"
	value['\''], value['"'] = "&apos;", "&quot;"
	return text, value
}()

func appendEscaped(b []byte, s string, table *escapes) []byte {
	done := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if table[c] != "" {
				b = append(b, s[done:i]...)
				b = append(b, table[c]...)
				done = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r == 0xFFFE || r == 0xFFFF {
			b = append(b, s[done:i]...)
			b = append(b, "\uFFFD"...)
			done = i + size
		}
		i += size
	}
	return append(b, s[done:]...)
}
