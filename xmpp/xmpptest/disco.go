package xmpptest

import (
	"encoding/xml"
	"slices"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsInfo   = "http://jabber.org/protocol/disco#info"  // XEP-0030
	nsItems  = "http://jabber.org/protocol/disco#items" // XEP-0030
	nsCaps   = "http://jabber.org/protocol/caps"        // XEP-0115
	nsPubSub = "http://jabber.org/protocol/pubsub"      // XEP-0060
	nsOwner  = nsPubSub + "#owner"
	nsEvent  = nsPubSub + "#event"

	maxFeatures = 500 // of a client
)

// tables say who answers which requests.
type tables struct {
	server, own, others, pubsub, service, room iqTable
}

func newTables() tables {
	n := func(space, local string) xml.Name { return xml.Name{Space: space, Local: local} }
	return tables{
		server: iqTable{
			n(nsInfo, "query"): serverInfo, n(nsItems, "query"): serverItems, n(nsPing, "ping"): pong, n(nsVersion, "query"): version,
			n(nsTime, "time"): tellTime, n(nsExternal, "services"): externalServices, n("urn:ietf:params:xml:ns:xmpp-session", "session"): nothing,
		},
		own: iqTable{
			n(nsRoster, "query"): rosterIQ, n(nsCarbons, "enable"): carbonsOn, n(nsCarbons, "disable"): carbonsOn, n(nsPing, "ping"): pong,
			n(nsBlocking, "blocklist"): blockList, n(nsBlocking, "block"): block, n(nsBlocking, "unblock"): block,
			n(nsMAM, "query"): ownArchive, n(nsMAM, "metadata"): ownArchiveEnds, n(nsMAM, "prefs"): archivePrefs,
			n(nsVCard, "vCard"): vcard, n(nsPrivate, "query"): private, n("urn:ietf:params:xml:ns:xmpp-session", "session"): nothing,
			n(nsInfo, "query"): accountInfo, n(nsItems, "query"): accountItems, n(nsPubSub, "pubsub"): pubsub, n(nsOwner, "pubsub"): pubsubOwner,
			n(nsVersion, "query"): version, n(nsTime, "time"): tellTime, n(nsExternal, "services"): externalServices,
		},
		others: iqTable{
			n(nsRoster, "query"): func(*Server, *request) (*xmltree.Element, *stanzaError) { return nil, errForbidden }, // RFC 6121 §2.1.5
			n(nsVCard, "vCard"):  vcard, n(nsInfo, "query"): accountInfo, n(nsItems, "query"): accountItems, n(nsPubSub, "pubsub"): pubsub, n(nsOwner, "pubsub"): pubsubOwner,
		},
		pubsub: iqTable{
			n(nsInfo, "query"): pubsubInfo, n(nsItems, "query"): pubsubItems, n(nsPubSub, "pubsub"): pubsub, n(nsOwner, "pubsub"): pubsubOwner,
			n(nsPing, "ping"): pong,
		},
		service: iqTable{n(nsInfo, "query"): roomsInfo, n(nsItems, "query"): roomsItems, n(nsPing, "ping"): pong},
		room:    roomTable(),
	}
}

// info is an answer about an entity.
func info(node string, identities [][2]string, features ...string) *xmltree.Element {
	q := xmltree.New(nsInfo, "query").Set("node", node)
	for _, i := range identities {
		q.Add(xmltree.New(nsInfo, "identity").Set("category", i[0]).Set("type", i[1]))
	}
	slices.Sort(features)
	for _, f := range features {
		q.Add(xmltree.New(nsInfo, "feature").Set("var", f))
	}
	return q
}

func item030(j, node, name string) *xmltree.Element {
	return xmltree.New(nsItems, "item").Set("jid", j).Set("node", node).Set("name", name)
}

func serverInfo(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.payload.Get("node") != "" {
		return nil, errNotFound
	}
	return info("", [][2]string{{"server", "im"}}, nsInfo, nsItems, nsPing, nsVersion, nsTime, nsExternal, nsCarbons, nsBlocking, nsVCard, nsPrivate,
		"msgoffline", "urn:xmpp:carbons:rules:0"), nil
}

func serverItems(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.payload.Get("node") != "" {
		return nil, errNotFound
	}
	return xmltree.New(nsItems, "query", item030(s.cfg.Rooms, "", "Rooms"), item030(s.cfg.PubSub, "", "Publish-subscribe")), nil
}

// sees tells whether somebody may know that there is such an account (RFC 6121 §8.5.2.2.3, XEP-0030 §8).
func (r *request) sees() bool {
	if r.from.bare() == r.owner.addr {
		return true
	}
	i := r.owner.roster.items[r.from.bare()]
	return i != nil && i.from
}

func accountInfo(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if !r.sees() {
		return nil, errUnavailable
	}
	if node := r.payload.Get("node"); node != "" {
		return r.owner.nodes.info(node)
	}
	features := append([]string{nsInfo, nsItems, nsVCard}, pubsubFeatures...)
	if r.from.bare() == r.owner.addr {
		features = append(features, nsMAM, nsMAM+"#extended", nsStanzaID, nsCarbons)
	}
	return info("", [][2]string{{"account", "registered"}, {"pubsub", "pep"}}, features...), nil
}

func accountItems(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if !r.sees() {
		return nil, errUnavailable
	}
	q := xmltree.New(nsItems, "query")
	for _, n := range r.owner.nodes.sorted() {
		q.Add(item030(r.owner.addr.String(), n.name, ""))
	}
	return q, nil
}

// learnCaps asks a client what it can do, when it says that this is new (XEP-0115 §6). The
// answer counts for its session alone: nobody has to believe a hash.
func (s *Server) learnCaps(sess *session) {
	c := sess.presence.Child(nsCaps, "c")
	key := c.Get("node") + "#" + c.Get("ver")
	if c == nil || key == sess.caps {
		return
	}
	sess.caps, sess.asked = key, s.newID()
	iq := xmltree.New(nsClient, "iq", xmltree.New(nsInfo, "query").Set("node", key)).Set("type", "get").Set("id", sess.asked)
	s.deliver(sess, addressed(iq, sess.user.addr, sess.addr))
}

// learned takes the answer, and tells whether it was one.
func (s *Server) learned(sess *session, st *stanza) bool {
	if sess.asked == "" || st.Get("id") != sess.asked || st.to.bare() != sess.user.addr {
		return false
	}
	sess.asked, sess.wants = "", nil
	n := 0
	for f := range st.Child(nsInfo, "query").Named(nsInfo, "feature") {
		if n++; n > maxFeatures {
			break
		}
		if node, ok := cutNotify(f.Get("var")); ok {
			if sess.wants == nil {
				sess.wants = make(map[string]bool)
			}
			sess.wants[node] = true
		}
	}
	s.sendLastItems(sess)
	return true
}
