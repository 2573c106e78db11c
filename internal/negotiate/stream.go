package negotiate

import (
	"strconv"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// stream is one m= line of ours, with what has to be remembered about it for
// the descriptions to come. Once part of a description it never changes: its
// slices are replaced, not written to.
type stream struct {
	kind, proto string
	mid         string
	off         bool     // refused or removed: port 0
	fmts        []string // what to list when off

	local   Transport
	want    offeranswer.Direction // what we would like
	dir     offeranswer.Direction // what we say
	formats []format
	numbers numbers
	mux     bool
	answer  bool           // the line answers one of the peer
	crypto  []*sdes.Crypto // the lines of this description
	keys    []*sdes.Crypto // all keys of ours, at most one for a suite
}

// refused is the line that answers a stream with no (RFC 3264 §6): same place,
// kind, transport and formats, port 0. Should the stream come back, our
// wish and the meaning of our numbers are as they were; its keys are not.
func refused(r *remoteMedia, old *stream) stream {
	st := stream{kind: r.kind, proto: r.proto, mid: r.mid, off: true, fmts: r.fmts}
	if r.kind == old.kind {
		st.want, st.numbers = old.want, old.numbers
	}
	return st
}

// disable turns a stream off. Its line goes on to list the formats it had.
func (st *stream) disable() {
	if st.off {
		return
	}
	fmts := make([]string, 0, len(st.formats)+1)
	for _, f := range st.formats {
		fmts = append(fmts, strconv.Itoa(int(f.pt)))
	}
	if len(fmts) == 0 {
		fmts = append(fmts, "0") // an m= line has at least one
	}
	*st = stream{kind: st.kind, proto: st.proto, mid: st.mid, off: true, fmts: fmts, want: st.want, numbers: st.numbers}
}

// direct is the direction that sends and receives.
func direct(sends, receives bool) offeranswer.Direction {
	switch {
	case sends && receives:
		return offeranswer.SendRecv
	case sends:
		return offeranswer.SendOnly
	case receives:
		return offeranswer.RecvOnly
	}
	return offeranswer.Inactive
}
