package xmpptest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsNodeConfig = nsPubSub + "#node_config"
	nsOptions    = nsPubSub + "#publish-options"
	nsPubErrors  = nsPubSub + "#errors"
)

// nodes are those of one owner: an account (XEP-0163), or the service for all (XEP-0060).
type nodes struct{ byName map[string]*node }

type node struct {
	name    string
	cfg     nodeConfig
	items   []nodeItem      // the oldest first
	rights  map[addr]string // affiliations by bare address; of the owner of an account there is none
	readers map[addr]bool   // who has subscribed
}

type nodeItem struct {
	id        string
	publisher addr
	e         *xmltree.Element // <item/>, without what says where it is
}

// nodeConfig is how a node is to be (XEP-0060 §16.4.4).
type nodeConfig struct {
	access     string // "open", "presence", "roster", "whitelist"
	publish    string // "publishers", "subscribers", "open"
	max        int
	last       string // "never", "on_sub", "on_sub_and_presence"
	transient  bool   // keeps nothing
	bare       bool   // delivers no payloads
	title, typ string
	groups     []string
}

func (ns *nodes) sorted() []*node {
	var all []*node
	for _, n := range ns.byName {
		all = append(all, n)
	}
	slices.SortFunc(all, func(x, y *node) int { return cmp.Compare(x.name, y.name) })
	return all
}

func (ns *nodes) info(name string) (*xmltree.Element, *stanzaError) {
	n := ns.byName[name]
	if n == nil {
		return nil, errNotFound
	}
	return info(name, [][2]string{{"pubsub", "leaf"}}, nsPubSub, nsInfo), nil
}

// create makes a node. account says whose defaults it has.
func (ns *nodes) create(name string, account bool, limit int) *node {
	if len(ns.byName) >= limit {
		return nil
	}
	n := &node{name: name, rights: make(map[addr]string), readers: make(map[addr]bool)}
	n.cfg = nodeConfig{access: "open", publish: "publishers", max: 20, last: "never"}
	if account { // XEP-0163 §1, XEP-0060 §9.1.2
		n.cfg = nodeConfig{access: "presence", publish: "publishers", max: 1, last: "on_sub_and_presence"}
	}
	if ns.byName == nil {
		ns.byName = make(map[string]*node)
	}
	ns.byName[name] = n
	return n
}

// fields are what can be configured, as pubsub#NAME.
func (c *nodeConfig) fields(limit int) [][2]string {
	size := strconv.Itoa(c.max)
	if c.max == limit {
		size = "max"
	}
	return [][2]string{
		{"access_model", c.access}, {"publish_model", c.publish}, {"max_items", size}, {"send_last_published_item", c.last}, {"title", c.title}, {"type", c.typ},
		{"persist_items", flag(!c.transient)}, {"deliver_payloads", flag(!c.bare)}, {"roster_groups_allowed", strings.Join(c.groups, "\n")},
		{"notify_retract", "1"}, {"notify_delete", "1"}, {"deliver_notifications", "1"},
	}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// set changes a field; ok: there is such a field, and it can have this value.
func (c *nodeConfig) set(f *xmltree.Element, limit int) (ok bool) {
	value := f.Child(nsData, "value").Text()
	oneOf := func(p *string, values ...string) bool {
		if !slices.Contains(values, value) {
			return false
		}
		*p = value
		return true
	}
	switch strings.TrimPrefix(f.Get("var"), "pubsub#") {
	case "access_model":
		return oneOf(&c.access, "open", "presence", "roster", "whitelist")
	case "publish_model":
		return oneOf(&c.publish, "publishers", "subscribers", "open")
	case "send_last_published_item":
		return oneOf(&c.last, "never", "on_sub", "on_sub_and_presence")
	case "max_items":
		n, err := strconv.Atoi(value)
		if value == "max" {
			n, err = limit, nil
		}
		if err != nil || n < 1 {
			return false
		}
		c.max = min(n, limit)
	case "persist_items":
		c.transient = !isTrue(value)
	case "deliver_payloads":
		c.bare = !isTrue(value)
	case "title":
		c.title = value
	case "type":
		c.typ = value
	case "roster_groups_allowed":
		c.groups = nil
		for v := range f.Named(nsData, "value") {
			c.groups = append(c.groups, v.Text())
		}
	case "notify_retract", "notify_delete", "deliver_notifications":
		return isTrue(value)
	case "notify_config", "notify_sub", "purge_offline", "presence_based_delivery", "itemreply", "notification_type", "max_payload_size", "item_expire", "subscribe":
		// They change nothing here.
	default:
		return false
	}
	return true
}

// apply changes the configuration by a form, all of it or nothing.
func (c *nodeConfig) apply(form *xmltree.Element, limit int) *stanzaError {
	changed := *c
	for f := range form.Named(nsData, "field") {
		if f.Get("var") != "FORM_TYPE" && !changed.set(f, limit) {
			return errNotAcceptable
		}
	}
	*c = changed
	return nil
}

// meets tells whether a node is as somebody who publishes there wants it (XEP-0060 §7.1.5).
func (c *nodeConfig) meets(form *xmltree.Element, limit int) bool {
	want := *c
	for f := range form.Named(nsData, "field") {
		if f.Get("var") != "FORM_TYPE" && !want.set(f, limit) {
			return false
		}
	}
	return slices.Equal(want.fields(limit), c.fields(limit))
}

func (c *nodeConfig) form(limit int) *xmltree.Element {
	x := xmltree.New(nsData, "x", field("FORM_TYPE", "hidden", nsNodeConfig)).Set("type", "form")
	for _, f := range c.fields(limit) {
		x.Add(field("pubsub#"+f[0], "text-single", f[1]))
	}
	return x
}

// put adds an item, in place of one with the same id.
func (n *node) put(i nodeItem) {
	n.remove(i.id)
	if n.cfg.transient {
		return
	}
	n.items = append(n.items, i)
	n.trim()
}

func (n *node) trim() {
	if over := len(n.items) - n.cfg.max; over > 0 {
		n.items = slices.Delete(n.items, 0, over)
	}
}

func (n *node) remove(id string) bool {
	for i := range n.items {
		if n.items[i].id == id {
			n.items = slices.Delete(n.items, i, i+1)
			return true
		}
	}
	return false
}

// mayRead says whether somebody sees what is in a node (XEP-0060 §4.5); nil is yes. owner is nil for a node of the service.
func (n *node) mayRead(owner *account, who addr) *stanzaError {
	who = who.bare()
	right := n.rights[who]
	if owner != nil && who == owner.addr || right == "owner" || right == "publisher" || right == "member" {
		return nil
	}
	if right == "outcast" {
		return errForbidden
	}
	refuse := func(typ, condition, app string) *stanzaError {
		return &stanzaError{typ: typ, condition: condition, app: xmltree.New(nsPubErrors, app)}
	}
	var i *item
	if owner != nil {
		if owner.blocks(who) {
			return errUnavailable
		}
		i = owner.roster.items[who]
	}
	switch n.cfg.access {
	case "open":
		return nil
	case "presence":
		if i == nil || !i.from {
			return refuse("auth", "not-authorized", "presence-subscription-required")
		}
		return nil
	case "roster":
		if i != nil && i.listed && slices.ContainsFunc(i.groups, func(g string) bool { return slices.Contains(n.cfg.groups, g) }) {
			return nil
		}
		return refuse("auth", "not-authorized", "not-in-roster-group")
	}
	return refuse("cancel", "not-allowed", "closed-node")
}

// mayPublish and owns say what somebody may do with a node.
func (n *node) mayPublish(owner *account, who addr) bool {
	return n.owns(owner, who) || n.rights[who.bare()] == "publisher" || n.cfg.publish == "open" && n.rights[who.bare()] != "outcast" ||
		n.cfg.publish == "subscribers" && (n.readers[who] || n.readers[who.bare()])
}

func (n *node) owns(owner *account, who addr) bool {
	return owner != nil && who.bare() == owner.addr || n.rights[who.bare()] == "owner"
}

func cutNotify(feature string) (node string, ok bool) { return strings.CutSuffix(feature, "+notify") }

// notify tells those who want to know what has happened at a node: <items/>, <delete/> or <purge/>.
func (s *Server) notify(owner *account, n *node, what *xmltree.Element) {
	from := addr{domain: s.cfg.PubSub}
	told := make(map[addr]bool)
	tell := func(to addr) {
		e := xmltree.New(nsClient, "message", xmltree.New(nsEvent, "event", what)).Set("type", "headline").Set("id", s.newID())
		s.route(addressed(e, from, to))
	}
	if owner != nil {
		from = owner.addr
		for _, u := range s.watchers(owner) {
			for _, sess := range u.sorted() {
				if sess.available && sess.wants[n.name] && n.mayRead(owner, sess.addr) == nil {
					told[sess.addr] = true
					tell(sess.addr)
				}
			}
		}
	}
	for r := range n.readers {
		if !told[r] && n.mayRead(owner, r) == nil {
			tell(r)
		}
	}
}

// watchers are the user himself and those who see his presence (XEP-0163 §4.3).
func (s *Server) watchers(owner *account) []*account {
	all := []*account{owner}
	for _, i := range owner.roster.sorted() {
		if u := s.account(i.addr); u != nil && i.from && !owner.blocks(i.addr) {
			all = append(all, u)
		}
	}
	return all
}

// sendLastItems gives a session that has told what it wants the last item of each such node (XEP-0163 §4.3.4).
func (s *Server) sendLastItems(sess *session) {
	owners := []*account{sess.user}
	for _, i := range sess.user.roster.sorted() {
		if u := s.account(i.addr); u != nil && i.to {
			owners = append(owners, u)
		}
	}
	for _, owner := range owners {
		for _, n := range owner.nodes.sorted() {
			if len(n.items) == 0 || n.cfg.last != "on_sub_and_presence" || !sess.wants[n.name] || n.mayRead(owner, sess.addr) != nil {
				continue
			}
			items := xmltree.New(nsEvent, "items", n.event(&n.items[len(n.items)-1])).Set("node", n.name)
			e := xmltree.New(nsClient, "message", xmltree.New(nsEvent, "event", items)).Set("type", "headline").Set("id", s.newID())
			s.route(addressed(e, owner.addr, sess.addr))
		}
	}
}

// event is an item as it is in a notification.
func (n *node) event(i *nodeItem) *xmltree.Element {
	e := xmltree.New(nsEvent, "item").Set("id", i.id).Set("publisher", i.publisher.String())
	if !n.cfg.bare {
		e.Add(i.e.First())
	}
	return e
}
