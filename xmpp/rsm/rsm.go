// Package rsm has the pages of XEP-0059, Result Set Management, in which
// archives and nodes give what they hold.
package rsm

import (
	"strconv"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of result sets.
const NS = "http://jabber.org/protocol/rsm"

// Request asks for a page. Its zero value leaves all to the responder.
type Request struct {
	// Max is how many items may come; the responder may give fewer. Zero leaves it to the responder; negative
	// asks for none, but how many there are (§2.7).
	Max int
	// After is the last item of the page before (§2.2).
	After string
	// Before is the first item of the page behind (§2.3).
	Before string
	// Backward asks for the last page (§2.5) if Before is empty.
	Backward bool
}

// Element is the request as it goes over the wire.
func (r Request) Element() *xmltree.Element {
	e := xmltree.New(NS, "set")
	if r.Max != 0 {
		e.Add(xmltree.NewText(NS, "max", strconv.Itoa(max(r.Max, 0))))
	}
	if r.After != "" {
		e.Add(xmltree.NewText(NS, "after", r.After))
	}
	if r.Before != "" || r.Backward {
		e.Add(xmltree.NewText(NS, "before", r.Before))
	}
	return e
}

// Page says which part of the whole came.
type Page struct {
	First, Last string // of its items; "" if it has none
	Index       int    // of the first, approximately; -1 if it is unknown
	Count       int    // of the whole, approximately; -1 if it is unknown
}

// Parse reads what came with a page. ok is false if e is none; then all is unknown.
func Parse(e *xmltree.Element) (p Page, ok bool) {
	p = Page{Index: -1, Count: -1}
	if !e.Is(NS, "set") {
		return p, false
	}
	first := e.Child(NS, "first")
	p.First, p.Last = first.Text(), e.Child(NS, "last").Text()
	p.Index, p.Count = number(first.Get("index")), number(e.Child(NS, "count").Text())
	return p, true
}

// Element is the page as it goes over the wire.
func (p Page) Element() *xmltree.Element {
	e := xmltree.New(NS, "set")
	if p.First != "" {
		first := xmltree.NewText(NS, "first", p.First)
		if p.Index >= 0 {
			first.Set("index", strconv.Itoa(p.Index))
		}
		e.Add(first)
	}
	if p.Last != "" {
		e.Add(xmltree.NewText(NS, "last", p.Last))
	}
	if p.Count >= 0 {
		e.Add(xmltree.NewText(NS, "count", strconv.Itoa(p.Count)))
	}
	return e
}

func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}
