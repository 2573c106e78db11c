// Package vcard has who somebody is: name, addresses, numbers, a picture. It reads and writes
// both forms: vCard4 in a node (XEP-0292), and vcard-temp (XEP-0054), which all servers know.
package vcard

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of vCards.
const (
	NS     = "urn:ietf:params:xml:ns:vcard-4.0" // RFC 6351
	NSTemp = "vcard-temp"                       // XEP-0054
	Node   = "urn:xmpp:vcard4"                  // XEP-0292
)

// maxValues bounds the values of one kind.
const maxValues = 100

// ErrCard says that an element is no vCard.
var ErrCard = errors.New("vcard: not a vCard")

// Card is who somebody says to be. Fields that are empty are unknown.
type Card struct {
	FullName     string
	Nickname     string
	Emails       []string
	Phones       []string // as they were written: "+1-555-0100" or "tel:+1-555-0100"
	URLs         []string
	Organization string
	Title, Role  string
	Note         string
	Birthday     string // such as "1476-06-09"
	Photo        *Photo // in vcard-temp only; otherwise see package avatar

	// Other is what this package does not know, in the form that it came in. It is written again in the same.
	Other []*xmltree.Element
}

// Photo is a picture.
type Photo struct {
	Type string // such as "image/png"
	Data []byte
}

// property says where a field is in both forms.
type property struct {
	local, inner    string // vCard4
	temp, tempInner string // vcard-temp
	one             func(*Card) *string
	many            func(*Card) *[]string
}

var properties = []property{
	{"fn", "text", "FN", "", func(c *Card) *string { return &c.FullName }, nil},
	{"nickname", "text", "NICKNAME", "", func(c *Card) *string { return &c.Nickname }, nil},
	{"email", "text", "EMAIL", "USERID", nil, func(c *Card) *[]string { return &c.Emails }},
	{"tel", "text", "TEL", "NUMBER", nil, func(c *Card) *[]string { return &c.Phones }},
	{"url", "uri", "URL", "", nil, func(c *Card) *[]string { return &c.URLs }},
	{"org", "text", "ORG", "ORGNAME", func(c *Card) *string { return &c.Organization }, nil},
	{"title", "text", "TITLE", "", func(c *Card) *string { return &c.Title }, nil},
	{"role", "text", "ROLE", "", func(c *Card) *string { return &c.Role }, nil},
	{"note", "text", "DESC", "", func(c *Card) *string { return &c.Note }, nil},
	{"bday", "date", "BDAY", "", func(c *Card) *string { return &c.Birthday }, nil},
}

// Parse reads a vCard of either form.
func Parse(e *xmltree.Element) (*Card, error) {
	temp := e.Is(NSTemp, "vCard")
	if !temp && !e.Is(NS, "vcard") {
		return nil, ErrCard
	}
	c := new(Card)
	for f := range e.Elements() {
		switch {
		case f.Name.Space != e.Name.Space:
			c.other(f)
		case temp && f.Name.Local == "PHOTO" && c.Photo == nil:
			c.photo(f)
		case !c.take(f, temp):
			c.other(f)
		}
	}
	return c, nil
}

// take takes a field that is known and has room.
func (c *Card) take(f *xmltree.Element, temp bool) bool {
	for _, p := range properties {
		local := p.local
		if temp {
			local = p.temp
		}
		if f.Name.Local != local {
			continue
		}
		v := f.Text()
		switch {
		case !temp:
			// tel may be text or uri, bday date or text: whichever there is.
			v = ""
			for _, inner := range []string{p.inner, "uri", "text"} {
				if v == "" {
					v = f.Child(NS, inner).Text()
				}
			}
		case p.tempInner != "":
			v = f.Child(NSTemp, p.tempInner).Text()
		}
		if v = strings.Clone(v); v == "" {
			return false
		}
		if p.one != nil {
			at := p.one(c)
			if *at != "" {
				return false
			}
			*at = v
			return true
		}
		at := p.many(c)
		if len(*at) == maxValues {
			return false
		}
		*at = append(*at, v)
		return true
	}
	return false
}

func (c *Card) other(f *xmltree.Element) {
	if len(c.Other) < maxValues {
		c.Other = append(c.Other, f.Clone())
	}
}

// photo takes a picture; one that is only linked is left in Other.
func (c *Card) photo(f *xmltree.Element) {
	text := strings.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
			return -1
		}
		return r
	}, f.Child(NSTemp, "BINVAL").Text())
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 {
		c.other(f)
		return
	}
	c.Photo = &Photo{Type: strings.Clone(f.Child(NSTemp, "TYPE").Text()), Data: data}
}

// Element is the card as vCard4, without Photo.
func (c *Card) Element() *xmltree.Element { return c.element(NS, "vcard") }

// TempElement is the card as vcard-temp.
func (c *Card) TempElement() *xmltree.Element {
	e := c.element(NSTemp, "vCard")
	if c.Photo != nil {
		e.Add(xmltree.New(NSTemp, "PHOTO", xmltree.NewText(NSTemp, "TYPE", c.Photo.Type), xmltree.NewText(NSTemp, "BINVAL", base64.StdEncoding.EncodeToString(c.Photo.Data))))
	}
	return e
}

func (c *Card) element(space, local string) *xmltree.Element {
	e := xmltree.New(space, local)
	for _, p := range properties {
		var all []string
		if p.many != nil {
			all = *p.many(c)
		} else if v := *p.one(c); v != "" {
			all = []string{v}
		}
		name, inner := p.local, p.inner
		if space == NSTemp {
			name, inner = p.temp, p.tempInner
		}
		for _, v := range all {
			kind := inner
			if name == "tel" && strings.HasPrefix(v, "tel:") {
				kind = "uri"
			}
			if kind == "" {
				e.Add(xmltree.NewText(space, name, v))
			} else {
				e.Add(xmltree.New(space, name, xmltree.NewText(space, kind, v)))
			}
		}
	}
	for _, f := range c.Other {
		if f.Name.Space == space || f.Name.Space != NS && f.Name.Space != NSTemp {
			e.Add(f)
		}
	}
	return e
}

// Get asks for the card of a bare address; the zero JID is ourselves. It looks into the node first, and else asks for vcard-temp. It is
// pubsub.ErrNoItem if there is none, or none that we may see.
func Get(ctx context.Context, c *xmpp.Client, of jid.JID) (*Card, error) {
	i, err := pubsub.Last(ctx, c, of, Node)
	if err == nil {
		return Parse(i.Payload)
	}
	var refused stanza.Error
	if !errors.Is(err, pubsub.ErrNoItem) && !errors.As(err, &refused) {
		return nil, err
	}
	return GetTemp(ctx, c, of)
}

// GetTemp asks for the vcard-temp of a bare address, or of an occupant of a room (XEP-0054 §3.3); the zero JID is ourselves.
func GetTemp(ctx context.Context, c *xmpp.Client, of jid.JID) (*Card, error) {
	answer, err := c.Get(ctx, of, xmltree.New(NSTemp, "vCard"))
	var refused stanza.Error
	switch {
	case errors.As(err, &refused) && (refused.Condition == stanza.ItemNotFound || refused.Condition == stanza.ServiceUnavailable):
		return nil, errors.Join(pubsub.ErrNoItem, err) // §3.3: both mean the same
	case err != nil:
		return nil, err
	case answer.First() == nil: // §3.1: nothing in it is another word for it
		return nil, pubsub.ErrNoItem
	}
	return Parse(answer)
}

// Publish puts our card into its node, open to everybody if open, else to contacts. Where the server does not keep both in step, SetTemp is for
// those who know only vcard-temp.
func Publish(ctx context.Context, c *xmpp.Client, card *Card, open bool) error {
	model := "presence"
	if open {
		model = "open"
	}
	item, options := pubsub.Item{ID: "current", Payload: card.Element()}, []form.Field{form.Text("pubsub#access_model", model)}
	_, err := pubsub.Publish(ctx, c, jid.JID{}, Node, item, options...)
	if errors.Is(err, pubsub.ErrPrecondition) {
		if err = pubsub.Configure(ctx, c, jid.JID{}, Node, options...); err == nil {
			_, err = pubsub.Publish(ctx, c, jid.JID{}, Node, item, options...)
		}
	}
	return err
}

// SetTemp replaces our vcard-temp, which everybody can read.
func SetTemp(ctx context.Context, c *xmpp.Client, card *Card) error {
	_, err := c.Set(ctx, jid.JID{}, card.TempElement())
	return err
}
