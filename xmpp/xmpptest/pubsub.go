package xmpptest

import (
	"slices"
	"strconv"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

var pubsubFeatures = func() []string {
	all := []string{nsPubSub}
	for _, f := range []string{
		"access-open", "access-presence", "access-roster", "access-whitelist", "auto-create", "config-node", "config-node-max", "create-and-configure", "create-nodes",
		"delete-items", "delete-nodes", "filtered-notifications", "item-ids", "last-published", "modify-affiliations", "multi-items", "persistent-items", "presence-notifications",
		"publish", "publish-options", "purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-items", "retrieve-subscriptions", "subscribe",
	} {
		all = append(all, nsPubSub+"#"+f)
	}
	return all
}()

func pubsubInfo(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	if node := r.payload.Get("node"); node != "" {
		return s.pubsub.info(node)
	}
	return info("", [][2]string{{"pubsub", "service"}}, append([]string{nsInfo, nsItems, nsPing}, pubsubFeatures...)...), nil
}

func pubsubItems(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	q := xmltree.New(nsItems, "query").Set("node", r.payload.Get("node"))
	if name := r.payload.Get("node"); name != "" {
		n := s.pubsub.byName[name]
		if n == nil {
			return nil, errNotFound
		}
		if err := n.mayRead(nil, r.from); err != nil {
			return nil, err
		}
		for _, i := range n.items {
			q.Add(item030(s.cfg.PubSub, "", i.id))
		}
		return q, nil
	}
	for _, n := range s.pubsub.sorted() {
		q.Add(item030(s.cfg.PubSub, n.name, n.cfg.title))
	}
	return q, nil
}

func (s *Server) nodesOf(r *request) *nodes {
	if r.owner != nil {
		return &r.owner.nodes
	}
	return &s.pubsub
}

func pubError(err *stanzaError, app string) *stanzaError {
	return &stanzaError{typ: err.typ, condition: err.condition, app: xmltree.New(nsPubErrors, app)}
}

// pubsub handles what anybody may ask of nodes (XEP-0060 §5 to §7).
func pubsub(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	what := r.payload.First()
	ns := s.nodesOf(r)
	name := what.Get("node")
	n := ns.byName[name]
	verb := what
	if what == nil || what.Name.Space != nsPubSub {
		return nil, errBadRequest
	}
	op := verb.Name.Local
	switch {
	case op == "subscriptions" && !r.set:
		return mySubscriptions(ns, r.from), nil
	case op == "affiliations" && !r.set:
		return myAffiliations(ns, r), nil
	case op == "create" && r.set:
		return s.createNode(r, ns, name)
	case name == "":
		return nil, pubError(errBadRequest, "nodeid-required")
	case op == "publish" && r.set:
		return s.publish(r, ns, n, what)
	case n == nil:
		return nil, errNotFound
	case op == "items" && !r.set:
		return s.items(r, n, what)
	case op == "retract" && r.set:
		return nil, s.retract(r, n, what)
	case op == "subscribe" && r.set:
		return s.subscribe(r, n, what)
	case op == "unsubscribe" && r.set:
		who, ok := parseAddr(what.Get("jid"))
		if !ok || who.bare() != r.from.bare() || !n.readers[who] {
			return nil, pubError(&stanzaError{typ: "cancel", condition: "unexpected-request"}, "not-subscribed")
		}
		delete(n.readers, who)
		return nil, nil
	}
	return nil, pubError(errNotBuilt, "unsupported")
}

// createNode makes a node (XEP-0060 §8.1).
func (s *Server) createNode(r *request, ns *nodes, name string) (*xmltree.Element, *stanzaError) {
	if r.owner != nil && r.from.bare() != r.owner.addr {
		return nil, errForbidden
	}
	if name == "" {
		name = s.newID()
	}
	if ns.byName[name] != nil {
		return nil, errConflict
	}
	n := ns.create(name, r.owner != nil, s.cfg.Limits.Nodes)
	if n == nil {
		return nil, errConstraint
	}
	if r.owner == nil {
		n.rights[r.from.bare()] = "owner"
	}
	if err := n.cfg.apply(r.payload.Child(nsPubSub, "configure").Child(nsData, "x"), s.cfg.Limits.Items); err != nil {
		delete(ns.byName, name)
		return nil, err
	}
	return xmltree.New(nsPubSub, "pubsub", xmltree.New(nsPubSub, "create").Set("node", name)), nil
}

// publish adds an item to a node, which is made if need be (XEP-0060 §7.1).
func (s *Server) publish(r *request, ns *nodes, n *node, what *xmltree.Element) (*xmltree.Element, *stanzaError) {
	var e *xmltree.Element
	for i := range what.Named(nsPubSub, "item") {
		if e != nil {
			return nil, pubError(errBadRequest, "invalid-payload")
		}
		e = i
	}
	if e == nil {
		return nil, pubError(errBadRequest, "item-required")
	}
	options := r.payload.Child(nsPubSub, "publish-options").Child(nsData, "x")
	limit := s.cfg.Limits.Items
	switch {
	case n == nil:
		if r.owner != nil && r.from.bare() != r.owner.addr {
			return nil, errForbidden
		}
		if n = ns.create(what.Get("node"), r.owner != nil, s.cfg.Limits.Nodes); n == nil {
			return nil, errConstraint
		}
		if r.owner == nil {
			n.rights[r.from.bare()] = "owner"
		}
		if n.cfg.apply(options, limit) != nil {
			delete(ns.byName, n.name)
			return nil, pubError(errConflict, "precondition-not-met")
		}
	case !n.mayPublish(r.owner, r.from):
		return nil, errForbidden
	case options != nil && !n.cfg.meets(options, limit):
		return nil, pubError(errConflict, "precondition-not-met") // XEP-0060 §7.1.5
	}
	i := nodeItem{e.Get("id"), r.from.bare(), e}
	if i.id == "" {
		i.id = s.newID()
	}
	n.put(i)
	// The answer first: whoever publishes knows the id when it hears of it.
	s.deliver(r.sess, r.result(xmltree.New(nsPubSub, "pubsub", xmltree.New(nsPubSub, "publish", xmltree.New(nsPubSub, "item").Set("id", i.id)).Set("node", n.name))))
	s.notify(r.owner, n, xmltree.New(nsEvent, "items", n.event(&i)).Set("node", n.name))
	return nil, errAnswered
}

// items answers what is in a node, the newest last (XEP-0060 §6.5).
func (s *Server) items(r *request, n *node, what *xmltree.Element) (*xmltree.Element, *stanzaError) {
	if err := n.mayRead(r.owner, r.from); err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for i := range what.Named(nsPubSub, "item") {
		wanted[i.Get("id")] = true
	}
	all := n.items
	if m := what.Get("max_items"); m != "" {
		most, err := strconv.Atoi(m)
		if err != nil || most < 1 {
			return nil, errBadRequest
		}
		all = all[max(0, len(all)-most):]
	}
	list := xmltree.New(nsPubSub, "items").Set("node", n.name)
	for _, i := range all {
		if len(wanted) == 0 || wanted[i.id] {
			list.Add(xmltree.New(nsPubSub, "item", i.e.First()).Set("id", i.id).Set("publisher", i.publisher.String()))
		}
	}
	return xmltree.New(nsPubSub, "pubsub", list), nil
}

// retract removes an item (XEP-0060 §7.2).
func (s *Server) retract(r *request, n *node, what *xmltree.Element) *stanzaError {
	if !n.mayPublish(r.owner, r.from) {
		return errForbidden
	}
	id := what.Child(nsPubSub, "item").Get("id")
	if id == "" {
		return pubError(errBadRequest, "item-required")
	}
	at := slices.IndexFunc(n.items, func(i nodeItem) bool { return i.id == id })
	if at < 0 {
		return errNotFound
	}
	if !n.owns(r.owner, r.from) && n.items[at].publisher != r.from.bare() {
		return errForbidden
	}
	n.remove(id)
	if isTrue(what.Get("notify")) {
		s.notify(r.owner, n, xmltree.New(nsEvent, "items", xmltree.New(nsEvent, "retract").Set("id", id)).Set("node", n.name))
	}
	return nil
}

// subscribe adds a reader (XEP-0060 §6.1).
func (s *Server) subscribe(r *request, n *node, what *xmltree.Element) (*xmltree.Element, *stanzaError) {
	who, ok := parseAddr(what.Get("jid"))
	if !ok || who.bare() != r.from.bare() {
		return nil, pubError(errBadRequest, "invalid-jid")
	}
	if err := n.mayRead(r.owner, r.from); err != nil {
		return nil, err
	}
	if len(n.readers) >= s.cfg.Limits.Occupants && !n.readers[who] {
		return nil, errConstraint
	}
	n.readers[who] = true
	s.deliver(r.sess, r.result(xmltree.New(nsPubSub, "pubsub", subscription(n.name, who))))
	if n.cfg.last != "never" && len(n.items) > 0 {
		items := xmltree.New(nsEvent, "items", n.event(&n.items[len(n.items)-1])).Set("node", n.name)
		e := xmltree.New(nsClient, "message", xmltree.New(nsEvent, "event", items)).Set("type", "headline").Set("id", s.newID())
		s.route(addressed(e, r.to, who))
	}
	return nil, errAnswered
}

func subscription(node string, who addr) *xmltree.Element {
	return xmltree.New(nsPubSub, "subscription").Set("node", node).Set("jid", who.String()).Set("subscription", "subscribed")
}

func mySubscriptions(ns *nodes, who addr) *xmltree.Element {
	list := xmltree.New(nsPubSub, "subscriptions")
	for _, n := range ns.sorted() {
		for a := range n.readers {
			if a.bare() == who.bare() {
				list.Add(subscription(n.name, a))
			}
		}
	}
	return xmltree.New(nsPubSub, "pubsub", list)
}

func myAffiliations(ns *nodes, r *request) *xmltree.Element {
	list := xmltree.New(nsPubSub, "affiliations")
	for _, n := range ns.sorted() {
		right := n.rights[r.from.bare()]
		if n.owns(r.owner, r.from) {
			right = "owner"
		}
		if right != "" {
			list.Add(xmltree.New(nsPubSub, "affiliation").Set("node", n.name).Set("affiliation", right))
		}
	}
	return xmltree.New(nsPubSub, "pubsub", list)
}

// pubsubOwner handles what the owner of a node may ask (XEP-0060 §8).
func pubsubOwner(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	what := r.payload.First()
	ns := s.nodesOf(r)
	n := ns.byName[what.Get("node")]
	switch {
	case what == nil || what.Name.Space != nsOwner:
		return nil, errBadRequest
	case what.Get("node") == "" && what.Name.Local != "default":
		return nil, pubError(errBadRequest, "nodeid-required")
	case n == nil:
		if r.owner != nil && r.owner.addr != r.from.bare() {
			return nil, errForbidden
		}
		return nil, errNotFound
	case !n.owns(r.owner, r.from):
		return nil, errForbidden
	}
	reply := func(e *xmltree.Element) (*xmltree.Element, *stanzaError) {
		return xmltree.New(nsOwner, "pubsub", e.Set("node", n.name)), nil
	}
	switch what.Name.Local {
	case "configure":
		if !r.set {
			return reply(xmltree.New(nsOwner, "configure", n.cfg.form(s.cfg.Limits.Items)))
		}
		if x := what.Child(nsData, "x"); x.Get("type") != "cancel" {
			err := n.cfg.apply(x, s.cfg.Limits.Items)
			n.trim()
			return nil, err
		}
		return nil, nil
	case "delete":
		if !r.set {
			return nil, errBadRequest
		}
		s.notify(r.owner, n, xmltree.New(nsEvent, "delete").Set("node", n.name))
		delete(ns.byName, n.name)
		return nil, nil
	case "purge":
		if !r.set {
			return nil, errBadRequest
		}
		n.items = nil
		s.notify(r.owner, n, xmltree.New(nsEvent, "purge").Set("node", n.name))
		return nil, nil
	case "affiliations":
		if r.set {
			return nil, n.setRights(what, s.cfg.Limits.Blocked)
		}
		list := xmltree.New(nsOwner, "affiliations")
		for a, right := range n.rights {
			list.Add(xmltree.New(nsOwner, "affiliation").Set("jid", a.String()).Set("affiliation", right))
		}
		return reply(list)
	case "subscriptions":
		if r.set {
			return nil, errNotBuilt
		}
		list := xmltree.New(nsOwner, "subscriptions")
		for a := range n.readers {
			list.Add(xmltree.New(nsOwner, "subscription").Set("jid", a.String()).Set("subscription", "subscribed"))
		}
		return reply(list)
	}
	return nil, errNotBuilt
}

// setRights changes affiliations (XEP-0060 §8.9.2).
func (n *node) setRights(list *xmltree.Element, limit int) *stanzaError {
	for e := range list.Named(nsOwner, "affiliation") {
		a, ok := parseAddr(e.Get("jid"))
		if !ok {
			return errMalformed
		}
		switch right := e.Get("affiliation"); right {
		case "none":
			delete(n.rights, a.bare())
		case "owner", "publisher", "member", "outcast":
			if len(n.rights) >= limit && n.rights[a.bare()] == "" {
				return errConstraint
			}
			n.rights[a.bare()] = right
		default:
			return errNotAcceptable
		}
	}
	return nil
}
