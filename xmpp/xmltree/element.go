// Package xmltree holds XML elements as XMPP sends them: one element with all
// below it, read in one go and written in one go.
//
//	e := xmltree.New("urn:xmpp:ping", "ping")
//	b := e.AppendXML(nil, "jabber:client") // <ping xmlns='urn:xmpp:ping'/>
//
// It knows namespaces, so that a prefix never matters, and allows only the XML
// that XMPP allows (RFC 6120 §11.1): no comments, processing instructions or
// document types, and no entities but the five predefined ones.
package xmltree

import (
	"encoding/xml"
	"iter"
	"strings"
)

// Namespaces that are part of XML and of every stream.
const (
	NSXML    = "http://www.w3.org/XML/1998/namespace" // of xml:lang
	NSStream = "http://etherx.jabber.org/streams"     // of stream:features and stream:error, RFC 6120 §4.8.1
)

// Element is an XML element with its content. Its zero value has no name and
// cannot be written. Methods that only read may be called on a nil Element,
// which is like one without attributes and content: chains of Child need no checks.
//
// An Element is not safe for concurrent use while somebody changes it.
type Element struct {
	Name xml.Name // Space is the namespace itself, never a prefix
	// Attr are the attributes without declarations of namespaces. Name.Space is
	// "" for those without a prefix, which is nearly all of them, and NSXML for xml:lang.
	Attr  []xml.Attr
	Nodes []Node // in order
}

// Node is a piece of an element's content: an element, or text if Element is nil.
type Node struct {
	Element *Element
	Text    string // unescaped
}

// New makes an element with elements in it. Children that are nil are left out.
func New(space, local string, children ...*Element) *Element {
	e := &Element{Name: xml.Name{Space: space, Local: local}}
	return e.Add(children...)
}

// NewText makes an element with text in it.
func NewText(space, local, text string) *Element {
	return New(space, local).AddText(text)
}

// Is tells whether an element has this name.
func (e *Element) Is(space, local string) bool {
	return e != nil && e.Name.Local == local && e.Name.Space == space
}

// Child returns the first child of this name; nil if there is none.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	for i := range e.Nodes {
		if c := e.Nodes[i].Element; c.Is(space, local) {
			return c
		}
	}
	return nil
}

// First returns the first child of whatever name; nil if there is none.
func (e *Element) First() *Element {
	for c := range e.Elements() {
		return c
	}
	return nil
}

// Elements yields the children that are elements, in order.
func (e *Element) Elements() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		if e == nil {
			return
		}
		for i := range e.Nodes {
			if c := e.Nodes[i].Element; c != nil && !yield(c) {
				return
			}
		}
	}
}

// Named yields the children of this name, in order.
func (e *Element) Named(space, local string) iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for c := range e.Elements() {
			if c.Is(space, local) && !yield(c) {
				return
			}
		}
	}
}

// Text returns the text that is directly in the element, not that of its children.
func (e *Element) Text() string {
	if e == nil {
		return ""
	}
	text, more := "", false
	for i := range e.Nodes {
		switch n := &e.Nodes[i]; {
		case n.Element != nil || n.Text == "":
		case text == "":
			text = n.Text
		default:
			more = true
		}
	}
	if !more {
		return text
	}
	var b strings.Builder
	for i := range e.Nodes {
		if e.Nodes[i].Element == nil {
			b.WriteString(e.Nodes[i].Text)
		}
	}
	return b.String()
}

// Get returns the value of an attribute without a namespace; "" if there is none.
func (e *Element) Get(local string) string { return e.GetNS("", local) }

// GetNS returns the value of an attribute in a namespace; "" if there is none.
func (e *Element) GetNS(space, local string) string {
	v, _ := e.Lookup(space, local)
	return v
}

// Lookup returns the value of an attribute, and whether there is one.
func (e *Element) Lookup(space, local string) (value string, ok bool) {
	if e == nil {
		return "", false
	}
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Name.Local == local && a.Name.Space == space {
			return a.Value, true
		}
	}
	return "", false
}

// Set sets an attribute without a namespace; "" removes it. It returns e.
func (e *Element) Set(local, value string) *Element { return e.SetNS("", local, value) }

// SetNS sets an attribute in a namespace; "" removes it. It returns e.
func (e *Element) SetNS(space, local, value string) *Element {
	name := xml.Name{Space: space, Local: local}
	for i := range e.Attr {
		if e.Attr[i].Name != name {
			continue
		}
		if value == "" {
			e.Attr = append(e.Attr[:i:i], e.Attr[i+1:]...)
		} else {
			e.Attr[i].Value = value
		}
		return e
	}
	if value != "" {
		e.Attr = append(e.Attr, xml.Attr{Name: name, Value: value})
	}
	return e
}

// Add appends children; nil ones are left out. It returns e.
func (e *Element) Add(children ...*Element) *Element {
	for _, c := range children {
		if c != nil {
			e.Nodes = append(e.Nodes, Node{Element: c})
		}
	}
	return e
}

// AddText appends text. It returns e.
func (e *Element) AddText(text string) *Element {
	if text != "" {
		e.Nodes = append(e.Nodes, Node{Text: text})
	}
	return e
}

// Remove takes away all children of a name and tells whether there were any.
func (e *Element) Remove(space, local string) bool {
	kept := e.Nodes[:0:0]
	for _, n := range e.Nodes {
		if !n.Element.Is(space, local) {
			kept = append(kept, n)
		}
	}
	removed := len(kept) < len(e.Nodes)
	e.Nodes = kept
	return removed
}

// Clone returns a copy that shares nothing with e, nor with the stanza that e
// was parsed from: a piece that is kept for long does not hold the rest.
func (e *Element) Clone() *Element {
	if e == nil {
		return nil
	}
	c := &Element{Name: cloneName(e.Name)}
	if len(e.Attr) > 0 {
		c.Attr = make([]xml.Attr, len(e.Attr))
		for i, a := range e.Attr {
			c.Attr[i] = xml.Attr{Name: cloneName(a.Name), Value: strings.Clone(a.Value)}
		}
	}
	if len(e.Nodes) > 0 {
		c.Nodes = make([]Node, len(e.Nodes))
		for i, n := range e.Nodes {
			c.Nodes[i] = Node{Element: n.Element.Clone(), Text: strings.Clone(n.Text)}
		}
	}
	return c
}

func cloneName(n xml.Name) xml.Name {
	return xml.Name{Space: strings.Clone(n.Space), Local: strings.Clone(n.Local)}
}

// String returns the element as XML, for people and tests.
func (e *Element) String() string {
	if e == nil {
		return ""
	}
	return string(e.AppendXML(nil, ""))
}
