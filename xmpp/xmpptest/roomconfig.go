package xmpptest

import (
	"encoding/xml"
	"slices"
	"strconv"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsRoomConfig = nsMUC + "#roomconfig"

// maxHistory bounds what who joins is sent; it is also the default's twofold.
const maxHistory = 40

// roomConfig is how a room is to be (XEP-0045 §15.5.3).
type roomConfig struct {
	name, description string
	password          string
	private           string // who may send private messages: "anyone", "participants", "moderators", "none"
	persistent        bool
	hidden            bool
	members           bool // only members may enter
	moderated         bool
	anyone            bool // sees real addresses, not only moderators
	subject           bool // is changed by everybody
	invites           bool // are for everybody
	archives          bool
	maxUsers          int
	history           int // messages for who joins
}

func defaultRoom(s *Server) roomConfig {
	return roomConfig{private: "anyone", invites: true, archives: true, maxUsers: s.cfg.Limits.Occupants, history: maxHistory / 2}
}

// fields are what can be configured, as muc#roomconfig_NAME.
func (c *roomConfig) fields() [][3]string {
	whois := "moderators"
	if c.anyone {
		whois = "anyone"
	}
	return [][3]string{
		{"roomname", "text-single", c.name}, {"roomdesc", "text-single", c.description}, {"persistentroom", "boolean", flag(c.persistent)},
		{"publicroom", "boolean", flag(!c.hidden)}, {"membersonly", "boolean", flag(c.members)}, {"moderatedroom", "boolean", flag(c.moderated)},
		{"passwordprotectedroom", "boolean", flag(c.password != "")}, {"roomsecret", "text-private", c.password}, {"whois", "list-single", whois},
		{"changesubject", "boolean", flag(c.subject)}, {"allowinvites", "boolean", flag(c.invites)}, {"allowpm", "list-single", c.private},
		{"maxusers", "list-single", strconv.Itoa(c.maxUsers)}, {"enablearchiving", "boolean", flag(c.archives)}, {"historylength", "text-single", strconv.Itoa(c.history)},
	}
}

// set changes a field and says whether it can have this value. protect is what the form says of the password.
func (c *roomConfig) set(name, v string, limit int, protect *string) bool {
	number := func(p *int, most int) bool {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return false
		}
		*p = min(n, most)
		return true
	}
	switch name {
	case "roomname":
		c.name = v
	case "roomdesc":
		c.description = v
	case "persistentroom":
		c.persistent = isTrue(v)
	case "publicroom":
		c.hidden = !isTrue(v)
	case "membersonly":
		c.members = isTrue(v)
	case "moderatedroom":
		c.moderated = isTrue(v)
	case "passwordprotectedroom":
		*protect = flag(isTrue(v))
	case "roomsecret":
		c.password = v
	case "whois":
		c.anyone = v == "anyone"
		return v == "anyone" || v == "moderators"
	case "changesubject":
		c.subject = isTrue(v)
	case "allowinvites":
		c.invites = isTrue(v)
	case "allowpm":
		c.private = v
		return slices.Contains([]string{"anyone", "participants", "moderators", "none"}, v)
	case "maxusers":
		if v == "" || v == "none" {
			c.maxUsers = limit
			return true
		}
		return number(&c.maxUsers, limit)
	case "enablearchiving", "enablelogging":
		c.archives = isTrue(v)
	case "historylength":
		return number(&c.history, maxHistory)
	}
	return true // unknown fields are ignored (XEP-0004 §3.2)
}

// roomOwner configures and destroys a room (XEP-0045 §10).
func roomOwner(s *Server, q *request) (*xmltree.Element, *stanzaError) {
	r := roomOf(s, q)
	if r.affiliation(q.from) != "owner" {
		return nil, errForbidden
	}
	if !q.set {
		x := xmltree.New(nsData, "x", xmltree.NewText(nsData, "title", "Configuration of "+r.addr.local), field("FORM_TYPE", "hidden", nsRoomConfig)).Set("type", "form")
		for _, f := range r.cfg.fields() {
			x.Add(field("muc#roomconfig_"+f[0], f[1], f[2]))
		}
		return xmltree.New(nsMUCOwner, "query", x), nil
	}
	if d := q.payload.Child(nsMUCOwner, "destroy"); d != nil {
		s.deliver(q.sess, q.result(nil))
		s.destroy(r, d)
		return nil, errAnswered
	}
	x := q.payload.Child(nsData, "x")
	switch x.Get("type") {
	case "cancel":
		if r.locked { // §10.1.4
			s.destroy(r, xmltree.New(nsMUCOwner, "destroy"))
		}
		return nil, nil
	case "submit":
		return s.configureRoom(r, q, x)
	}
	return nil, errBadRequest
}

func (s *Server) configureRoom(r *room, q *request, x *xmltree.Element) (*xmltree.Element, *stanzaError) {
	changed, protect := r.cfg, ""
	for f := range x.Named(nsData, "field") {
		name := f.Get("var")
		if len(name) > 15 && name[:15] == "muc#roomconfig_" {
			name = name[15:]
		}
		if !changed.set(name, f.Child(nsData, "value").Text(), s.cfg.Limits.Occupants, &protect) {
			return nil, errNotAcceptable
		}
	}
	switch {
	case protect == "0":
		changed.password = ""
	case protect == "1" && changed.password == "":
		return nil, errNotAcceptable // §10.1.3
	}
	before := r.cfg
	r.cfg = changed
	first := r.locked
	r.locked = false
	s.deliver(q.sess, q.result(nil))
	var status []int
	if before.anyone != changed.anyone {
		status = append(status, map[bool]int{true: 172, false: 173}[changed.anyone])
	}
	if before.archives != changed.archives {
		status = append(status, map[bool]int{true: 170, false: 171}[changed.archives])
	}
	if len(status) == 0 && before != changed {
		status = append(status, 104)
	}
	if !first && len(status) > 0 { // §10.2.1
		mu := xmltree.New(nsMUCUser, "x")
		for _, n := range status {
			mu.Add(xmltree.New(nsMUCUser, "status").Set("code", strconv.Itoa(n)))
		}
		for _, o := range slices.Clone(r.occupants) {
			for _, real := range slices.Clone(o.sessions) {
				s.route(addressed(xmltree.New(nsClient, "message", mu).Set("type", "groupchat").Set("id", s.newID()), r.addr, real))
			}
		}
	}
	if changed.members && !before.members { // §9.4
		for _, o := range slices.Clone(r.occupants) {
			if r.affiliation(o.user) == "none" {
				s.expel(r, o, nil, 322)
			}
		}
	}
	return nil, errAnswered
}

// destroy ends a room (XEP-0045 §10.9). d says where to go instead, and why.
func (s *Server) destroy(r *room, d *xmltree.Element) {
	delete(s.rooms, r.addr.local)
	about := xmltree.New(nsMUCUser, "destroy").Set("jid", d.Get("jid"))
	for _, name := range []string{"reason", "password"} {
		if e := d.Child(nsMUCOwner, name); e != nil {
			about.Add(xmltree.NewText(nsMUCUser, name, e.Text()))
		}
	}
	for _, o := range r.occupants {
		for _, real := range o.sessions {
			if sess := s.session(real); sess != nil {
				delete(sess.directed, r.addr)
			}
			gone := xmltree.New(nsClient, "presence").Set("type", "unavailable")
			st := r.present(o, gone, "none", real, xmltree.New(nsMUCUser, "item").Set("affiliation", "none"))
			st.Child(nsMUCUser, "x").Add(about)
			s.route(st)
		}
	}
	r.occupants = nil
}

// roomTable says who answers requests to rooms.
func roomTable() iqTable {
	n := func(space, local string) xml.Name { return xml.Name{Space: space, Local: local} }
	return iqTable{
		n(nsInfo, "query"): roomInfo, n(nsItems, "query"): roomItems, n(nsPing, "ping"): pong, n(nsMUCAdmin, "query"): roomAdmin, n(nsMUCOwner, "query"): roomOwner,
		n(nsMAM, "query"): roomArchive, n(nsMAM, "metadata"): roomArchive, n(nsModerate, "moderate"): moderate, n(nsFasten, "apply-to"): moderate,
	}
}

func roomsInfo(*Server, *request) (*xmltree.Element, *stanzaError) {
	return info("", [][2]string{{"conference", "text"}}, nsInfo, nsItems, nsPing, nsMUC, nsMUC+"#self-ping-optimization", nsOccupant), nil
}

// roomsItems are the rooms that one may see (XEP-0045 §6.3).
func roomsItems(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	q := xmltree.New(nsItems, "query")
	var names []string
	for name, room := range s.rooms {
		if !room.locked && (!room.cfg.hidden || room.atLeast(r.from, "member")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		q.Add(item030(s.rooms[name].addr.String(), "", s.rooms[name].cfg.name))
	}
	return q, nil
}

// roomInfo tells what a room is like (XEP-0045 §6.4).
func roomInfo(s *Server, q *request) (*xmltree.Element, *stanzaError) {
	r := roomOf(s, q)
	switch q.payload.Get("node") {
	case "":
	case "x-roomuser-item": // §6.6.1: nobody has a reserved nick
		return xmltree.New(nsInfo, "query").Set("node", "x-roomuser-item"), nil
	default:
		return nil, errNotFound
	}
	pick := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	c := &r.cfg
	features := []string{
		nsInfo, nsItems, nsPing, nsMUC, nsStanzaID, nsOccupant, nsMUC + "#self-ping-optimization", nsModerate, nsModerate0, nsRetract,
		pick(c.hidden, "muc_hidden", "muc_public"), pick(c.members, "muc_membersonly", "muc_open"), pick(c.moderated, "muc_moderated", "muc_unmoderated"),
		pick(c.persistent, "muc_persistent", "muc_temporary"), pick(c.anyone, "muc_nonanonymous", "muc_semianonymous"),
		pick(c.password != "", "muc_passwordprotected", "muc_unsecured"),
	}
	if c.archives {
		features = append(features, nsMAM, nsMAM+"#extended")
	}
	e := info("", [][2]string{{"conference", "text"}}, features...)
	e.First().Set("name", c.name)
	x := xmltree.New(nsData, "x", field("FORM_TYPE", "hidden", nsMUC+"#roominfo"), field("muc#roominfo_description", "text-single", c.description),
		field("muc#roominfo_occupants", "text-single", strconv.Itoa(len(r.occupants))), field("muc#roomconfig_roomname", "text-single", c.name),
		field("muc#roominfo_subject", "text-single", r.subject.Child(nsClient, "subject").Text()))
	return e.Add(x.Set("type", "result")), nil
}

// roomItems are the occupants, for those who are among them (XEP-0045 §6.5).
func roomItems(s *Server, q *request) (*xmltree.Element, *stanzaError) {
	r := roomOf(s, q)
	list := xmltree.New(nsItems, "query")
	if r.occupantOf(q.from) != nil {
		for _, o := range r.occupants {
			list.Add(item030(r.addr.with(o.nick).String(), "", o.nick))
		}
	}
	return list, nil
}

// roomArchive answers from a room's archive who may enter it (XEP-0313 §7.1).
func roomArchive(s *Server, q *request) (*xmltree.Element, *stanzaError) {
	r := roomOf(s, q)
	affiliation := r.affiliation(q.from)
	switch {
	case !r.cfg.archives:
		return nil, errUnavailable
	case affiliation == "outcast", r.locked && affiliation != "owner",
		(r.cfg.members || r.cfg.password != "") && affiliation == "none" && r.occupantOf(q.from) == nil:
		return nil, errForbidden
	case q.payload.Name.Local == "metadata":
		return archiveEnds(&r.archive), nil
	}
	return s.queryArchive(q, &r.archive)
}
