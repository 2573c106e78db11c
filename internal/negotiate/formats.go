package negotiate

import (
	"slices"
	"strconv"
	"strings"
)

// static are the audio payload types that need no rtpmap (RFC 3551 §6).
var static = map[uint8]remoteFormat{
	0:  {name: "PCMU", rate: 8000},
	3:  {name: "GSM", rate: 8000},
	4:  {name: "G723", rate: 8000},
	5:  {name: "DVI4", rate: 8000},
	6:  {name: "DVI4", rate: 16000},
	7:  {name: "LPC", rate: 8000},
	8:  {name: "PCMA", rate: 8000},
	9:  {name: "G722", rate: 8000},
	10: {name: "L16", rate: 44100, channels: 2},
	11: {name: "L16", rate: 44100},
	12: {name: "QCELP", rate: 8000},
	13: {name: "CN", rate: 8000},
	14: {name: "MPA", rate: 90000},
	15: {name: "G728", rate: 8000},
	16: {name: "DVI4", rate: 11025},
	17: {name: "DVI4", rate: 22050},
	18: {name: "G729", rate: 8000},
}

// events are what we take as telephone-events: the digits and flash.
const events = "0-16"

// noisePT is the static payload type of comfort noise.
const noisePT = 13

// readFormats puts together the formats of the m= line with their attributes.
// Those without a meaning, for lack of an rtpmap say, are left out; a repeated
// one counts once.
func (m *remoteMedia) readFormats(maps, fmtps map[uint8]string) {
	for _, s := range m.fmts {
		n, err := strconv.ParseUint(s, 10, 7)
		pt := uint8(n)
		if err != nil || m.payloads.has(pt) {
			continue
		}
		m.payloads.add(pt)
		f, ok := static[pt]
		if v, given := maps[pt]; given {
			f, ok = readMap(v)
		}
		if !ok {
			continue
		}
		f.pt, f.fmtp = pt, fmtps[pt]
		// RFC 3551 §4.5.2: G.722 is 8000 in SDP, by an old mistake that some
		// peers correct where they should not.
		if pt == 9 && f.rate == 16000 && strings.EqualFold(f.name, "G722") {
			f.rate = 8000
		}
		m.formats = append(m.formats, f)
	}
}

// readMap reads "name/rate[/channels]".
func readMap(s string) (f remoteFormat, ok bool) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return f, false
	}
	rate, err := strconv.ParseUint(strings.TrimSpace(parts[1]), 10, 31)
	if err != nil || rate == 0 {
		return f, false
	}
	f.name, f.rate = parts[0], int(rate)
	if len(parts) == 3 {
		n, err := strconv.ParseUint(strings.TrimSpace(parts[2]), 10, 8)
		if err != nil {
			return f, false
		}
		f.channels = int(n)
	}
	return f, true
}

func (f remoteFormat) isEvent() bool { return strings.EqualFold(f.name, "telephone-event") }
func (f remoteFormat) isNoise() bool {
	return f.pt == noisePT && f.rate == 8000 && strings.EqualFold(f.name, "CN")
}

// flash tells whether the fmtp of a telephone-event lists event 16. Absent, it
// means 0-15 (RFC 4733 §2.4.1).
func (f remoteFormat) flash() bool {
	for part := range strings.SplitSeq(f.fmtp, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		a, err1 := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err1 == nil && err2 == nil && a <= 16 && 16 <= b {
			return true
		}
	}
	return false
}

// format is something that we list on an m= line.
type format struct {
	pt    uint8
	codec int // index in Config.Codecs, or event or noise
	rate  int // of events
	fmtp  string
}

const (
	event = -1
	noise = -2
)

func (f format) same(g format) bool { return f.codec == g.codec && f.rate == g.rate }

// listing is the order in which to offer codecs: those that prev lists first,
// so that a re-offer does not change the codec by itself, then the others by
// preference.
func (s *Session) listing(prev []format) []int {
	var order []int
	for _, f := range prev {
		if f.codec >= 0 && !slices.Contains(order, f.codec) {
			order = append(order, f.codec)
		}
	}
	for i := range s.cfg.Codecs {
		if !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	return order
}

// offerFormats lists everything we can do, with numbers from n.
func (s *Session) offerFormats(prev []format, n *numbers) []format {
	var out []format
	var rates []int
	add := func(f format, wish int) {
		for _, g := range prev { // what stood there last keeps its number
			if g.same(f) {
				wish = int(g.pt)
			}
		}
		if f, ok := n.assign(f, wish); ok {
			out = append(out, f)
		}
	}
	for _, i := range s.listing(prev) {
		f := s.cfg.Codecs[i].Format()
		add(format{codec: i, fmtp: f.Fmtp}, f.PayloadType)
		if !slices.Contains(rates, f.ClockRate) {
			rates = append(rates, f.ClockRate)
		}
	}
	if s.cfg.DTMF {
		slices.Sort(rates) // 8000 before 48000, whatever the codecs' order
		for _, rate := range rates {
			wish := -1
			if rate == 8000 {
				wish = eventPT
			}
			add(format{codec: event, rate: rate, fmtp: events}, wish)
		}
	}
	if s.cfg.CN && slices.Contains(rates, 8000) {
		if n.free(noisePT, format{codec: noise}) {
			add(format{codec: noise}, noisePT)
		}
	}
	return out
}

func isNoise(f format) bool { return f.codec == noise }

// pairing is what both sides have of one stream: our formats, each with the
// one of the peer that it stands for.
type pairing struct {
	ours   []format
	theirs []remoteFormat
}

func (p *pairing) add(f format, r remoteFormat) {
	p.ours, p.theirs = append(p.ours, f), append(p.theirs, r)
}

// answerFormats pairs the formats of an offer with ours: audio in the order of
// the offer or ours, then events and noise.
func (s *Session) answerFormats(r *remoteMedia, n *numbers) (p pairing) {
	for _, rf := range r.formats {
		i, fmtp, ok := s.codec(rf, func(i int) bool {
			return !slices.ContainsFunc(p.ours, func(f format) bool { return f.codec == i })
		})
		if ok {
			p.add(format{codec: i, fmtp: fmtp}, rf)
		}
	}
	if s.cfg.PreferOwn {
		p.sort()
	}
	rates := s.rates(p.ours)
	if s.cfg.DTMF {
		for _, rf := range matchEvents(r.formats, rates) {
			p.add(format{codec: event, rate: rf.rate, fmtp: events}, rf)
		}
	}
	if s.cfg.CN && slices.Contains(rates, 8000) {
		i := slices.IndexFunc(r.formats, remoteFormat.isNoise)
		if i >= 0 && n.free(noisePT, format{codec: noise}) {
			p.add(format{codec: noise}, r.formats[i])
		}
	}
	// RFC 3264 §6.1: the numbers of the offer, where ours do not already mean
	// something else.
	kept := pairing{}
	for i, f := range p.ours {
		if f, ok := n.assign(f, int(p.theirs[i].pt)); ok {
			kept.add(f, p.theirs[i])
		}
	}
	return kept
}

// codec finds the first of our codecs that rf means and allow lets through.
func (s *Session) codec(rf remoteFormat, allow func(int) bool) (i int, fmtp string, ok bool) {
	for i, c := range s.cfg.Codecs {
		if !allow(i) || !c.Format().Is(rf.name, rf.rate, rf.channels) {
			continue
		}
		if fmtp, ok := c.Negotiate(rf.fmtp); ok && safeFmtp(fmtp) {
			return i, fmtp, true
		}
	}
	return 0, "", false
}

// safeFmtp tells whether a codec's parameters can be written into a line.
func safeFmtp(s string) bool { return !strings.ContainsAny(s, "\r\n\x00") }

func (p *pairing) sort() {
	order := make([]int, len(p.ours))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return p.ours[a].codec - p.ours[b].codec })
	var q pairing
	for _, i := range order {
		q.add(p.ours[i], p.theirs[i])
	}
	*p = q
}

func (s *Session) rates(fs []format) (rates []int) {
	for _, f := range fs {
		if f.codec < 0 {
			continue
		}
		if r := s.cfg.Codecs[f.codec].Format().ClockRate; !slices.Contains(rates, r) {
			rates = append(rates, r)
		}
	}
	return rates
}

// matchEvents picks telephone-event at the clock rates of the audio codecs
// (RFC 4733 §2.4.1). Many peers offer it at 8000 only, next to Opus: where no
// rate fits, the first one there is must do.
func matchEvents(fs []remoteFormat, rates []int) (out []remoteFormat) {
	var first *remoteFormat
	for i, f := range fs {
		if !f.isEvent() {
			continue
		}
		if first == nil {
			first = &fs[i]
		}
		fits := slices.Contains(rates, f.rate)
		if fits && !slices.ContainsFunc(out, func(g remoteFormat) bool { return g.rate == f.rate }) {
			out = append(out, f)
		}
	}
	if out == nil && first != nil {
		out = append(out, *first)
	}
	return out
}

// acceptFormats pairs the formats of an answer with those of our offer, in the
// order of the answer. The peer may use other numbers than ours (RFC 3264
// §6.1); a format that we had not offered counts for nothing.
func (s *Session) acceptFormats(offered []format, r *remoteMedia) (p pairing) {
	var rest pairing
	for _, rf := range r.formats {
		want := func(f format) bool { return f.codec == event && rf.isEvent() && f.rate == rf.rate }
		into := &rest
		switch {
		case rf.isNoise():
			want = isNoise
		case !rf.isEvent():
			into = &p
			i, _, ok := s.codec(rf, func(i int) bool {
				return slices.ContainsFunc(offered, func(f format) bool { return f.codec == i })
			})
			if !ok {
				continue
			}
			want = func(f format) bool { return f.codec == i }
		}
		i := slices.IndexFunc(offered, want)
		if i >= 0 && !slices.ContainsFunc(into.ours, offered[i].same) {
			into.add(offered[i], rf)
		}
	}
	p.ours, p.theirs = append(p.ours, rest.ours...), append(p.theirs, rest.theirs...)
	return p
}
