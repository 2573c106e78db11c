package archive

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/rsm"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Query says which messages are wanted. Its zero value is all of our own account, oldest first.
type Query struct {
	// Of is whose archive: a room, or the zero JID for our own account.
	Of jid.JID
	// With is with whom, or from whom in a room; the zero JID is anybody (§4.1.1).
	With jid.JID
	// Start and End bound the time, both inclusive; zero is open (§4.1.2).
	Start, End time.Time
	// AfterID and BeforeID bound by messages, exclusive; "" is open. Only archives with NSExtended know them (§4.1.4).
	AfterID, BeforeID string
	// IDs are single messages; nil is no choice. Only archives with NSExtended know them (§4.1.4).
	IDs []string
	// Fields are others that the archive knows: see Fields.
	Fields []form.Field

	// Backward gives the newest first.
	Backward bool
	// After and Before are where to go on: a message's id, the Last of a page before, or the First of one when
	// going backward. "" begins at the end. Every archive knows them. Unlike AfterID they do not change what is found, only which page of it comes.
	After, Before string
	// PageSize is how many results are asked for at once, up to 1,000; the archive may give fewer. Zero means DefaultPage.
	PageSize int
}

// element is the query as it goes over the wire (§4).
func (q *Query) element(id string, size int) *xmltree.Element {
	e := xmltree.New(NS, "query").Set("queryid", id)
	var fields []form.Field
	add := func(name string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			fields = append(fields, form.Text(name, values...))
		}
	}
	if q.With.Domainpart() != "" {
		add("with", q.With.String())
	}
	if !q.Start.IsZero() {
		add("start", delay.FormatTime(q.Start))
	}
	if !q.End.IsZero() {
		add("end", delay.FormatTime(q.End))
	}
	add("after-id", q.AfterID)
	add("before-id", q.BeforeID)
	add("ids", q.IDs...)
	if fields = append(fields, q.Fields...); len(fields) > 0 {
		e.Add(form.Submit(NS, fields...).Element())
	}
	r := rsm.Request{Max: size}
	if q.Backward {
		r.Backward, r.Before = true, q.Before
	} else {
		r.After = q.After
	}
	return e.Add(r.Element())
}

// Pages asks for one page after the other, when the one before has been looked at, until the archive says that there are no
// more. An error is the last that is yielded; the query can go on from the cursor of the page before it. When
// the query goes backward, so do the pages, but each is in the order of the archive.
func (a *Archive) Pages(ctx context.Context, q *Query) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		next := Query{}
		if q != nil {
			next = *q
		}
		for {
			p, err := a.Page(ctx, &next)
			if err != nil {
				yield(nil, err)
				return
			}
			at, cursor := &next.After, p.Last
			if next.Backward {
				at, cursor = &next.Before, p.First
			}
			end := p.Complete || cursor == ""
			if !end && cursor == *at {
				yield(nil, fmt.Errorf("%w: the archive does not go on from %.100q", ErrAnswer, cursor))
				return
			}
			if !yield(p, nil) || end {
				return
			}
			*at = cursor
		}
	}
}

// Results yields what a query finds, oldest first, or newest first if the query goes backward. It asks for the next page when the one before
// has been read. An error is the last that is yielded.
func (a *Archive) Results(ctx context.Context, q *Query) iter.Seq2[*Result, error] {
	return func(yield func(*Result, error) bool) {
		for p, err := range a.Pages(ctx, q) {
			if err != nil {
				yield(nil, err)
				return
			}
			if q != nil && q.Backward {
				slices.Reverse(p.Results)
			}
			for _, r := range p.Results {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Fields asks an archive by what it can choose (§4.1.6).
func Fields(ctx context.Context, c *xmpp.Client, of jid.JID) (*form.Data, error) {
	answer, err := c.Get(ctx, of, xmltree.New(NS, "query"))
	if err != nil {
		return nil, err
	}
	return form.Parse(answer.Child(form.NS, "x"))
}

func parseEdge(e *xmltree.Element) (Edge, error) {
	if e == nil {
		return Edge{}, nil
	}
	at, err := delay.ParseTime(e.Get("timestamp"))
	if err != nil {
		return Edge{}, err
	}
	return Edge{e.Get("id"), at}, nil
}
