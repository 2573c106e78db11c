// Package offeranswer is the seam between a call and its media: the
// offer/answer exchange of RFC 3264 as a SIP call needs it.
//
// Package sip drives it and package media implements it; neither imports the
// other. Somebody who brings WebRTC, a recorder of their own or no media at
// all implements [Media] and [Leg] and gives a [New] to sip.Config.
//
// One [Media] serves one call. A call can have several dialogs, one after the
// other (a redirect, a pull, a Replaces) or side by side (an INVITE that
// forked): each is a [Leg]. All legs of one INVITE answer the same offer.
//
// # Errors
//
// An error that means a particular SIP answer implements [StatusCoder]. Any
// other error of Answer or SetAnswer means 488 (Not Acceptable Here,
// RFC 3261 §21.4.26).
//
// # Concurrency
//
// The methods of one Media and of its legs are called one at a time, but from
// different goroutines. They may block for as long as opening sockets takes:
// the call goes on meanwhile, and a result that comes too late is rolled back
// or closed.
package offeranswer

import (
	"context"
	"net/netip"
	"strconv"
)

// New makes the media of one call. The context ends with the attempt to make
// it, not with the call.
type New func(ctx context.Context, env Env) (Media, error)

// Env is what a call tells its media about where it lives.
type Env struct {
	// Local is the address the account's flow uses, and so the one the peer
	// most likely can reach. The zero value means unknown: media choose.
	Local netip.Addr

	// Secure says that the signalling is encrypted to the server, which is
	// when keys may travel in the SDP (RFC 4568 §7.1) and when SRTP is required by
	// default.
	Secure bool

	// Notify tells the call of something that it must act on. It does not
	// block, may be called from any goroutine, and is never nil.
	Notify func(Event)
}

// An Event is what media tell the call.
type Event struct {
	Kind EventKind
	// Leg is the dialog identifier of the leg concerned, "" for all of them.
	Leg string
	// Err says more where Kind is Failed or Timeout.
	Err error
}

// EventKind is what happened to the media.
type EventKind int

// The kinds of events.
const (
	// NeedOffer asks for a new offer/answer exchange: the address changed,
	// keys near the end of their life, ICE has to restart.
	NeedOffer EventKind = iota + 1
	// Started tells that the peer of the selected leg is heard: the first of
	// its sound was decoded and is due. It comes once for each leg.
	Started
	// Timeout tells that the peer has been silent for longer than the media
	// allow. The call goes on until somebody ends it.
	Timeout
	// Failed tells that media cannot go on. The call is ended.
	Failed
)

func (k EventKind) String() string {
	switch k {
	case NeedOffer:
		return "need offer"
	case Started:
		return "started"
	case Timeout:
		return "timeout"
	case Failed:
		return "failed"
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}

// Media is the media of one call. It outlives the call's dialogs.
type Media interface {
	// Offer makes the session description of the first INVITE, which none,
	// one or many legs answer. It is called at most once at a time, and again
	// only for a new INVITE (after a redirect, say).
	Offer(ctx context.Context, o Options) ([]byte, error)

	// Leg returns the leg for a dialog, made at first use. Made while an
	// offer of Offer is open, the leg inherits it and waits for SetAnswer;
	// otherwise it waits for Answer or Offer.
	Leg(dialog string) (Leg, error)

	// Select makes one leg the one that is heard and sent to. The first leg
	// that agrees on anything is selected by itself. A move from one leg to
	// another makes before it breaks: what is sent goes to the new leg at once,
	// and the former is heard until Started tells of the new one, or for half a
	// second. If the new leg is closed, the former is selected again.
	Select(Leg) error

	// Rebind moves the sockets to another local address. What was agreed
	// changes with the next offer.
	Rebind(ctx context.Context, local netip.Addr) error

	// Close releases everything. Legs are closed with it. It is idempotent.
	Close() error
}

// Leg is the media of one dialog, early or confirmed.
type Leg interface {
	// Offer makes an offer within the dialog (re-INVITE, UPDATE, or the 2xx
	// of an INVITE without one). It stays open until SetAnswer or Rollback.
	Offer(ctx context.Context, o Options) ([]byte, error)

	// Answer makes the answer to the peer's offer. It is staged: what was
	// agreed before stays in force until Commit, and comes back with Rollback.
	Answer(ctx context.Context, offer []byte, o Options) ([]byte, error)

	// SetAnswer takes the peer's answer to the open offer. A provisional
	// answer (one in an unreliable 1xx, RFC 3261 §13.2.1) takes effect but
	// may be superseded by another SetAnswer.
	SetAnswer(ctx context.Context, sdp []byte, provisional bool) error

	// Commit makes the staged answer the agreed one.
	Commit() error

	// Rollback returns to what was last agreed, whoever had offered
	// (RFC 3261 §14.1: a refused re-offer changes nothing). It is idempotent.
	Rollback() error

	// Local is the session description last agreed, with the same o= version
	// each time: what a session refresh repeats (RFC 4028 §7.4). Nil before
	// anything was agreed.
	Local() []byte

	// Streams describes what is agreed, in the order of the m= lines.
	Streams() []Stream

	// Close ends the leg. It is idempotent.
	Close() error
}

// Options says what an offer or answer shall contain beyond what is already
// agreed. The zero value changes nothing; for a first offer it is one audio
// stream, sendrecv.
type Options struct {
	// Direction wanted, by index of the m= line from 0. Streams not named keep
	// theirs; nil: all do.
	Direction map[int]Direction
	// Add appends streams of these kinds.
	Add []Kind
	// Remove disables streams, by index of the m= line (port 0, RFC 3264 §8.2).
	Remove []int
	// NewKeys asks for new SRTP keys of our own (RFC 4568 §6.1).
	NewKeys bool
	// RestartICE asks for new ICE credentials (RFC 8839 §4.4.1.1.1).
	RestartICE bool
}

// Kind is the kind of a stream, as on the m= line.
type Kind string

// The kinds that calls use.
const (
	Audio Kind = "audio"
	Video Kind = "video"
)

// Direction of a stream, seen from where it is stated (RFC 3264 §6.1). The
// zero value is SendRecv, which is also SDP's default.
type Direction int

// The directions.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

func (d Direction) String() string {
	switch d {
	case SendRecv:
		return "sendrecv"
	case SendOnly:
		return "sendonly"
	case RecvOnly:
		return "recvonly"
	case Inactive:
		return "inactive"
	}
	return "Direction(" + strconv.Itoa(int(d)) + ")"
}

// Sends tells whether whoever states d sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives tells whether whoever states d receives.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

// Reverse is d seen from the other side.
func (d Direction) Reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// Stream describes one agreed stream.
type Stream struct {
	Kind   Kind
	Local  Direction // what we said
	Remote Direction // what the peer said, from the peer's point of view
	// Secure says that the stream is encrypted.
	Secure bool
	// Detail names codec and suite for people, such as "opus/48000, AEAD_AES_128_GCM".
	Detail string
	// Disabled says that the stream was refused or removed (port 0).
	Disabled bool
}

// StatusCoder is implemented by errors that mean a certain SIP answer, such
// as 488 or 606.
type StatusCoder interface {
	error
	// SIPStatus returns a status code from 300 to 699.
	SIPStatus() int
}
