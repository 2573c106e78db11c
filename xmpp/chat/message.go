package chat

import (
	"slices"
	"time"
)

// Message is a message as the user sees it: with its corrections and reactions,
// and taken back if that is so. It is a value: nothing of it changes once it was handed out.
type Message struct {
	// ID is ours and never changes. What servers and other clients call the
	// message are aliases, which the store knows.
	ID string
	// Chat is whose conversation it belongs to: the bare address of a person or
	// room, the full one of somebody in a room for what is said in private there.
	Chat   string
	Author Author
	// Time is when it was sent, as far as an archive or the sender's server tells; else when it came.
	Time time.Time

	Body    string // what to show: of the last correction, without the fallback for old clients; "" after a retraction
	Subject string
	Thread  string // RFC 6121 §5.2.5; "" is none
	Parent  string // of the thread
	Reply   *Reply // to what it is an answer, XEP-0461; nil is none
	// Mentions are the addresses that it speaks to (XEP-0372), as ranges of Body.
	Mentions []Mention
	// Links are addresses of files and the like (XEP-0066).
	Links []string
	// Forwarded is the message that it passes on (XEP-0297); nil is none.
	Forwarded *Forwarded

	Extra string // further elements of one's own message, as XML

	Versions  []Version   // what it said before each correction (XEP-0308), the oldest first
	Retracted *Retraction // nil unless it was taken back
	Reactions []Reaction  // one for each who has reacted (XEP-0444), in the order of their addresses

	State   State  // of one's own message; Received of others'
	Failure string // why State is Failed, for people

	WireID    string // the attribute id, and origin-id
	ArchiveID string // what the conversation's archive calls it (XEP-0359): the room's, or one's own account's

	// Seq is the order in which messages came, for those of the same Time. The store gives it.
	Seq uint64
	// Changed grows with each change of anything in the store: see Store.Changes.
	Changed uint64
}

// Author is who has written something.
type Author struct {
	Address  string // bare of a person, full of an occupant of a room
	Occupant string // of a room, XEP-0421; "" where the room has none
	// Epoch is of a room without occupant ids: the unbroken presence in which the nick was his. 0 is unknown, as in an archive.
	Epoch uint64
	Mine  bool // it is us, with whatever client
}

// same tells whether two are the same author. Where a room names occupants, the
// name alone decides: nicks change hands.
func (a Author) same(b Author) bool {
	if a.Mine && b.Mine {
		return true
	}
	if a.Occupant != "" || b.Occupant != "" {
		return a.Occupant == b.Occupant
	}
	return a.Address == b.Address && a.Epoch == b.Epoch
}

// me is the key of what we have written, in whatever room and with whatever client.
const me = "\x00me"

// key is what the author is called in aliases and lists.
func (a Author) key() string {
	if a.Mine {
		return me
	}
	if a.Occupant != "" {
		return "\x00o" + a.Occupant // no address begins so
	}
	return a.Address
}

// Reply is what a message answers to.
type Reply struct {
	Ref   string // what the sender calls the other message
	To    string // who wrote that, by the sender's word; "" if it does not say
	ID    string // the other message, if it is known here; else ""
	Quote string // the fallback for old clients, without its marks; "" is none
}

// Mention is a range of Body that names somebody.
type Mention struct {
	Begin, End int    // in code points, End not included
	URI        string // such as "xmpp:juliet@capulet.lit"
}

// Version is what a message said before a correction.
type Version struct {
	Body string
	Time time.Time // until when
}

// Retraction says that a message was taken back.
type Retraction struct {
	Time   time.Time
	By     string // of a moderator (XEP-0425), as the room names him; "" if it was its author
	Reason string
}

// Reaction is what somebody thinks of a message.
type Reaction struct {
	Author Author
	Emojis []string
	Time   time.Time
}

// Forwarded is a message that another passes on. That it is genuine is the sender's word alone.
type Forwarded struct {
	From, Body string
	Time       time.Time
}

// State is what became of one's own message. It only grows, but for Failed.
type State uint8

// The states.
const (
	Received  State = iota // a message of somebody else's
	Queued                 // safe in the store, to be sent
	Sent                   // given to the server
	Archived               // the server, or the room, has it
	Delivered              // a client of the other's has it (XEP-0184)
	Displayed              // the other has seen it (XEP-0333)
	Failed                 // it was refused; Message.Failure says why
)

func (s State) String() string {
	return [...]string{"received", "queued", "sent", "archived", "delivered", "displayed", "failed"}[min(s, Failed)]
}

// clone returns a copy whose slices may be changed.
func (m *Message) clone() *Message {
	c := *m
	c.Versions, c.Reactions = slices.Clone(m.Versions), slices.Clone(m.Reactions)
	return &c
}
