package muc

import (
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Occupant is somebody in a room, as the room shows them.
type Occupant struct {
	JID  jid.JID // room@service/nick
	Nick string  // as the room has it
	// Unsafe tells that the nick is one that PRECIS refuses (RFC 7622 §3.4), or too long: it
	// may look like another's. Such nicks are kept, since the room has them.
	Unsafe bool
	Self   bool // that is us

	// Real is who it is, bare or full; the zero JID where the room does not show it (XEP-0045 §4.2).
	Real jid.JID
	// ID is the same for the same person whatever the nick, also after a return (XEP-0421); "" if the room
	// does not announce that it gives them: then an occupant could have made it up.
	ID string
	// Epoch is one unbroken presence: no two occupants have the same, nor the same person
	// after having left. A change of nick does not break it; joining anew does, as nobody tells who left meanwhile.
	Epoch uint64

	Role        Role
	Affiliation Affiliation
	Show        xmpp.Show
	Status      string
	Hats        []Hat

	claimed string // the occupant-id, announced or not
}

// Hat is what somebody wears in a room, such as "Speaker" (XEP-0317).
type Hat struct {
	URI   string // the same for all who wear it
	Title string // for people
	// Announced tells that the room announces that it gives hats. Servers that do
	// so without announcing it are known; on any other an occupant could have made it up.
	Announced bool
}

// Author is who somebody is for all that only its author may do, such as to correct a
// message: equal for equal occupants, and for nobody else. It rests on ID where the room has those, else on Epoch.
func (o Occupant) Author() string {
	if o.ID != "" {
		return "id:" + o.ID
	}
	return "epoch:" + strconv.FormatUint(o.Epoch, 16)
}

// Namespaces of hats. Prosody and ejabberd have one of their own each, neither the XEP's.
const (
	nsHats         = "urn:xmpp:hats:0"
	nsHatsProsody  = "xmpp:prosody.im/protocol/hats:1"
	nsHatsEjabberd = "http://prosody.im/protocol/hats"
)

func parseHats(payload []*xmltree.Element, info *xmpp.Info) []Hat {
	var hats []Hat
	for _, e := range payload {
		space := e.Name.Space
		if e.Name.Local != "hats" || space != nsHats && space != nsHatsProsody && space != nsHatsEjabberd {
			continue
		}
		announced := info.Has(space) || space == nsHatsEjabberd && info.Has(nsHats)
		for h := range e.Named(space, "hat") {
			if len(hats) == maxHats {
				return hats
			}
			if uri := h.Get("uri"); uri != "" {
				hats = append(hats, Hat{clip(uri), clip(h.Get("title")), announced})
			}
		}
	}
	return hats
}

// occupants are those in a room, by nick.
type occupants struct {
	byNick map[string]*Occupant
	bytes  int // of nicks
}

// put adds an occupant, in the place of one with the same nick. False tells that there are too many.
func (t *occupants) put(o *Occupant) bool {
	old := t.byNick[o.Nick]
	if old == nil && !o.Self && (len(t.byNick) >= maxOccupants || t.bytes+len(o.Nick) > maxNickBytes) {
		return false
	}
	if t.byNick == nil {
		t.byNick = make(map[string]*Occupant)
	}
	if old == nil {
		t.bytes += len(o.Nick)
	}
	t.byNick[o.Nick] = o
	return true
}

func (t *occupants) remove(nick string) *Occupant {
	o := t.byNick[nick]
	if o != nil {
		delete(t.byNick, nick)
		t.bytes -= len(o.Nick)
	}
	return o
}

// byID finds somebody by occupant-id.
func (t *occupants) byID(id string) *Occupant {
	for _, o := range t.byNick {
		if o.ID == id {
			return o
		}
	}
	return nil
}

// update takes what a presence says of an occupant.
func (o *Occupant) update(p *xmpp.Presence, u *user, info *xmpp.Info) {
	o.Role, o.Affiliation = u.role, u.affiliation
	if u.real.Domainpart() != "" {
		o.Real = u.real
	}
	o.claimed = occupantID(p.Payload)
	o.vouch(info)
	o.Show, o.Status = p.Show(), clip(p.Status())
	o.Hats = parseHats(p.Payload, info)
}

// maxID bounds occupant ids (XEP-0421 §3.1 allows 128 characters).
const maxID = 1024

// occupantID returns the occupant-id of a stanza, which is the room's only if it announces them (XEP-0421 §4).
func occupantID(payload []*xmltree.Element) string {
	for _, e := range payload {
		if !e.Is(NSOccupant, "occupant-id") {
			continue
		}
		if id := e.Get("id"); len(id) <= maxID {
			return strings.Clone(id)
		}
		break
	}
	return ""
}

// vouch takes the occupant-id for true if the room announces them.
func (o *Occupant) vouch(info *xmpp.Info) {
	if o.ID = ""; info.Has(NSOccupant) {
		o.ID = o.claimed
	}
}
