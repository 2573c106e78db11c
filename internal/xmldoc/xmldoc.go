// Package xmldoc reads XML documents from the network: small ones, without
// DTDs, not deep. What passes is decoded by encoding/xml.
package xmldoc

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The bounds of a document.
const (
	MaxSize     = 256 << 10
	MaxDepth    = 24
	MaxElements = 20_000
	maxAttrs    = 64 // of one element
)

// Errors of documents that are refused before they are read.
var (
	ErrSize  = errors.New("the document is too large")
	ErrDepth = errors.New("the document is too deep")
	ErrDTD   = errors.New("the document has a DTD")
	ErrRoot  = errors.New("the document is of another kind")
)

// Decode reads a document whose root has this name into v, as xml.Unmarshal
// does. A root without namespace is taken for one in space. A DTD is refused: with it
// would come entities, which can make a small document large.
func Decode(data []byte, space, local string, v any) error {
	if len(data) > MaxSize {
		return ErrSize
	}
	if err := check(data, space, local); err != nil {
		return err
	}
	d := decoder(data)
	return d.Decode(v)
}

func decoder(data []byte) *xml.Decoder {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		switch strings.ToLower(charset) {
		case "utf-8", "us-ascii":
			return r, nil
		}
		return nil, fmt.Errorf("character set %q", charset)
	}
	return d
}

// check goes through the whole document once.
func check(data []byte, space, local string) error {
	d := decoder(data)
	depth, elements := 0, 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if elements == 0 {
				return ErrRoot
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.Directive:
			return ErrDTD
		case xml.StartElement:
			if depth == 0 && (elements > 0 || t.Name.Local != local || t.Name.Space != space && t.Name.Space != "") {
				return ErrRoot
			}
			elements++
			if depth++; depth > MaxDepth {
				return ErrDepth
			}
			if elements > MaxElements || len(t.Attr) > maxAttrs {
				return ErrSize
			}
		case xml.EndElement:
			depth--
		}
	}
}

// Writer writes a document. The zero value is ready.
type Writer struct {
	b    bytes.Buffer
	open []string
	tag  bool // the start tag is not closed yet
	text bool // the latest element holds text
}

// Attr is an attribute of an element.
type Attr struct{ Name, Value string }

// Begin begins an element. Attributes without a value are left out.
func (w *Writer) Begin(name string, attrs ...Attr) {
	w.close()
	if len(w.open) == 0 && w.b.Len() == 0 {
		w.b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
	}
	w.indent()
	w.b.WriteByte('<')
	w.b.WriteString(name)
	for _, a := range attrs {
		if a.Value == "" {
			continue
		}
		w.b.WriteByte(' ')
		w.b.WriteString(a.Name)
		w.b.WriteString(`="`)
		w.escape(a.Value)
		w.b.WriteByte('"')
	}
	w.open = append(w.open, name)
	w.tag, w.text = true, false
}

// Text writes character data.
func (w *Writer) Text(s string) {
	if s == "" {
		return
	}
	w.close()
	w.escape(s)
	w.text = true
}

// End ends the element begun last.
func (w *Writer) End() {
	name := w.open[len(w.open)-1]
	w.open = w.open[:len(w.open)-1]
	if w.tag {
		w.b.WriteString("/>")
		w.tag, w.text = false, false
		return
	}
	if !w.text {
		w.indent()
	}
	w.b.WriteString("</" + name + ">")
	w.text = false
}

// Element writes an element with text; without text and attributes, nothing.
func (w *Writer) Element(name, text string, attrs ...Attr) {
	some := text != ""
	for _, a := range attrs {
		some = some || a.Value != ""
	}
	if !some {
		return
	}
	w.Begin(name, attrs...)
	w.Text(text)
	w.End()
}

// Bytes is the document.
func (w *Writer) Bytes() []byte { return append(w.b.Bytes(), '\n') }

func (w *Writer) close() {
	if w.tag {
		w.b.WriteByte('>')
		w.tag = false
	}
}

func (w *Writer) indent() {
	if w.b.Len() > 0 {
		w.b.WriteByte('\n')
	}
	for range w.open {
		w.b.WriteString("  ")
	}
}

// escape leaves out what XML cannot hold.
func (w *Writer) escape(s string) {
	_ = xml.EscapeText(&w.b, []byte(strings.Map(func(r rune) rune {
		if r == 0x9 || r == 0xA || r == 0xD || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFC || r >= 0x10000 && r <= 0x10FFFF {
			return r
		}
		return -1
	}, s)))
}
