package xmpp

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of what every client can do.
const (
	nsInfo    = "http://jabber.org/protocol/disco#info"  // XEP-0030
	nsItems   = "http://jabber.org/protocol/disco#items" // XEP-0030
	nsCaps    = "http://jabber.org/protocol/caps"        // XEP-0115
	nsPing    = "urn:xmpp:ping"                          // XEP-0199
	nsVersion = "jabber:iq:version"                      // XEP-0092
	nsTime    = "urn:xmpp:time"                          // XEP-0202
	nsData    = "jabber:x:data"                          // XEP-0004
)

// capsNode names this library in entity capabilities (XEP-0115 §4).
const capsNode = "https://github.com/hoorn-phone/hoorn"

// Bounds of what service discovery is believed to say.
const (
	maxFeatures = 1000
	maxItems    = 10000
)

// Identity is what an entity is (XEP-0030 §3.1), such as {"client", "pc", "", "hoorn"}.
type Identity struct{ Category, Type, Lang, Name string }

// Info is what an entity can do (XEP-0030 §3).
type Info struct {
	Identities []Identity
	Features   []string
	Forms      []*xmltree.Element // XEP-0128
}

// Has tells whether an entity has a feature.
func (i *Info) Has(feature string) bool { return i != nil && slices.Contains(i.Features, feature) }

// Is tells whether an entity has an identity of a category and type, such as "conference" and "text".
func (i *Info) Is(category, typ string) bool {
	return i != nil && slices.ContainsFunc(i.Identities, func(id Identity) bool { return id.Category == category && id.Type == typ })
}

// Item is an entity that belongs to another (XEP-0030 §4).
type Item struct {
	JID        jid.JID
	Node, Name string
}

// Info asks an entity what it can do. node is mostly "".
func (c *Client) Info(ctx context.Context, j jid.JID, node string) (*Info, error) {
	answer, err := c.Get(ctx, j, xmltree.New(nsInfo, "query").Set("node", node))
	if err != nil {
		return nil, err
	}
	return parseInfo(answer)
}

// Items asks an entity what belongs to it, such as the services of a server and the rooms of a service.
func (c *Client) Items(ctx context.Context, j jid.JID, node string) ([]Item, error) {
	answer, err := c.Get(ctx, j, xmltree.New(nsItems, "query").Set("node", node))
	if err != nil {
		return nil, err
	}
	if !answer.Is(nsItems, "query") {
		return nil, errAnswer
	}
	var items []Item
	for e := range answer.Named(nsItems, "item") {
		a, err := jid.Parse(e.Get("jid"))
		if err != nil {
			c.log.Warn("xmpp: an item without a usable address was left out", "of", j.String(), "err", err)
			continue
		}
		if items = append(items, Item{a, e.Get("node"), e.Get("name")}); len(items) == maxItems {
			break
		}
	}
	return items, nil
}

var errAnswer = errors.New("xmpp: the answer is not to what was asked")

func parseInfo(e *xmltree.Element) (*Info, error) {
	if !e.Is(nsInfo, "query") {
		return nil, errAnswer
	}
	info := new(Info)
	for c := range e.Elements() {
		switch {
		case len(info.Features)+len(info.Identities)+len(info.Forms) >= maxFeatures:
			return nil, fmt.Errorf("xmpp: more than %d features", maxFeatures)
		case c.Is(nsInfo, "identity"):
			info.Identities = append(info.Identities, Identity{c.Get("category"), c.Get("type"), c.GetNS(xmltree.NSXML, "lang"), c.Get("name")})
		case c.Is(nsInfo, "feature"):
			info.Features = append(info.Features, c.Get("var"))
		case c.Is(nsData, "x"):
			info.Forms = append(info.Forms, c)
		}
	}
	return info, nil
}

func (i *Info) element(node string) *xmltree.Element {
	q := xmltree.New(nsInfo, "query").Set("node", node)
	for _, id := range i.Identities {
		q.Add(xmltree.New(nsInfo, "identity").Set("category", id.Category).Set("type", id.Type).Set("name", id.Name).SetNS(xmltree.NSXML, "lang", id.Lang))
	}
	for _, f := range i.Features {
		q.Add(xmltree.New(nsInfo, "feature").Set("var", f))
	}
	return q.Add(i.Forms...)
}

// capsVersion is the verification string of XEP-0115 §5.1, of an Info without forms.
func (i *Info) capsVersion() string {
	var ids, s []string
	for _, id := range i.Identities {
		ids = append(ids, id.Category+"/"+id.Type+"/"+id.Lang+"/"+id.Name+"<")
	}
	for _, f := range i.Features {
		s = append(s, f+"<")
	}
	slices.Sort(ids)
	slices.Sort(s)
	sum := sha1.Sum([]byte(strings.Join(ids, "") + strings.Join(s, "")))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// disco answers what every client is asked.
type disco struct {
	info *Info // of this client, from the first connect on
	ver  string
}

func (d *disco) extension(c *Client) *Extension {
	x := &Extension{Name: "disco", Features: []string{nsInfo, nsItems, nsCaps, nsPing, nsTime}}
	x.IQ = map[IQName]IQHandler{
		{stanza.GetIQ, nsInfo, "query"}: d.answer,
		{stanza.GetIQ, nsItems, "query"}: func(_ context.Context, iq *IQ) (*xmltree.Element, error) {
			return xmltree.New(nsItems, "query").Set("node", iq.Payload.Get("node")), nil
		},
		{stanza.GetIQ, nsPing, "ping"}: func(context.Context, *IQ) (*xmltree.Element, error) { return nil, nil },
		{stanza.GetIQ, nsTime, "time"}: tellTime,
	}
	if c.cfg.Software.Name != "" {
		x.Features = append(x.Features, nsVersion)
		x.IQ[IQName{stanza.GetIQ, nsVersion, "query"}] = func(context.Context, *IQ) (*xmltree.Element, error) {
			return c.cfg.Software.element(), nil
		}
	}
	return x
}

func (s Software) element() *xmltree.Element {
	q := xmltree.New(nsVersion, "query", xmltree.NewText(nsVersion, "name", s.Name), xmltree.NewText(nsVersion, "version", s.Version))
	if s.OS != "" {
		q.Add(xmltree.NewText(nsVersion, "os", s.OS))
	}
	return q
}

// tellTime is the answer of XEP-0202 §3.
func tellTime(context.Context, *IQ) (*xmltree.Element, error) {
	now := time.Now()
	return xmltree.New(nsTime, "time", xmltree.NewText(nsTime, "tzo", now.Format("-07:00")), xmltree.NewText(nsTime, "utc", now.UTC().Format("2006-01-02T15:04:05Z"))), nil
}

// settle collects what the extensions can do, once all are there.
func (d *disco) settle(name string, extensions []*Extension) {
	d.info = &Info{Identities: []Identity{{Category: "client", Type: "pc", Name: name}}}
	for _, x := range extensions {
		for _, f := range x.Features {
			if !slices.Contains(d.info.Features, f) {
				d.info.Features = append(d.info.Features, f)
			}
		}
	}
	slices.Sort(d.info.Features)
	d.ver = d.info.capsVersion()
}

// answer tells what we can do. A node is only that of our own capabilities (XEP-0115 §6.2).
func (d *disco) answer(_ context.Context, iq *IQ) (*xmltree.Element, error) {
	node := iq.Payload.Get("node")
	if node != "" && node != capsNode+"#"+d.ver {
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	}
	return d.info.element(node), nil
}

// decorate adds to our presence what everybody may want to know (XEP-0115 §6.1).
func (c *Client) decorate(p *Presence) *Presence {
	d := *p
	d.Payload = append(slices.Clone(p.Payload), xmltree.New(nsCaps, "c").Set("hash", "sha-1").Set("node", capsNode).Set("ver", c.disco.ver))
	return &d
}

// offers tells whether the server offers a feature of the stream.
func (c *Client) offers(space, local string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream != nil && c.stream.Features().Child(space, local) != nil
}

func attr(name, value string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }
