package muc

import (
	"context"
	"errors"
	"fmt"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// maxMembers bounds a list that a room gives out; what is beyond is left out.
const maxMembers = 100000

// errAnswer says that a room answered something else.
var errAnswer = errors.New("muc: the answer is not to what was asked")

// Member is somebody with an affiliation, in the room or not (XEP-0045 §9).
type Member struct {
	JID         jid.JID // bare, or a whole domain; the zero JID in lists of roles, where the room does not show it
	Nick        string  // that they have, or that is reserved for them; "" is none
	Affiliation Affiliation
	Role        Role   // in lists of roles
	Reason      string // of a ban above all
}

// SetRole changes what an occupant may do until they leave (§8.4, §9.6): RoleVisitor takes the voice away,
// RoleParticipant gives it, RoleModerator, RoleNone removes. The error is a stanza.Error:
// Forbidden, NotAllowed (§8.2: nobody is kicked by who has less to say), ItemNotFound.
func (room *Room) SetRole(ctx context.Context, nick string, role Role, reason string) error {
	item := xmltree.New(NSAdmin, "item").Set("nick", nick).Set("role", string(role))
	return room.administer(ctx, because(item, NSAdmin, reason))
}

// Kick removes an occupant, who may come back (§8.2).
func (room *Room) Kick(ctx context.Context, nick, reason string) error {
	return room.SetRole(ctx, nick, RoleNone, reason)
}

// SetAffiliation changes how somebody stands to the room (§9.3 to §10.7): AffiliationOutcast bans a person or a domain,
// AffiliationNone takes any away. The error is a stanza.Error: Forbidden, NotAllowed, Conflict (§10.4: no last owner resigns).
func (room *Room) SetAffiliation(ctx context.Context, who jid.JID, a Affiliation, reason string) error {
	return room.SetMembers(ctx, Member{JID: who, Affiliation: a, Reason: reason})
}

// Ban removes somebody and keeps them out (§9.1).
func (room *Room) Ban(ctx context.Context, who jid.JID, reason string) error {
	return room.SetAffiliation(ctx, who, AffiliationOutcast, reason)
}

// SetMembers changes the affiliations of several (§9.2, §9.5, §10.5, §10.8). Those not named stay as they
// are. Each is a request of its own: of several in one, Prosody takes the first and confirms them all. It stops at the
// first that is refused.
func (room *Room) SetMembers(ctx context.Context, members ...Member) error {
	for _, m := range members {
		item := xmltree.New(NSAdmin, "item").Set("affiliation", string(m.Affiliation)).Set("jid", m.JID.Bare().String()).Set("nick", m.Nick)
		if err := room.administer(ctx, because(item, NSAdmin, m.Reason)); err != nil {
			return fmt.Errorf("muc: %s: %w", m.JID.Bare(), err)
		}
	}
	return nil
}

// Members lists those with an affiliation (§9.2, §9.5, §10.5, §10.8). Who may see which list is the room's business:
// the error is a stanza.Error, Forbidden above all.
func (room *Room) Members(ctx context.Context, a Affiliation) ([]Member, error) {
	return room.list(ctx, xmltree.New(NSAdmin, "item").Set("affiliation", string(a)))
}

// ByRole lists occupants with a role (§8.5, §9.8), which Occupants tells as well, except what only moderators may see.
func (room *Room) ByRole(ctx context.Context, role Role) ([]Member, error) {
	return room.list(ctx, xmltree.New(NSAdmin, "item").Set("role", string(role)))
}

func (room *Room) administer(ctx context.Context, item *xmltree.Element) error {
	_, err := room.rooms.c.Set(ctx, room.addr, xmltree.New(NSAdmin, "query", item))
	return err
}

func (room *Room) list(ctx context.Context, item *xmltree.Element) ([]Member, error) {
	answer, err := room.rooms.c.Get(ctx, room.addr, xmltree.New(NSAdmin, "query", item))
	if err != nil {
		return nil, err
	}
	if !answer.Is(NSAdmin, "query") {
		return nil, errAnswer
	}
	var all []Member
	for item := range answer.Named(NSAdmin, "item") {
		if len(all) == maxMembers {
			break
		}
		all = append(all, Member{
			JID: parseReal(item.Get("jid")), Nick: clip(item.Get("nick")), Reason: clip(item.Child(NSAdmin, "reason").Text()),
			Affiliation: parseAffiliation(item.Get("affiliation")), Role: parseRole(item.Get("role")),
		})
	}
	return all, nil
}

// because adds a reason, if there is one.
func because(e *xmltree.Element, space, reason string) *xmltree.Element {
	if reason != "" {
		e.Add(xmltree.NewText(space, "reason", reason))
	}
	return e
}
