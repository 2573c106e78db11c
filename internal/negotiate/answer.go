package negotiate

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// answerStreams makes the streams of the answer to r, and what is agreed with
// it. base is the agreement so far, known what our payload types have meant.
func (s *Session) answerStreams(base agreement, known []numbers, r *remote, o offeranswer.Options, at Locate) ([]stream, []Media, error) {
	// RFC 3264 §8: an offer never has fewer m= lines than the one before.
	if len(r.media) < len(base.streams) {
		return nil, nil, refuse(ErrContradiction, "%d streams, of %d before", len(r.media), len(base.streams))
	}
	if len(o.Add) > 0 {
		return nil, nil, fmt.Errorf("%w: an answer cannot add streams", ErrOptions)
	}
	streams := make([]stream, len(r.media))
	media := make([]Media, len(r.media))
	live := 0
	var why *Error // the reason for refusing a stream, ErrNotSecure before others
	for i := range r.media {
		rm := &r.media[i]
		var old stream
		var was Media
		if i < len(base.streams) {
			old, was = base.streams[i], base.media[i]
		}
		if i < len(known) {
			old.numbers = known[i]
		}
		streams[i], media[i] = refused(rm, &old), Media{Kind: offeranswer.Kind(rm.kind), Disabled: true}
		if rm.port == 0 || slices.Contains(o.Remove, i) {
			continue
		}
		// §8.1, §8.3.3: only the place of a stream that is off may get
		// another kind.
		if i < len(base.streams) && !old.off && rm.kind != old.kind {
			return nil, nil, refuse(ErrContradiction, "stream %d was %s and is now %s", i, old.kind, rm.kind)
		}
		if live == s.cfg.MaxStreams {
			continue
		}
		st, m, err := s.answerStream(rm, old, was, o.NewKeys)
		var refusal *Error
		switch {
		case err == nil:
			streams[i], media[i] = st, m
			live++
		case !errors.As(err, &refusal):
			return nil, nil, err
		case why == nil || why.Kind != ErrNotSecure:
			why = refusal
		}
	}
	if live == 0 && why != nil {
		return nil, nil, why
	}
	s.dropAlternatives(base.streams, streams, media)
	if err := apply(streams, o); err != nil {
		return nil, nil, err
	}
	for i := range streams {
		st, m := &streams[i], &media[i]
		if st.off {
			continue
		}
		var err error
		if st.local, err = locate(at, i, m.RemoteRTP.Addr()); err != nil {
			return nil, nil, err
		}
		// RFC 3264 §6.1: what we want, as far as the peer's direction lets us.
		st.dir = direct(
			st.want.Sends() && m.Remote.Receives() && !m.ConnectionHold,
			st.want.Receives() && m.Remote.Sends())
		m.Local, m.Wanted, m.Transport = st.dir, st.want, st.local
	}
	return streams, media, nil
}

// answerStream answers one live stream, all but addresses and directions. A
// stream that cannot be accepted is an *Error.
func (s *Session) answerStream(r *remoteMedia, old stream, was Media, fresh bool) (stream, Media, error) {
	var none Media
	if !r.usable() {
		return old, none, refuse(ErrNoStream, "%s over %s", r.kind, r.proto)
	}
	if r.err != nil {
		return old, none, r.err
	}
	if r.profile.secure && s.cfg.Policy == Off {
		return old, none, refuse(ErrSecure, "%s", r.proto)
	}
	st := old
	st.kind, st.proto, st.mid, st.off, st.fmts = r.kind, r.proto, r.mid, false, nil
	st.answer, st.crypto = true, nil
	local, remote, err := s.answerCrypto(&st, r.crypto, was.LocalCrypto, was.RemoteCrypto, fresh)
	if err != nil {
		return old, none, err
	}
	// What was encrypted stays so: whoever takes the keys out of a later offer
	// would have everything in the clear otherwise.
	if local == nil && (r.profile.secure || s.cfg.Policy == Required || was.Secure()) {
		return old, none, refuse(ErrNotSecure, "%s with %d a=crypto, none acceptable", r.proto, len(r.crypto))
	}
	st.numbers.theirs.join(r.payloads)
	p := s.answerFormats(r, &st.numbers)
	st.formats = p.ours
	m, err := s.media(&st, r, p)
	if err != nil {
		return old, none, err
	}
	st.mux = s.cfg.RTCPMux && r.mux && muxable(p)
	m.setMux(st.mux)
	m.LocalCrypto, m.RemoteCrypto = local, remote
	return st, m, nil
}

// muxable tells whether no payload type could be mistaken for RTCP
// (RFC 5761 §4).
func muxable(p pairing) bool {
	like := func(pt uint8) bool { return pt >= 64 && pt <= 95 }
	return !slices.ContainsFunc(p.ours, func(f format) bool { return like(f.pt) }) &&
		!slices.ContainsFunc(p.theirs, func(f remoteFormat) bool { return like(f.pt) })
}

// dropAlternatives refuses new streams in the clear next to encrypted ones:
// peers that leave the choice to us offer the same stream twice, as RTP/SAVP
// and as RTP/AVP, and do not want two streams.
func (s *Session) dropAlternatives(base, streams []stream, media []Media) {
	if !slices.ContainsFunc(media, func(m Media) bool { return !m.Disabled && m.Secure() }) {
		return
	}
	for i := range media {
		if isNew := i >= len(base) || base[i].off; isNew && !media[i].Disabled && !media[i].Secure() {
			streams[i].disable()
			media[i] = Media{Kind: media[i].Kind, Disabled: true}
		}
	}
}

// acceptAnswer reads the answer to what offered says; was is in force so far.
func (s *Session) acceptAnswer(offered []stream, was []Media, r *remote) ([]stream, []Media, error) {
	// RFC 3264 §6: as many m= lines as the offer, of the same kinds.
	if len(r.media) != len(offered) {
		return nil, nil, refuse(ErrContradiction, "an answer with %d streams to %d", len(r.media), len(offered))
	}
	streams := slices.Clone(offered)
	media := make([]Media, len(offered))
	for i := range streams {
		st, rm := &streams[i], &r.media[i]
		if rm.kind != st.kind {
			return nil, nil, refuse(ErrContradiction, "stream %d was offered as %s and answered as %s", i, st.kind, rm.kind)
		}
		if st.off || rm.port == 0 {
			st.disable()
			media[i] = Media{Kind: offeranswer.Kind(st.kind), Disabled: true}
			continue
		}
		m, err := s.acceptStream(st, i < len(was) && was[i].Secure(), rm)
		if err != nil {
			return nil, nil, err
		}
		media[i] = m
	}
	return streams, media, nil
}

// acceptStream reads the answer for one live stream; secured says that it is
// encrypted so far.
func (s *Session) acceptStream(st *stream, secured bool, r *remoteMedia) (Media, error) {
	var none Media
	if !r.usable() {
		return none, refuse(ErrContradiction, "%s answered with %s", st.proto, r.proto)
	}
	if r.err != nil {
		return none, r.err
	}
	// RFC 3264 §6 wants the transport of the offer back. What decides is
	// whether both sides agree on encryption: one that answers RTP/AVP with
	// keys means RTP/SAVP, one that leaves out the F sends less feedback.
	secure := r.profile.secure || profiles[st.proto].secure
	if secure && len(st.crypto) == 0 {
		return none, refuse(ErrSecure, "%s answered with %s", st.proto, r.proto)
	}
	p := s.acceptFormats(st.formats, r)
	st.numbers.theirs.join(r.payloads)
	st.formats = p.ours
	m, err := s.media(st, r, p)
	if err != nil {
		return none, err
	}
	// RFC 8643 §3.1: an answer to RTP/AVP without a=crypto means no encryption.
	if len(st.crypto) > 0 && (secure || len(r.crypto) > 0) {
		local, remote, err := acceptCrypto(st.crypto, r.crypto)
		if err != nil {
			return none, err
		}
		m.LocalCrypto, m.RemoteCrypto = local, remote
	}
	if m.LocalCrypto == nil && (s.cfg.Policy == Required || secured) {
		return none, refuse(ErrNotSecure, "%s answered without a=crypto", st.proto)
	}
	st.mux = st.mux && r.mux && muxable(p)
	m.setMux(st.mux)
	m.Local, m.Transport = st.dir, st.local
	return m, nil
}
