package siptest

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Errors of methods that are to change a conference, or somebody in it.
var (
	ErrNoConference = errors.New("siptest: no such conference")
	ErrNoMember     = errors.New("siptest: no such member of the conference")
)

// ConferenceInfo is a conference in the lab.
type ConferenceInfo struct {
	// URI is where others can join it.
	URI string
	// Creator is the user who has made it.
	Creator string
	// Since is when.
	Since time.Time
	// Members are its parties, in the order they came, and behind them those
	// who are called.
	Members []ConferenceMember
}

// ConferenceMember is a party of a conference: one device.
type ConferenceMember struct {
	// User is whose device it is.
	User string
	// Device is how transcripts call it; "" for who is being called.
	Device string
	// CallID is that of the dialog with the device; "" for who is being called.
	CallID string
	// Since is when the party came.
	Since time.Time
	// In says that it has been answered, or has answered.
	In bool
	// Invited says that the lab has called it.
	Invited bool
	// Muted says that the others do not hear it.
	Muted bool
	// Held says that it has the conference on hold.
	Held bool
}

// Conferences are the conferences in the lab, the oldest first. There are none
// while the lab is down.
func (s *Server) Conferences() []ConferenceInfo {
	var all []ConferenceInfo
	_ = s.run(func(l *life, _ time.Time) {
		for _, c := range l.conferences {
			all = append(all, c.info())
		}
	})
	slices.SortFunc(all, func(a, b ConferenceInfo) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.URI, b.URI))
	})
	return all
}

func (c *conference) info() ConferenceInfo {
	uri := c.uri()
	info := ConferenceInfo{URI: sipwire.FormatURI(&uri), Creator: c.creator.Name, Since: c.since}
	for _, s := range c.seats {
		info.Members = append(info.Members, ConferenceMember{
			User: s.e.user.Name, Device: c.l.srv.loc.whoIs(placeOf(s.e.flow)), CallID: s.e.m.ID(),
			Since: s.since, In: s.in, Invited: s.invited, Muted: s.isMuted(), Held: s.held(),
		})
	}
	for _, i := range c.calling {
		info.Members = append(info.Members, ConferenceMember{User: i.b.callee.Name, Invited: true})
	}
	return info
}

// MuteMember keeps what a member of a conference says from the others, or lets
// it be heard again. A member is named by its user, which means all of that user's
// devices, or by its CallID; the conference by its URI. The error is
// ErrNoConference or ErrNoMember.
func (s *Server) MuteMember(conference, member string, on bool) error {
	return s.members(conference, member, func(_ time.Time, s *seat) {
		s.mute(on)
		s.c.changed()
	})
}

// DropMember lets a member leave a conference: it gets BYE. See MuteMember.
func (s *Server) DropMember(conference, member string) error {
	return s.members(conference, member, func(now time.Time, s *seat) { s.e.m.Hangup(now) })
}

// EndConference ends a conference: all members get BYE. The error is
// ErrNoConference.
func (s *Server) EndConference(conference string) error {
	return s.conference(conference, func(c *conferenceNow) error {
		c.end(c.now)
		return nil
	})
}

type conferenceNow struct {
	*conference
	now time.Time
}

// conference runs fn with a conference, in the loop.
func (s *Server) conference(uri string, fn func(c *conferenceNow) error) error {
	at, err := sipwire.ParseURI(uri)
	if err != nil {
		return ErrNoConference
	}
	if down := s.run(func(l *life, now time.Time) {
		if c := l.conferenceAt(&at); c != nil {
			err = fn(&conferenceNow{c, now})
		} else {
			err = ErrNoConference
		}
	}); down != nil {
		return down
	}
	return err
}

// members runs fn with members of a conference, in the loop.
func (s *Server) members(conference, member string, fn func(now time.Time, s *seat)) error {
	return s.conference(conference, func(c *conferenceNow) error {
		err := ErrNoMember
		for _, s := range slices.Clone(c.seats) {
			if s.e.user.Name == member || s.e.m.ID() == member {
				err = nil
				fn(c.now, s)
			}
		}
		return err
	})
}
