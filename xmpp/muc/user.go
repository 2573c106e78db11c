package muc

import (
	"slices"
	"strconv"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Role is what somebody may do in a room while being in it (XEP-0045 §5.1).
type Role string

// The roles.
const (
	RoleNone        Role = "none" // not in the room
	RoleVisitor     Role = "visitor"
	RoleParticipant Role = "participant"
	RoleModerator   Role = "moderator"
)

// Affiliation is how somebody stands to a room, in it or not (§5.2).
type Affiliation string

// The affiliations.
const (
	AffiliationNone    Affiliation = "none"
	AffiliationOutcast Affiliation = "outcast" // banned
	AffiliationMember  Affiliation = "member"
	AffiliationAdmin   Affiliation = "admin"
	AffiliationOwner   Affiliation = "owner"
)

// parseRole reads a role; what is unknown is none. The result does not hold the stanza.
func parseRole(s string) Role {
	for _, r := range [...]Role{RoleVisitor, RoleParticipant, RoleModerator} {
		if s == string(r) {
			return r
		}
	}
	return RoleNone
}

func parseAffiliation(s string) Affiliation {
	for _, a := range [...]Affiliation{AffiliationOutcast, AffiliationMember, AffiliationAdmin, AffiliationOwner} {
		if s == string(a) {
			return a
		}
	}
	return AffiliationNone
}

// The status codes that decide something here (§15.6).
const (
	codeReal          = 100 // everybody sees everybody's real address
	codeSelf          = 110
	codeLogged        = 170
	codeNotLogged     = 171
	codeNowReal       = 172
	codeSemiAnonymous = 173
	codeAnonymous     = 174
	codeCreated       = 201
	codeBanned        = 301
	codeRenamed       = 303
	codeKicked        = 307
	codeAffiliation   = 321
	codeMembersOnly   = 322
	codeShutdown      = 332
	codeError         = 333
)

// Actor is who has done something to somebody. Rooms tell one of both, or none.
type Actor struct {
	JID  jid.JID // bare, where the room shows it
	Nick string
}

// Destruction is what is left of a room that was destroyed (§10.9).
type Destruction struct {
	Venue    jid.JID // where to go instead; the zero JID if nowhere
	Password string  // of the venue
	Reason   string
}

// user is what a room says about an occupant, or about itself (§15.5.2).
type user struct {
	role        Role
	affiliation Affiliation
	real        jid.JID
	nick        string // the next one, in a change of it
	actor       Actor
	reason      string
	codes       []int
	destroyed   *Destruction
}

func (u *user) has(code int) bool { return slices.Contains(u.codes, code) }

// parseUser reads the element x of muc#user, which may be nil.
func parseUser(x *xmltree.Element) user {
	u := user{role: RoleNone, affiliation: AffiliationNone}
	if item := x.Child(NSUser, "item"); item != nil {
		u.role, u.affiliation = parseRole(item.Get("role")), parseAffiliation(item.Get("affiliation"))
		u.real = parseReal(item.Get("jid"))
		u.nick = item.Get("nick")
		u.reason = clip(item.Child(NSUser, "reason").Text())
		if a := item.Child(NSUser, "actor"); a != nil {
			u.actor = Actor{parseReal(a.Get("jid")).Bare(), clip(a.Get("nick"))}
		}
	}
	for s := range x.Named(NSUser, "status") {
		if n, err := strconv.ParseUint(s.Get("code"), 10, 16); err == nil && len(u.codes) < maxCodes && !u.has(int(n)) {
			u.codes = append(u.codes, int(n))
		}
	}
	if d := x.Child(NSUser, "destroy"); d != nil {
		u.destroyed = &Destruction{parseReal(d.Get("jid")), clip(d.Child(NSUser, "password").Text()), clip(d.Child(NSUser, "reason").Text())}
	}
	return u
}

// parseReal reads an address that a room tells. A resource that PRECIS refuses is left out; what is no address at all is the zero JID.
func parseReal(s string) jid.JID {
	j, err := jid.Parse(s)
	if err == nil {
		return j
	}
	local, domain, _, err := jid.SplitString(s)
	if err != nil {
		return jid.JID{}
	}
	j, _ = jid.New(local, domain, "")
	return j
}

// occupantJID is the address of a nick in a room. A nick that PRECIS refuses
// (RFC 7622 §3.4), or that is too long, has one as well: the server let it pass.
func occupantJID(room jid.JID, nick string) (j jid.JID, unsafe bool) {
	if j, err := room.WithResource(nick); err == nil {
		return j, false
	}
	return jid.NewUnsafe(room.Localpart(), room.Domainpart(), nick).JID, true
}
