package muc

import (
	"context"
	"iter"
	"slices"
)

// ChangeKind is what has happened in a room.
type ChangeKind uint8

// The kinds of changes, and which fields of a Change belong to them.
const (
	// Missed says that changes were dropped: read Occupants, Subject and Info anew.
	Missed ChangeKind = iota
	// Synced says that we are in the room, for the first time or again: Occupants is complete and new. Codes.
	Synced
	// Entered: Occupant.
	Entered
	// Gone says that somebody left or was removed: Occupant as it was last, Cause, Reason, Actor.
	Gone
	// Renamed is a change of nick: Occupant, Before.
	Renamed
	// Updated is a change of role, affiliation, presence or hats: Occupant, Before, Reason, Actor.
	Updated
	// SubjectChanged: Subject; Occupant is who set it, if it is known.
	SubjectChanged
	// Configured says that the configuration has changed: Codes tells in what (104, 170 to 174).
	Configured
	// InfoChanged says that Info is new, some time after Configured.
	InfoChanged
	// AffiliationChanged tells of somebody who is not in the room (XEP-0045 §9.3): Member.
	AffiliationChanged
	// Declined is an invitation of ours that was declined: Actor, Reason.
	Declined
	// VoiceRequested is a visitor who wants to speak (§8.6); only moderators are told: Voice.
	VoiceRequested
	// Left says that we are out of the room, but will be back: Err says why, an *ExitError if the room sent us away.
	Left
	// Ended says that we are out of the room for good: Err and, if the room sent us away, Cause, Reason, Actor
	// and Destruction. It is the last one.
	Ended
)

// Cause is why an occupant is gone.
type Cause uint8

// The causes.
const (
	CauseLeft        Cause = iota
	CauseKicked            // by a moderator (307)
	CauseBanned            // (301)
	CauseAffiliation       // lost the affiliation that the room wants (321)
	CauseMembersOnly       // the room is for members now (322)
	CauseShutdown          // the service shuts down (332)
	CauseError             // a technical problem, mostly of the occupant's connection (333)
	CauseDestroyed         // and the room with them
)

func (c Cause) String() string {
	return [...]string{"left", "kicked", "banned", "affiliation changed", "members only", "shutdown", "error", "destroyed"}[min(c, CauseDestroyed)]
}

func (u *user) cause() Cause {
	switch {
	case u.destroyed != nil:
		return CauseDestroyed
	case u.has(codeBanned):
		return CauseBanned
	case u.has(codeError): // Prosody sends 307 with it
		return CauseError
	case u.has(codeShutdown):
		return CauseShutdown
	case u.has(codeMembersOnly):
		return CauseMembersOnly
	case u.has(codeAffiliation):
		return CauseAffiliation
	case u.has(codeKicked):
		return CauseKicked
	}
	return CauseLeft
}

// Change is something that has happened in a room. Which fields it has depends on Kind.
type Change struct {
	Kind        ChangeKind
	Occupant    Occupant // after it
	Before      Occupant
	Cause       Cause
	Reason      string
	Actor       Actor
	Codes       []int // status codes (XEP-0045 §15.6)
	Subject     string
	Member      Member
	Voice       *VoiceRequest
	Destruction *Destruction
	Err         error
}

// maxChanges bounds what waits for a reader of Changes.
const maxChanges = 1024

// Changes yields what happens in the room, beginning now. Several may follow; each
// sees all. A reader who falls behind by 1,024 changes loses them and gets one Missed instead. Changes of the
// same occupant in a row that nobody has looked at are one. It ends after Ended, with ctx or the client.
func (room *Room) Changes(ctx context.Context) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := room.watch()
		defer room.unwatch(w)
		for {
			changes, over := room.take(w)
			for i := range changes {
				if !yield(changes[i]) {
					return
				}
			}
			switch {
			case len(changes) > 0:
				continue
			case over:
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// watcher is a reader of changes.
type watcher struct {
	changes []Change
	wake    chan struct{} // with room for one
}

func (room *Room) watch() *watcher {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	w := &watcher{wake: make(chan struct{}, 1)}
	room.watchers = append(room.watchers, w)
	return w
}

func (room *Room) unwatch(w *watcher) {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	room.watchers = slices.DeleteFunc(room.watchers, func(o *watcher) bool { return o == w })
}

func (room *Room) take(w *watcher) (changes []Change, over bool) {
	room.rooms.mu.Lock()
	defer room.rooms.mu.Unlock()
	changes, w.changes = w.changes, nil
	return changes, room.state == Over
}

// tell lets readers know; the lock is held.
func (room *Room) tell(c Change) {
	for _, w := range room.watchers {
		w.put(c)
	}
}

func (w *watcher) put(c Change) {
	n := len(w.changes)
	switch {
	case n > 0 && c.Kind == Updated && w.changes[n-1].Kind == Updated && w.changes[n-1].Occupant.Epoch == c.Occupant.Epoch:
		c.Before = w.changes[n-1].Before
		w.changes[n-1] = c
	case n >= maxChanges:
		w.changes = []Change{{Kind: Missed}, c}
	default:
		w.changes = append(w.changes, c)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
