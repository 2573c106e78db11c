package chat

import (
	"context"
	"errors"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// ledger turns messages into batches for a store: who may do what to which
// message, and what is the same message by another way. It does no I/O but the
// store's and has no clock. Its caller gives it one message after the other.
type ledger struct {
	store   Store
	account string // our bare address
	newID   func() string
	// trusts tells whether an entity gives out stanza-ids, so that those in its
	// name cannot be a sender's invention (XEP-0359 §6).
	trusts func(entity string) bool
}

// maxWait bounds what waits for a message that has not come.
const maxWait = 64

// arrival is a message with the way by which it came.
type arrival struct {
	stanza *xmpp.Message
	// archive is whose archive sent it, and archiveID what that calls it; "" if
	// it came live or as a carbon.
	archive, archiveID string
	live               bool      // it came to us, now
	sent               bool      // by us, from another client: a sent carbon
	author             Author    // in a room, as the room knows him when the message comes; empty otherwise
	at                 time.Time // when it was sent; from the archive or a delay that counts
}

// place is what an arrival belongs to.
type place struct {
	chat   string
	room   bool
	author Author
}

// take works out what a message changes. It returns the batch, which may be empty, and what the
// message says, for what is not kept (typing).
func (l *ledger) take(ctx context.Context, a *arrival) (*Batch, *content, error) {
	t := &turn{ledger: l, ctx: ctx, a: a, p: l.place(a), c: read(a.stanza), b: new(Batch)}
	err := t.run()
	return t.b, t.c, err
}

// place tells whose conversation a message belongs to and who wrote it.
func (l *ledger) place(a *arrival) place {
	m := a.stanza
	from, to := m.From.Bare().String(), m.To.Bare().String()
	if m.Type == stanza.GroupChatMessage {
		p := place{chat: from, room: true, author: a.author}
		if p.author == (Author{}) {
			p.author = Author{Address: m.From.String()}
		}
		p.author.Occupant = occupant(m)
		return p
	}
	mine := a.sent || from == l.account && to != l.account
	p := place{chat: from, author: Author{Address: from, Mine: mine}}
	if mine {
		p.chat, p.author.Address = to, l.account
	}
	if other := m.From; m.Child("http://jabber.org/protocol/muc#user", "x") != nil { // XEP-0045 §7.5: in private in a room
		if mine {
			other = m.To
		}
		if other.Resourcepart() != "" && m.Child("http://jabber.org/protocol/muc#user", "x").Child("http://jabber.org/protocol/muc#user", "invite") == nil {
			p.chat = other.String()
			if !mine {
				p.author = Author{Address: other.String()}
			}
		}
	}
	return p
}

// occupant is the id that the room gave (XEP-0421 §4). Only a room that announces
// it removes those that senders invent; the muc extension's Author knows that.
func occupant(m *xmpp.Message) string { return m.Child(nsOccupant, "occupant-id").Get("id") }

// turn is the work on one arrival.
type turn struct {
	*ledger
	ctx context.Context
	a   *arrival
	p   place
	c   *content
	b   *Batch
}

func (t *turn) run() error {
	if t.a.stanza.Type == stanza.ErrorMessage {
		return t.bounced()
	}
	switch t.c.act {
	case nothing:
		return nil
	case says:
		return t.says()
	case receives:
		return t.settle(Delivered)
	case displays:
		return t.displayed()
	}
	target, err := t.target()
	switch {
	case errors.Is(err, ErrNotFound):
		return t.wait()
	case err != nil:
		return err
	}
	return t.change(target)
}

// says takes a message of its own: a new one, or one that is here already and has now another name.
func (t *turn) says() error {
	aliases := t.aliases()
	for _, a := range aliases {
		id, err := t.store.Resolve(t.ctx, a)
		switch {
		case err == nil:
			return t.again(id, aliases)
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	m := t.c.message
	m.ID, m.Chat, m.Author, m.Time = t.newID(), t.p.chat, t.p.author, t.a.at
	if m.Author.Mine {
		m.State = Archived
		if t.a.archive == "" && t.archiveID() == "" {
			m.State = Sent
		}
	}
	m.ArchiveID = t.archiveID()
	if t.c.tombstone != nil {
		m.Retracted = t.c.tombstone
	}
	if err := t.replyTo(&m); err != nil {
		return err
	}
	for _, a := range aliases {
		t.alias(a, m.ID)
	}
	if err := t.settleWaiting(&m, aliases); err != nil {
		return err
	}
	t.b.Messages = append(t.b.Messages, &m)
	return t.counted(&m)
}

func (t *turn) alias(a Alias, id string) {
	if t.b.Aliases == nil {
		t.b.Aliases = make(map[Alias]string)
	}
	t.b.Aliases[a] = id
}

// again takes a message that is here: one's own that the room or the archive
// gives back, or one that came live and comes again from the archive.
func (t *turn) again(id string, aliases []Alias) error {
	old, err := t.store.Message(t.ctx, id)
	if err != nil {
		return err
	}
	if !old.Author.same(t.p.author) && !(old.Author.Mine && t.p.author.Mine) {
		return nil // somebody uses the id of another: what was there first stays
	}
	m := old.clone()
	changed := false
	if archived := t.archiveID(); archived != "" {
		if m.ArchiveID == "" {
			m.ArchiveID, changed = archived, true
		}
		if m.Author.Mine && (m.State < Archived || m.State == Failed) {
			m.State, m.Failure, changed = Archived, "", true
		}
	}
	if t.p.room && m.Author.Mine && m.State < Archived { // the room has sent it to all (XEP-0045 §7.4)
		m.State, changed = Archived, true
	}
	if t.p.room && m.Author.Occupant == "" && t.p.author.Occupant != "" {
		m.Author.Occupant, changed = t.p.author.Occupant, true
	}
	if t.c.tombstone != nil && m.Retracted == nil {
		retract(m, *t.c.tombstone)
		changed = true
	}
	for _, a := range aliases {
		if _, err := t.store.Resolve(t.ctx, a); errors.Is(err, ErrNotFound) {
			t.alias(a, id)
		}
	}
	if err := t.settleWaiting(m, aliases); err != nil {
		return err
	}
	if changed || m.Changed == 0 {
		t.b.Messages = append(t.b.Messages, m)
	}
	return nil
}

// archiveID is what the conversation's archive calls the message: by its own word, or by a stanza-id that counts.
func (t *turn) archiveID() string {
	if t.a.archiveID != "" {
		return t.a.archiveID
	}
	by := t.account
	if t.p.room {
		by = t.p.chat
	}
	if !t.trusts(by) {
		return ""
	}
	for _, e := range t.a.stanza.Payload {
		if e.Is(nsStanzaID, "stanza-id") && e.Get("by") == by {
			return e.Get("id")
		}
	}
	return ""
}

// aliases are all names of the message that count.
func (t *turn) aliases() []Alias {
	var all []Alias
	if id := t.archiveID(); id != "" {
		all = append(all, Alias{Archive: t.archive(), ID: id})
	}
	add := func(id string) {
		if id != "" {
			a := Alias{Chat: t.p.chat, Author: t.p.author.key(), ID: id}
			for _, have := range all {
				if have == a {
					return
				}
			}
			all = append(all, a)
		}
	}
	add(t.a.stanza.Child(nsStanzaID, "origin-id").Get("id"))
	add(t.a.stanza.ID)
	return all
}

// archive is whose archive names the messages of this conversation.
func (t *turn) archive() string {
	if t.p.room {
		return t.p.chat
	}
	return t.account
}

// targetAliases are what the message may mean by its target: in rooms the
// archive's name (XEP-0444 §4.1, XEP-0424 §4.2, XEP-0461 §3.1), but for corrections, which name the author's own id; otherwise the id
// that its author gave it, either of the two.
func (t *turn) targetAliases() []Alias {
	own := Alias{Chat: t.p.chat, Author: t.p.author.key(), ID: t.c.target}
	switch {
	case t.c.act == corrects:
		return []Alias{own}
	case t.p.room:
		return []Alias{{Archive: t.p.chat, ID: t.c.target}, own}
	}
	return append(t.bothAuthors(t.c.target), Alias{Archive: t.account, ID: t.c.target})
}

// bothAuthors are the names that either of a conversation may have given to a message.
func (t *turn) bothAuthors(id string) []Alias {
	return []Alias{{Chat: t.p.chat, Author: me, ID: id}, {Chat: t.p.chat, Author: t.p.chat, ID: id}}
}

// target finds the message that this one is about.
func (t *turn) target() (*Message, error) {
	for _, a := range t.targetAliases() {
		id, err := t.store.Resolve(t.ctx, a)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := t.store.Message(t.ctx, id)
		if err != nil || m.Chat == t.p.chat {
			return m, err
		}
	}
	return nil, ErrNotFound
}

// wait keeps what is said of a message until that comes.
func (t *turn) wait() error {
	targets := t.targetAliases()
	waiting, err := t.store.Waiting(t.ctx, targets[0])
	if err != nil || len(waiting) >= maxWait {
		return err
	}
	xml := t.a.stanza.Element().AppendXML(nil, "")
	for _, w := range waiting {
		if string(w.XML) == string(xml) {
			return nil // it came again
		}
	}
	for _, a := range targets {
		t.b.Wait = append(t.b.Wait, &Waiting{For: a, Author: t.p.author, Time: t.a.at, XML: xml, Mine: t.p.author.Mine})
	}
	return nil
}

// settleWaiting does to a message what has waited for it.
func (t *turn) settleWaiting(m *Message, aliases []Alias) error {
	for _, a := range aliases {
		waiting, err := t.store.Waiting(t.ctx, a)
		if err != nil {
			return err
		}
		for _, w := range waiting {
			e, err := xmltree.Parse(w.XML)
			if err != nil {
				continue // nobody but us wrote it
			}
			c := readElement(e)
			if apply(m, c, w.Author, w.Time, t.p) {
				m.Changed = 0 // to be put
			}
		}
		if len(waiting) > 0 {
			t.b.Settled = append(t.b.Settled, a)
		}
	}
	return nil
}

// change does to a message what another says of it.
func (t *turn) change(target *Message) error {
	m := target.clone()
	if apply(m, t.c, t.p.author, t.a.at, t.p) {
		t.b.Messages = append(t.b.Messages, m)
	}
	return nil
}

// apply changes a message if who says so may do that, and tells whether it has.
func apply(m *Message, c *content, who Author, when time.Time, p place) bool {
	switch c.act {
	case corrects: // XEP-0308 §5: by the author alone
		return who.same(m.Author) && correct(m, c, when)
	case retracts: // XEP-0424 §5
		if !who.same(m.Author) || m.Retracted != nil {
			return false
		}
		retract(m, Retraction{Time: when, Reason: c.reason})
		return true
	case moderates: // XEP-0425 §4: by the room itself
		if !p.room || who.Address != p.chat || m.Retracted != nil {
			return false
		}
		retract(m, Retraction{Time: when, By: c.by, Reason: c.reason})
		return true
	case reacts:
		return react(m, Reaction{Author: who, Emojis: c.emojis, Time: when})
	case receives:
		return !who.Mine && m.Author.Mine && advance(m, Delivered)
	case displays:
		return !who.Mine && m.Author.Mine && advance(m, Displayed)
	}
	return false
}

// maxVersions bounds how many corrections of a message are kept.
const maxVersions = 50

func correct(m *Message, c *content, when time.Time) bool {
	if m.Retracted != nil || c.message.Body == "" && len(c.message.Links) == 0 {
		return false
	}
	if n := len(m.Versions); n > 0 && when.Before(m.Versions[n-1].Time) {
		return false // an older one that comes late
	}
	if m.Body == c.message.Body {
		return false // it came again
	}
	m.Versions = append(m.Versions, Version{Body: m.Body, Time: when})
	if len(m.Versions) > maxVersions {
		m.Versions = append(m.Versions[:1], m.Versions[2:]...) // what it said at first stays
	}
	m.Body, m.Mentions, m.Links = c.message.Body, c.message.Mentions, c.message.Links
	return true
}

func retract(m *Message, r Retraction) {
	m.Retracted = &r
	m.Body, m.Subject, m.Mentions, m.Links, m.Versions, m.Reactions, m.Forwarded, m.Reply = "", "", nil, nil, nil, nil, nil, nil
}

// react puts what somebody thinks in place of what he thought before (XEP-0444 §3.2).
func react(m *Message, r Reaction) bool {
	if m.Retracted != nil {
		return false
	}
	for i, old := range m.Reactions {
		if !old.Author.same(r.Author) {
			continue
		}
		if r.Time.Before(old.Time) || sameEmojis(old.Emojis, r.Emojis) {
			return false
		}
		if len(r.Emojis) == 0 {
			m.Reactions = append(m.Reactions[:i], m.Reactions[i+1:]...)
		} else {
			m.Reactions[i] = r
		}
		return true
	}
	if len(r.Emojis) == 0 {
		return false
	}
	i := 0
	for i < len(m.Reactions) && m.Reactions[i].Author.Address < r.Author.Address {
		i++
	}
	m.Reactions = append(m.Reactions[:i], append([]Reaction{r}, m.Reactions[i:]...)...)
	return true
}

func sameEmojis(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, e := range a {
		if !contains(b, e) {
			return false
		}
	}
	return true
}

// advance moves the state of one's own message forward.
func advance(m *Message, to State) bool {
	if m.State == Failed || m.State == Received || m.State >= to {
		return false
	}
	m.State = to
	return true
}
