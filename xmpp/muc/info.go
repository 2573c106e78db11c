package muc

import (
	"context"
	"slices"
	"strconv"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Info is what a room says of itself to anybody who asks (XEP-0045 §6.4, §15.3, §15.5.4).
type Info struct {
	*xmpp.Info // as it came; nil if the room did not tell

	Name        string // for people
	Description string
	Lang        string
	Subject     string
	Occupants   int // that are in it; -1 is not told

	MembersOnly   bool
	Moderated     bool // visitors have no voice
	ShowsReal     bool // to everybody; else to moderators
	Password      bool // it wants one
	Persistent    bool // it stays when the last one leaves
	Hidden        bool // it is in no list
	Archive       bool // XEP-0313
	OccupantIDs   bool // XEP-0421
	Moderation    bool // XEP-0425, in either version
	ChangeSubject bool // everybody with a voice may change the subject
}

func newInfo(i *xmpp.Info) *Info {
	info := &Info{
		Info: i, Occupants: -1, MembersOnly: i.Has("muc_membersonly"), Moderated: i.Has("muc_moderated"),
		ShowsReal: i.Has("muc_nonanonymous"), Password: i.Has("muc_passwordprotected"), Persistent: i.Has("muc_persistent"),
		Hidden: i.Has("muc_hidden"), Archive: i.Has("urn:xmpp:mam:2"), OccupantIDs: i.Has(NSOccupant),
		Moderation: i.Has(nsModerate) || i.Has(nsModerateOld),
	}
	if i == nil {
		return info
	}
	for _, id := range i.Identities {
		if id.Category == "conference" && info.Name == "" {
			info.Name = id.Name
		}
	}
	for _, e := range i.Forms {
		d, err := form.Parse(e)
		if err != nil || d.FormType() != NS+"#roominfo" {
			continue
		}
		info.Description, info.Lang, info.Subject = d.Get("muc#roominfo_description"), d.Get("muc#roominfo_lang"), d.Get("muc#roominfo_subject")
		if n, err := strconv.ParseUint(d.Get("muc#roominfo_occupants"), 10, 31); err == nil {
			info.Occupants = int(n)
		}
		info.ChangeSubject, _ = d.Bool("muc#roominfo_changesubject")
	}
	return info
}

// Info is what the room said of itself when it was joined, or after its configuration has changed.
func (room *Room) Info() *Info {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	return newInfo(room.info)
}

// Info asks a room, which need not be joined, what it is. The error is a stanza.Error, ItemNotFound if there is none.
func (r *Rooms) Info(ctx context.Context, addr jid.JID) (*Info, error) {
	i, err := r.c.Info(ctx, addr.Bare(), "")
	if err != nil {
		return nil, err
	}
	return newInfo(i), nil
}

// List asks a service for its rooms (§6.3): those that everybody may see.
func (r *Rooms) List(ctx context.Context, service jid.JID) ([]xmpp.Item, error) {
	return r.c.Items(ctx, service, "")
}

// maxServices bounds the items of a server that are asked what they are.
const maxServices = 100

// Services finds the services for rooms of a server (§6.1); the zero JID is our own server.
func (r *Rooms) Services(ctx context.Context, server jid.JID) ([]xmpp.Item, error) {
	if server.Domainpart() == "" {
		server = r.c.Account().Domain()
	}
	items, err := r.c.Items(ctx, server, "")
	if err != nil {
		return nil, err
	}
	var services []xmpp.Item
	for _, item := range items[:min(len(items), maxServices)] {
		known := func(s xmpp.Item) bool { return s.JID.Equal(item.JID) }
		if item.Node != "" || slices.ContainsFunc(services, known) {
			continue
		}
		info, err := r.c.Info(ctx, item.JID, "")
		if ctx.Err() != nil {
			return services, context.Cause(ctx)
		}
		if err == nil && info.Has(NS) && info.Is("conference", "text") {
			services = append(services, item)
		}
	}
	return services, nil
}

// ReservedNick asks a room which nick is reserved for us (§7.12); "" is none.
func (r *Rooms) ReservedNick(ctx context.Context, addr jid.JID) (string, error) {
	i, err := r.c.Info(ctx, addr.Bare(), "x-roomuser-item")
	if err != nil {
		return "", err
	}
	for _, id := range i.Identities {
		if id.Category == "conference" && id.Type == "text" {
			return clip(id.Name), nil
		}
	}
	return "", nil
}

// UniqueName asks a service for the name of a room that does not exist (XEP-0307). Where it gives none, it is a name that nobody can guess.
func (r *Rooms) UniqueName(ctx context.Context, service jid.JID) (jid.JID, error) {
	const nsUnique = NS + "#unique"
	name := xmpp.NewID()
	answer, err := r.c.Get(ctx, service, xmltree.New(nsUnique, "unique"))
	if err == nil && answer.Is(nsUnique, "unique") && answer.Text() != "" {
		name = answer.Text()
	} else if ctx.Err() != nil {
		return jid.JID{}, context.Cause(ctx)
	}
	return service.WithLocal(name)
}
