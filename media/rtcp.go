package media

import (
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/pion/rtcp"

	"github.com/hoorn-phone/hoorn/internal/rtpio"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// maxControlPackets bounds the packets of one compound that are looked at.
const maxControlPackets = 16

// A reporter sends and reads RTCP (RFC 3550 §6). With two members the interval
// of §6.2 is the minimum, which is randomised and halved for the first report.
type reporter struct {
	interval time.Duration
	rand     *rand.Rand
	cname    string
	next     time.Time
	sent     bool // packets since the last report
	reports  uint64
	received uint64
	badCount uint64

	senderReport   uint32 // middle bits of the peer's last (LSR)
	senderReportAt time.Time
	source         uint32 // of that report

	rtt          time.Duration
	remoteLoss   float64 // as the peer saw it in its last interval
	remoteLost   int
	remoteJitter time.Duration
	told         int // percent given to the encoder
}

func (r *reporter) init(random io.Reader, interval time.Duration) error {
	var b [28]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return errors.Join(errRandom, err)
	}
	r.interval = interval
	r.rand = rand.New(rand.NewPCG(uint64(b[0])<<8|uint64(b[1])|uint64(b[2])<<16|uint64(b[3])<<24, uint64(b[4])|uint64(b[5])<<8))
	// RFC 7022 §4.2: 96 random bits, per session.
	r.cname = base64.StdEncoding.EncodeToString(b[16:])
	return nil
}

// schedule sets the time of the next report: half to one and a half times the
// interval away (RFC 3550 §6.3.1).
func (r *reporter) schedule(now time.Time, scale float64) {
	r.next = now.Add(time.Duration(float64(r.interval) * scale * (0.5 + r.rand.Float64())))
}

// housekeep sees to what is due: reports, the timeout, keys. The caller holds
// mu.
func (s *Session) housekeep(now time.Time) {
	if s.turns%50 == 0 {
		for _, l := range s.all {
			l.prune(now)
		}
	}
	l := s.selected
	if l == nil || !l.agreed {
		return
	}
	s.key(l.rx.event.advance(now), true)
	switch {
	case s.rtcp.next.IsZero():
		s.rtcp.schedule(now, 0.5)
	case !now.Before(s.rtcp.next):
		s.rtcp.schedule(now, 1)
		s.report(now, false)
	}
	s.watch(l, now)
}

// watch reports a peer that has fallen silent.
func (s *Session) watch(l *leg, now time.Time) {
	limit := s.e.cfg.RTPTimeout
	if limit < 0 || l.open || !l.media.Receives() || l.heardAt.IsZero() {
		l.heardAt = now // nothing is due
		return
	}
	if now.Sub(l.heardAt) > limit && !l.silent {
		l.silent = true
		s.notify(l, offeranswer.Timeout, &TimeoutError{msg: "media: the peer has been silent for " + limit.String()})
	}
}

// ntp is a time in NTP's format (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const from1900 = 2208988800
	sec := uint64(t.Unix() + from1900)
	return sec<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// report sends a compound: SR or RR, SDES with the CNAME, and BYE at the end
// (RFC 3550 §6.1). The caller holds mu.
func (s *Session) report(now time.Time, bye bool) {
	l, n := s.selected, &s.send
	if l == nil || !l.agreed || l.media.Disabled || l.media.ConnectionHold || !l.route.control.IsValid() || l.route.control.Port() == 0 || s.sockets == nil {
		return
	}
	secure := l.media.Secure()
	if secure && n.out == nil {
		return
	}
	var blocks []rtcp.ReceptionReport
	if l.rx.known {
		blocks = append(blocks, s.reception(l, now))
	}
	var first rtcp.Packet = &rtcp.ReceiverReport{SSRC: n.ssrc, Reports: blocks}
	if s.rtcp.sent {
		ts := n.ts
		if n.clock > 0 {
			ts += uint32(int64(now.Sub(n.due)) * int64(n.clock) / int64(time.Second))
		}
		if n.enc != nil {
			ts += codec.SamplesToTicks(n.format.Codec, len(n.wait))
		}
		first = &rtcp.SenderReport{
			SSRC: n.ssrc, NTPTime: ntp(now), RTPTime: ts,
			PacketCount: uint32(n.packets), OctetCount: uint32(n.bytes), Reports: blocks,
		}
	}
	s.rtcp.sent = false
	packets := []rtcp.Packet{first, &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
		Source: n.ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: s.rtcp.cname}},
	}}}}
	if bye {
		packets = append(packets, &rtcp.Goodbye{Sources: []uint32{n.ssrc}})
	}
	p, err := rtcp.Marshal(packets)
	if err != nil {
		s.log.Warn("media: making a report", "err", err)
		return
	}
	if secure {
		if p, err = n.out.RTCP(nil, p); err != nil {
			return
		}
	}
	conn := s.sockets.rtcp
	if l.media.Mux {
		conn = s.sockets.rtp
	}
	if conn.WriteTo(p, l.route.control) == nil {
		s.rtcp.reports++
	}
}

// reception describes what was received from the peer.
func (s *Session) reception(l *leg, now time.Time) rtcp.ReceptionReport {
	a := &l.rx.acct
	b := rtcp.ReceptionReport{
		SSRC: l.rx.ssrc, FractionLost: a.interval(), TotalLost: uint32(max(0, a.lost())),
		LastSequenceNumber: a.highest, Jitter: uint32(a.jitter),
	}
	if r := &s.rtcp; !r.senderReportAt.IsZero() && r.source == l.rx.ssrc {
		b.LastSenderReport = r.senderReport
		b.Delay = uint32(now.Sub(r.senderReportAt) * 65536 / time.Second)
	}
	return b
}

// bye says good-bye to the selected leg. The caller holds mu.
func (s *Session) bye() {
	if s.rtcp.reports > 0 || s.send.packets > 0 {
		s.report(time.Now(), true)
	}
}

// control takes an RTCP datagram. secure says that there was a key it could
// have had.
func (s *Session) control(w *work, p *rtpio.Packet, now time.Time) (ok, secure bool) {
	for _, l := range s.all {
		for _, k := range l.keys {
			secure = true
			if plain, err := k.in.RTCP(w.plain, p.Data); err == nil {
				l.route.verifiedControl(p.From)
				s.reports(l, plain, p.At)
				return true, true
			}
		}
		if !l.agreed || l.media.Disabled || l.media.Secure() {
			continue
		}
		if from := p.From.Addr(); from == l.route.target.Addr() || from == l.route.control.Addr() {
			s.reports(l, p.Data, p.At)
			return true, false
		}
	}
	return false, secure
}

// reports reads the reports of a leg. Reduced-size packets (RFC 5506) are as
// good as compounds.
func (s *Session) reports(l *leg, p []byte, at time.Time) {
	packets, err := rtcp.Unmarshal(p)
	if err != nil || len(packets) > maxControlPackets {
		s.rtcp.badCount++
		return
	}
	l.alive(at)
	s.rtcp.received++
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			if s.selected == l {
				s.rtcp.senderReport = uint32(p.NTPTime >> 16)
				s.rtcp.senderReportAt, s.rtcp.source = at, p.SSRC
			}
			s.readBlocks(l, p.Reports, at)
		case *rtcp.ReceiverReport:
			s.readBlocks(l, p.Reports, at)
		}
	}
}

// readBlocks learns what the peer says about what we send.
func (s *Session) readBlocks(l *leg, blocks []rtcp.ReceptionReport, at time.Time) {
	for i := range blocks {
		b := &blocks[i]
		if b.SSRC != s.send.ssrc || s.selected != l {
			continue
		}
		r := &s.rtcp
		r.remoteLoss = float64(b.FractionLost) / 256
		r.remoteLost = int(b.TotalLost)
		if s.send.clock > 0 {
			r.remoteJitter = time.Duration(b.Jitter) * time.Second / time.Duration(s.send.clock)
		}
		if b.LastSenderReport != 0 {
			// RFC 3550 §6.4.1: now less when it was sent less how long it was
			// kept, in 65536ths of a second. Clocks that are set make it
			// negative, which is no round trip.
			rtt := int32(uint32(ntp(at)>>16) - b.LastSenderReport - b.Delay)
			if rtt >= 0 {
				r.rtt = time.Duration(rtt) * time.Second / 65536
			}
		}
		if a, ok := s.send.enc.(codec.LossAdapter); ok {
			if percent := int(b.FractionLost) * 100 / 256; percent != r.told {
				r.told = percent
				a.SetLoss(percent)
			}
		}
	}
}
