package archive

import (
	"context"
	"fmt"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Default is what an archive keeps of those whom no list names (XEP-0441 §2).
type Default string

// The values of Default.
const (
	Always Default = "always"
	Never  Default = "never"
	Roster Default = "roster" // of contacts
)

// maxPreferences bounds the lists that are taken.
const maxPreferences = 10000

// Preferences say what the archive of our account keeps.
type Preferences struct {
	Default       Default
	Always, Never []jid.JID
}

// AskPreferences asks what our archive keeps.
func AskPreferences(ctx context.Context, c *xmpp.Client) (*Preferences, error) {
	answer, err := c.Get(ctx, jid.JID{}, xmltree.New(NS, "prefs"))
	if err != nil {
		return nil, err
	}
	return ParsePreferences(answer)
}

// SetPreferences says what our archive shall keep, and returns what it will: servers have rules of their own.
func SetPreferences(ctx context.Context, c *xmpp.Client, p *Preferences) (*Preferences, error) {
	answer, err := c.Set(ctx, jid.JID{}, p.Element())
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return p, nil
	}
	return ParsePreferences(answer)
}

// ParsePreferences reads preferences.
func ParsePreferences(e *xmltree.Element) (*Preferences, error) {
	if !e.Is(NS, "prefs") {
		return nil, ErrAnswer
	}
	p := &Preferences{Default: Default(e.Get("default"))}
	var err error
	if p.Always, err = parseList(e.Child(NS, "always")); err == nil {
		p.Never, err = parseList(e.Child(NS, "never"))
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func parseList(e *xmltree.Element) ([]jid.JID, error) {
	var all []jid.JID
	for c := range e.Named(NS, "jid") {
		j, err := jid.Parse(c.Text())
		if err != nil || len(all) == maxPreferences {
			return nil, fmt.Errorf("%w: a list of preferences: %w", ErrAnswer, err)
		}
		all = append(all, j)
	}
	return all, nil
}

// Element is the preferences as they go over the wire.
func (p *Preferences) Element() *xmltree.Element {
	return xmltree.New(NS, "prefs", list("always", p.Always), list("never", p.Never)).Set("default", string(p.Default))
}

func list(local string, all []jid.JID) *xmltree.Element {
	e := xmltree.New(NS, local)
	for _, j := range all {
		e.Add(xmltree.NewText(NS, "jid", j.String()))
	}
	return e
}
