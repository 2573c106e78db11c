// Package archive reads the messages that a server or a room has kept
// (XEP-0313, Message Archive Management).
//
//	a, err := archive.New(client) // before Connect
//	…
//	for r, err := range a.Results(ctx, &archive.Query{With: romeo, Backward: true}) {
//		if err != nil { … }
//		fmt.Println(r.Stamp, r.Message.Body())
//	}
package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/forward"
	"github.com/hoorn-phone/hoorn/xmpp/rsm"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of archives, NSExtended the feature of those that know the fields before-id, after-id and ids (§4.1.4).
const (
	NS         = "urn:xmpp:mam:2"
	NSExtended = "urn:xmpp:mam:2#extended"
)

// DefaultPage is how many results a page has if nobody says.
const DefaultPage = 100

// maxPage bounds what one page may hold, whatever is asked for.
const maxPage = 1000

var (
	// ErrGone says that a message that was named is not in the archive any more, or never was (§4.1.4, XEP-0059 §2.2): where
	// a cursor stood there is a gap now.
	ErrGone = errors.New("archive: the message is not in the archive")
	// ErrAnswer says that what came is not an answer, or one beyond all bounds.
	ErrAnswer = errors.New("archive: not an answer to the query")
)

// Result is a message of an archive.
type Result struct {
	ID      string // in the archive: what XEP-0359 calls the stanza-id by it
	Stamp   time.Time
	Message *xmpp.Message // as it was received; its sender is as good as the archive
}

// Archive asks archives. One serves all of a client.
type Archive struct {
	c *xmpp.Client

	mu   sync.Mutex
	open map[string]*collector // by queryid
}

// collector takes the results of one page, which come before the answer (§4.2).
type collector struct {
	of      jid.JID
	limit   int
	results []*Result
	over    bool // there were more than limit
}

// New makes an Archive. It must be called before the client connects.
func New(c *xmpp.Client) (*Archive, error) {
	a := &Archive{c: c, open: make(map[string]*collector)}
	if err := c.Use(&xmpp.Extension{Name: "archive", Message: a.message}); err != nil {
		return nil, err
	}
	return a, nil
}

// message takes results. They count only with the id of a query that goes on, and from whom was asked: anybody
// can send a message that looks like one (§8.2).
func (a *Archive) message(m *xmpp.Message) bool {
	e := m.Child(NS, "result")
	if e == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.open[e.Get("queryid")]
	switch {
	case q == nil:
		a.c.Logger().Warn("archive: a result that nobody asked for", "from", m.From.String())
	case !q.from(a.c, m.From):
		a.c.Logger().Warn("archive: a result from another than who was asked", "asked", q.of.String(), "from", m.From.String())
	case len(q.results) >= q.limit:
		q.over = true
	default:
		f, err := forward.Parse(e.Child(forward.NS, "forwarded"))
		if err != nil || e.Get("id") == "" {
			a.c.Logger().Warn("archive: a result was left out", "of", q.of.String(), "id", e.Get("id"), "err", err)
			break
		}
		q.results = append(q.results, &Result{ID: e.Get("id"), Stamp: f.Delay.Stamp, Message: f.Message})
	}
	return true
}

func (q *collector) from(c *xmpp.Client, from jid.JID) bool {
	if own(c, q.of) {
		return c.FromOwn(from)
	}
	return from.Equal(q.of)
}

// own tells whether an archive is that of our account.
func own(c *xmpp.Client, of jid.JID) bool { return c.FromOwn(of) }

// Page is a part of what a query finds, in the order of the archive, oldest first.
type Page struct {
	Results []*Result
	// Complete tells that there are no more in the direction of the query (§4.3.2).
	Complete bool
	// Unstable tells that the archive may still change its order (§4.3.2).
	Unstable bool
	// First and Last are where the page begins and ends: cursors for Query.Before and Query.After. They count results
	// that were left out, too. They are "" if the page is empty.
	First, Last string
	// Count is how many messages the query finds in all, approximately; -1 if it is unknown.
	Count int
}

// Page asks for one page. q may be nil: everything.
func (a *Archive) Page(ctx context.Context, q *Query) (*Page, error) {
	if q == nil {
		q = new(Query)
	}
	id := xmpp.NewID()
	size := min(q.PageSize, maxPage)
	if size <= 0 {
		size = DefaultPage
	}
	in := &collector{of: q.Of, limit: size}
	a.mu.Lock()
	a.open[id] = in
	a.mu.Unlock()
	answer, err := a.c.Set(ctx, q.Of, q.element(id, size))
	a.mu.Lock()
	delete(a.open, id)
	a.mu.Unlock()
	if err != nil {
		return nil, gone(err)
	}
	if !answer.Is(NS, "fin") {
		return nil, ErrAnswer
	}
	if in.over {
		return nil, fmt.Errorf("%w: more than the %d results that were asked for", ErrAnswer, size)
	}
	set, _ := rsm.Parse(answer.Child(rsm.NS, "set"))
	p := &Page{Results: in.results, First: set.First, Last: set.Last, Count: set.Count, Complete: flag(answer.Get("complete")), Unstable: answer.Get("stable") == "false" || answer.Get("stable") == "0"}
	if n := len(p.Results); n > 0 && p.Last == "" {
		p.First, p.Last = p.Results[0].ID, p.Results[n-1].ID
	}
	return p, nil
}

func flag(s string) bool { return s == "true" || s == "1" }

// gone makes ErrGone of the archive's own word for it.
func gone(err error) error {
	var refused stanza.Error
	if errors.As(err, &refused) && refused.Condition == stanza.ItemNotFound {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// Supports tells what the archive of an entity knows; the zero JID is our own account's.
func Supports(ctx context.Context, c *xmpp.Client, of jid.JID) (archive, extended bool, err error) {
	if own(c, of) {
		of = c.Account() // to the account and not to the server (§3)
	}
	info, err := c.Info(ctx, of, "")
	return info.Has(NS), info.Has(NSExtended), err
}

// Metadata is what an archive spans (§5).
type Metadata struct {
	First, Last Edge // zero if the archive is empty
}

// Edge is a message at an end of an archive.
type Edge struct {
	ID    string
	Stamp time.Time
}

// AskMetadata asks what an archive spans, without its messages. Archives without NSExtended may refuse.
func AskMetadata(ctx context.Context, c *xmpp.Client, of jid.JID) (Metadata, error) {
	answer, err := c.Get(ctx, of, xmltree.New(NS, "metadata"))
	if err != nil {
		return Metadata{}, err
	}
	if !answer.Is(NS, "metadata") {
		return Metadata{}, ErrAnswer
	}
	var m Metadata
	if m.First, err = parseEdge(answer.Child(NS, "start")); err == nil {
		m.Last, err = parseEdge(answer.Child(NS, "end"))
	}
	return m, err
}
