package siptest

import (
	"bytes"
	"net/netip"
	"regexp"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip"
)

// Entry is one message of a transcript.
type Entry struct {
	Time      time.Time
	Sent      bool   // by the lab
	Party     string // the device: a user's name, with a number from his second device on, or an address
	Transport sip.Transport
	Local     netip.AddrPort // the lab's
	Remote    netip.AddrPort
	Data      []byte // as on the wire, decrypted. It holds whatever keys the message held
	Fault     string // what Server.Inject did to it, such as "lost"; "" mostly
}

// Transcript is what went over the lab's wires, in the order in which the lab
// sent and received it.
type Transcript struct {
	Entries []Entry
	// Missing is how many older messages were not kept.
	Missing int
}

// Transcript returns the messages so far. See Config.TranscriptSize for how
// many are kept.
func (s *Server) Transcript() *Transcript {
	t := s.tape.copy()
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Party = s.loc.whoIs(place{transport.Proto(e.Transport), e.Remote}); e.Party == "" {
			e.Party = e.Remote.String()
		}
	}
	return t
}

// ClearTranscript forgets the messages so far.
func (s *Server) ClearTranscript() {
	s.tape.mu.Lock()
	defer s.tape.mu.Unlock()
	s.tape.entries, s.tape.first, s.tape.size, s.tape.missing = nil, 0, 0, 0
}

// Filter returns a transcript of those entries that keep says true to.
func (t *Transcript) Filter(keep func(*Entry) bool) *Transcript {
	f := &Transcript{Missing: t.Missing}
	for i := range t.Entries {
		if keep(&t.Entries[i]) {
			f.Entries = append(f.Entries, t.Entries[i])
		}
	}
	return f
}

// tape records. It is safe for concurrent use.
type tape struct {
	max int // entries; negative: none

	mu      sync.Mutex
	entries []Entry
	first   int // those before it are gone
	size    int // bytes in them
	missing int
	marks   []tapeMark
}

// maxTape bounds the bytes of a transcript.
const maxTape = 64 << 20

// tapeMark waits for a message that is sent later than it was to be.
type tapeMark struct {
	at     place
	branch string
	start  string
	fault  string
	left   int
}

func (t *tape) tap(ev transport.Event) {
	if ev.Kind != transport.EventMessage || t.max < 0 {
		return
	}
	t.add(Entry{
		Time: ev.Time, Sent: ev.Out, Transport: sip.Transport(ev.Proto),
		Local: ev.Local, Remote: ev.Remote, Data: bytes.Clone(ev.Data),
	})
}

func (t *tape) add(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Sent && e.Fault == "" {
		e.Fault = t.marked(&e)
	}
	t.entries = append(t.entries, e)
	t.size += len(e.Data)
	for ; len(t.entries)-t.first > t.max || t.size > maxTape; t.first++ {
		t.size -= len(t.entries[t.first].Data)
		t.entries[t.first] = Entry{}
		t.missing++
	}
	if t.first > len(t.entries)/2 {
		t.entries = append([]Entry(nil), t.entries[t.first:]...)
		t.first = 0
	}
}

// marked finds the mark that waits for a message. The caller holds mu.
func (t *tape) marked(e *Entry) string {
	for i := range t.marks {
		if m := &t.marks[i]; m.fits(e) {
			fault := m.fault
			if m.left--; m.left == 0 {
				t.marks = append(t.marks[:i], t.marks[i+1:]...)
			}
			return fault
		}
	}
	return ""
}

func (m *tapeMark) fits(e *Entry) bool {
	return e.Transport == sip.Transport(m.at.proto) && e.Remote == m.at.remote &&
		bytes.HasPrefix(e.Data, []byte(m.start)) && bytes.Contains(e.Data, []byte(m.branch))
}

// maxMarks bounds the messages that are awaited.
const maxMarks = 1024

// mark notes what a fault does to a message: one received is on the tape
// already, one to be sent is not, and will not be if it is lost.
func (t *tape) mark(f *transport.Flow, m sipgo.Message, out bool, fault *Fault) {
	if t.max < 0 {
		return
	}
	text := fault.what()
	if out && (fault.Drop || fault.Cut) {
		t.add(Entry{
			Time: time.Now(), Sent: true, Transport: sip.Transport(f.Proto()),
			Local: f.Local(), Remote: f.Remote(), Data: sipwire.AppendTight(nil, m), Fault: text,
		})
		return
	}
	wanted := tapeMark{at: placeOf(f), branch: sipwire.TopBranch(m), start: startOf(m), fault: text, left: 1 + max(fault.Copies, 0)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if out {
		if len(t.marks) < maxMarks {
			t.marks = append(t.marks, wanted)
		}
		return
	}
	for i := len(t.entries) - 1; i >= t.first; i-- {
		if e := &t.entries[i]; !e.Sent && e.Fault == "" && wanted.fits(e) {
			e.Fault = text
			return
		}
	}
}

// startOf is how a message begins.
func startOf(m sipgo.Message) string {
	switch m := m.(type) {
	case *sipgo.Request:
		return string(m.Method) + " "
	case *sipgo.Response:
		return m.SipVersion + " " + itoa(m.StatusCode) + " "
	}
	return ""
}

func (t *tape) copy() *Transcript {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Transcript{Entries: append([]Entry(nil), t.entries[t.first:]...), Missing: t.missing}
}

// keys are SRTP keys in session descriptions (RFC 4568 §9.1).
var keys = regexp.MustCompile(`(?i)\binline:[A-Za-z0-9+/=]+`)

// withoutKeys hides the keys in a message.
func withoutKeys(data []byte) []byte { return keys.ReplaceAll(data, []byte("inline:(hidden)")) }
