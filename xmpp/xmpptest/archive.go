package xmpptest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsMAM  = "urn:xmpp:mam:2"                 // XEP-0313
	nsRSM  = "http://jabber.org/protocol/rsm" // XEP-0059
	nsData = "jabber:x:data"                  // XEP-0004
	page   = 50                               // messages, where nobody says how many
)

// archive is one of messages (XEP-0313), of an account or of a room.
type archive struct {
	entries []archived
	first   uint64            // number of the first of them
	index   map[string]uint64 // numbers by id

	policy        string // XEP-0441: "always" if "", "never" or "roster"
	always, never map[addr]bool
}

type archived struct {
	id   string
	at   time.Time
	with addr // whom with; in a room whose it is
	e    *xmltree.Element
}

// add archives a message and returns its id, or "" if the user does not want it.
func (a *archive) add(s *Server, e *xmltree.Element, with addr) string {
	if !a.wants(s, with) {
		return ""
	}
	s.stanzaIDs++
	id := strconv.FormatUint(1<<40+s.stanzaIDs, 36)
	if a.index == nil {
		a.index = make(map[string]uint64)
	}
	for len(a.entries) >= s.cfg.Limits.Archive {
		delete(a.index, a.entries[0].id)
		a.entries[0] = archived{}
		a.entries = a.entries[1:]
		a.first++
	}
	a.index[id] = a.first + uint64(len(a.entries))
	a.entries = append(a.entries, archived{id, time.Now(), with, e})
	return id
}

func (a *archive) wants(s *Server, with addr) bool {
	switch {
	case a.always[with], a.always[with.bare()]:
		return true
	case a.never[with], a.never[with.bare()]:
		return false
	case a.policy == "never":
		return false
	}
	return true
}

// has tells whether a message is in the archive under the id that we gave it.
func (a *archive) has(e *xmltree.Element, by addr) bool {
	for c := range e.Named(nsStanzaID, "stanza-id") {
		if c.Get("by") == by.String() {
			_, ok := a.index[c.Get("id")]
			return ok
		}
	}
	return false
}

// find returns the place of an entry.
func (a *archive) find(id string) (int, bool) {
	n, ok := a.index[id]
	return int(n - a.first), ok
}

// mamQuery is what is asked of an archive.
type mamQuery struct {
	with       addr
	start, end time.Time
	ids        []string
	from, to   int // entries[from:to], what before-id and after-id leave
}

// ownArchive answers for one's own archive, and nobody else's.
func ownArchive(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	return s.queryArchive(r, &r.owner.archive)
}

// queryArchive sends a page of an archive (XEP-0313 §4), and returns what is in its end.
func (s *Server) queryArchive(r *request, a *archive) (*xmltree.Element, *stanzaError) {
	if !r.set {
		return mamForm(), nil
	}
	q, flip, err := a.parse(r.payload)
	if err != nil {
		return nil, err
	}
	var matching []archived
	if q.with.isZero() && q.start.IsZero() && q.end.IsZero() && q.ids == nil {
		matching = a.entries[q.from:q.to]
	} else {
		for i := q.from; i < q.to; i++ {
			if q.matches(&a.entries[i]) {
				matching = append(matching, a.entries[i])
			}
		}
		if q.ids != nil && len(matching) < len(q.ids) {
			return nil, errNotFound // XEP-0313 §4.1.5
		}
	}
	set, chosen, complete, err := s.cut(r.payload.Child(nsRSM, "set"), matching, a)
	if err != nil {
		return nil, err
	}
	send := func(m *archived) {
		e := xmltree.New(nsClient, "message", xmltree.New(nsMAM, "result",
			xmltree.New(nsForward, "forwarded", xmltree.New(nsDelay, "delay").Set("stamp", stamp(m.at)), m.e),
		).Set("queryid", r.payload.Get("queryid")).Set("id", m.id))
		s.deliver(r.sess, addressed(e, r.to, r.from))
	}
	if flip {
		for i := len(chosen) - 1; i >= 0; i-- {
			send(&chosen[i])
		}
	} else {
		for i := range chosen {
			send(&chosen[i])
		}
	}
	fin := xmltree.New(nsMAM, "fin", set)
	if complete {
		fin.Set("complete", "true")
	}
	return fin, nil
}

// parse reads the form of a query (XEP-0313 §4.1).
func (a *archive) parse(query *xmltree.Element) (q mamQuery, flip bool, err *stanzaError) {
	q.to = len(a.entries)
	flip = query.Child(nsMAM, "flip-page") != nil
	place := func(id string) int {
		n, ok := a.find(id)
		if !ok {
			err = errNotFound
		}
		return n
	}
	for f := range query.Child(nsData, "x").Named(nsData, "field") {
		value := f.Child(nsData, "value").Text()
		var bad error
		switch f.Get("var") {
		case "FORM_TYPE":
			if value != nsMAM {
				return q, flip, errBadRequest
			}
		case "with":
			var ok bool
			if q.with, ok = parseAddr(value); !ok {
				return q, flip, errMalformed
			}
		case "start":
			q.start, bad = time.Parse(time.RFC3339, value)
		case "end":
			q.end, bad = time.Parse(time.RFC3339, value)
		case "after-id":
			q.from = max(q.from, place(value)+1)
		case "before-id":
			q.to = min(q.to, place(value))
		case "ids":
			q.ids = []string{}
			for v := range f.Named(nsData, "value") {
				q.ids = append(q.ids, v.Text())
			}
		default:
			return q, flip, errNotBuilt
		}
		if bad != nil {
			return q, flip, errBadRequest
		}
		if err != nil {
			return q, flip, err
		}
	}
	q.to = max(q.to, q.from)
	return q, flip, nil
}

func (q *mamQuery) matches(m *archived) bool {
	switch {
	case !q.start.IsZero() && m.at.Before(q.start), !q.end.IsZero() && m.at.After(q.end):
		return false
	case q.ids != nil && !slices.Contains(q.ids, m.id):
		return false
	case q.with.isZero():
		return true
	case q.with.isBare():
		return m.with.bare() == q.with
	}
	return m.with == q.with
}

// cut takes the page that result set management asks for (XEP-0059).
func (s *Server) cut(rsm *xmltree.Element, all []archived, a *archive) (set *xmltree.Element, chosen []archived, complete bool, err *stanzaError) {
	limit := min(page, s.cfg.Limits.Page)
	if m := rsm.Child(nsRSM, "max"); m != nil {
		n, bad := strconv.Atoi(strings.TrimSpace(m.Text()))
		if bad != nil || n < 0 {
			return nil, nil, false, errBadRequest
		}
		limit = min(n, s.cfg.Limits.Page)
	}
	if rsm.Child(nsRSM, "index") != nil {
		return nil, nil, false, errNotBuilt
	}
	set = xmltree.New(nsRSM, "set")
	from, to := 0, len(all)
	// Places within all of what is named, which need not be in it.
	search := func(id string) (int, bool) {
		n, ok := a.find(id)
		if !ok {
			err = errNotFound // XEP-0313 §4.3.2
			return 0, false
		}
		return slices.BinarySearchFunc(all, n, func(m archived, n int) int {
			i, _ := a.find(m.id)
			return i - n
		})
	}
	if after := rsm.Child(nsRSM, "after"); after.Text() != "" {
		n, exact := search(after.Text())
		if from = n; exact {
			from++
		}
	}
	before := rsm.Child(nsRSM, "before")
	if before.Text() != "" {
		to, _ = search(before.Text())
	}
	if err != nil {
		return nil, nil, false, err
	}
	to = max(to, from)
	if complete = to-from <= limit; !complete {
		if before != nil {
			from = to - limit
		} else {
			to = from + limit
		}
	}
	chosen = all[from:to]
	if len(chosen) > 0 {
		// No index, which is optional: slixmpp takes it for a reason not to go back any further.
		set.Add(xmltree.NewText(nsRSM, "first", chosen[0].id), xmltree.NewText(nsRSM, "last", chosen[len(chosen)-1].id))
	}
	return set.Add(xmltree.NewText(nsRSM, "count", strconv.Itoa(len(all)))), chosen, complete, nil
}

func mamForm() *xmltree.Element {
	x := xmltree.New(nsData, "x", field("FORM_TYPE", "hidden", nsMAM)).Set("type", "form")
	for _, f := range [][2]string{{"with", "jid-single"}, {"start", "text-single"}, {"end", "text-single"}, {"before-id", "text-single"}, {"after-id", "text-single"}, {"ids", "list-multi"}} {
		x.Add(xmltree.New(nsData, "field").Set("var", f[0]).Set("type", f[1]))
	}
	return xmltree.New(nsMAM, "query", x)
}

// field makes a field of a form (XEP-0004 §3.2). Type "" is left out.
func field(name, typ string, values ...string) *xmltree.Element {
	f := xmltree.New(nsData, "field").Set("var", name).Set("type", typ)
	for _, v := range values {
		f.Add(xmltree.NewText(nsData, "value", v))
	}
	return f
}

// archiveEnds tells of the first and last message (XEP-0313 §4.4).
func archiveEnds(a *archive) *xmltree.Element {
	m := xmltree.New(nsMAM, "metadata")
	if n := len(a.entries); n > 0 {
		first, last := &a.entries[0], &a.entries[n-1]
		m.Add(xmltree.New(nsMAM, "start").Set("id", first.id).Set("timestamp", stamp(first.at)),
			xmltree.New(nsMAM, "end").Set("id", last.id).Set("timestamp", stamp(last.at)))
	}
	return m
}

func ownArchiveEnds(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.set {
		return nil, errBadRequest
	}
	return archiveEnds(&r.owner.archive), nil
}

// archivePrefs answers and changes what is archived (XEP-0441).
func archivePrefs(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	a := &r.owner.archive
	if r.set {
		policy := r.payload.Get("default")
		if policy != "always" && policy != "never" {
			if policy == "roster" {
				return nil, errNotBuilt
			}
			return nil, errBadRequest
		}
		lists := map[string]map[addr]bool{"always": {}, "never": {}}
		for name, list := range lists {
			for j := range r.payload.Child(nsMAM, name).Named(nsMAM, "jid") {
				p, ok := parseAddr(j.Text())
				if !ok {
					return nil, errMalformed
				}
				if len(list) == s.cfg.Limits.Blocked {
					return nil, errConstraint
				}
				list[p] = true
			}
		}
		a.policy, a.always, a.never = policy, lists["always"], lists["never"]
	}
	policy := a.policy
	if policy == "" {
		policy = "always"
	}
	prefs := xmltree.New(nsMAM, "prefs").Set("default", policy)
	for _, l := range []struct {
		name string
		list map[addr]bool
	}{{"always", a.always}, {"never", a.never}} {
		e := xmltree.New(nsMAM, l.name)
		for j := range l.list {
			e.Add(xmltree.NewText(nsMAM, "jid", j.String()))
		}
		prefs.Add(e)
	}
	return prefs, nil
}
