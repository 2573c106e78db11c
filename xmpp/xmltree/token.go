package xmltree

import (
	"encoding/xml"
	"errors"
	"io"
)

// TokenReader returns the element as the tokens of encoding/xml, for code that
// works on those, such as mellium's. Namespaces are in the names and are not
// declared by attributes, as xml.Encoder wants it. The element must not change
// while it is read.
func (e *Element) TokenReader() xml.TokenReader { return &tokenReader{next: e} }

type tokenReader struct {
	next *Element // its start is due
	open []place
}

type place struct {
	e  *Element
	at int // of its nodes
}

// Token implements xml.TokenReader.
func (r *tokenReader) Token() (xml.Token, error) {
	if e := r.next; e != nil {
		r.next = nil
		r.open = append(r.open, place{e: e})
		return xml.StartElement{Name: e.Name, Attr: append([]xml.Attr(nil), e.Attr...)}, nil
	}
	if len(r.open) == 0 {
		return nil, io.EOF
	}
	p := &r.open[len(r.open)-1]
	if p.at == len(p.e.Nodes) {
		r.open = r.open[:len(r.open)-1]
		return xml.EndElement{Name: p.e.Name}, nil
	}
	n := p.e.Nodes[p.at]
	p.at++
	if n.Element == nil {
		return xml.CharData(n.Text), nil
	}
	r.next = n.Element
	return r.Token()
}

// Decode fills v, as xml.Unmarshal would.
func (e *Element) Decode(v any) error {
	if e == nil {
		return errors.New("xmltree: no element to decode")
	}
	return xml.NewTokenDecoder(e.TokenReader()).Decode(v)
}

// FromTokens reads one element from tokens, as mellium's types give them.
// Comments and the like are left out. It is bounded by DefaultDepth.
func FromTokens(r xml.TokenReader) (*Element, error) {
	var open []*Element
	for {
		t, err := r.Token()
		if t == nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err == nil {
				continue
			}
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(open) == DefaultDepth {
				return nil, &SyntaxError{Reason: TooMuch, Text: "nested too deeply"}
			}
			e := &Element{Name: t.Name}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && (a.Name.Space != "" || a.Name.Local != "xmlns") {
					e.Attr = append(e.Attr, a)
				}
			}
			if len(open) > 0 {
				open[len(open)-1].Add(e)
			}
			open = append(open, e)
		case xml.EndElement:
			if len(open) == 0 {
				return nil, &SyntaxError{Reason: NotWellFormed, Text: "an end without a start"}
			}
			e := open[len(open)-1]
			if open = open[:len(open)-1]; len(open) == 0 {
				return e, nil
			}
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].AddText(string(t))
			}
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
}

// FromValue makes an element of a value as xml.Marshal would write it.
func FromValue(v any) (*Element, error) {
	b, err := xml.Marshal(v)
	if err != nil {
		return nil, err
	}
	return Parse(b)
}
