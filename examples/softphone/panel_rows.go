package main

import (
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

// view is what is shown now.
func (p *panel) view() *view {
	v := &view{title: p.title(), selected: -1, messages: p.said, keys: panelKeys}
	if p.helping {
		v.help = panelHelp
	}
	if q := p.question; q != nil {
		v.prompt, v.input = q.text, q.typed
	}
	now := time.Now()
	for _, l := range p.lines {
		v.rows = append(v.rows, p.row(l, now))
	}
	for _, a := range p.away {
		v.rows = append(v.rows, a.row(now))
	}
	for i, n := range p.numbers() {
		if n == p.chosen {
			v.selected = i
		}
	}
	return v
}

func (p *panel) title() string {
	text := p.ua.AOR()
	if err := p.reg.Err(); err != nil {
		return text + "  not registered"
	}
	return text + "  " + flowName(p.reg.Info().Flow)
}

// row shows a call.
func (p *panel) row(l *line, now time.Time) row {
	r := row{number: l.number, who: shortParty(l.who()), lasts: now.Sub(l.began)}
	switch state := l.call.State(); {
	case state == sip.CallCalling:
		r.state = "calling"
	case state == sip.CallRinging && l.call.Direction() == sip.Outgoing:
		r.state = "rings there"
	case state == sip.CallIncoming, state == sip.CallRinging:
		r.state, r.alert = "calls you", true
	case state == sip.CallAnswering:
		r.state = "answering"
	case l.held.Local && l.held.Remote:
		r.state = "both hold"
	case l.held.Local:
		r.state = "held"
	case l.held.Remote:
		r.state = "holds you"
	default:
		r.state = "talking"
	}
	switch {
	case !p.merge.has(l):
	case p.merge.network():
		r.who, r.marks = strings.Join(p.merge.names(), ", "), append(r.marks, "conference")
	default:
		r.marks = append(r.marks, "merged")
	}
	if s := l.sess; s != nil {
		if s.Muted() {
			r.marks = append(r.marks, "muted")
		}
		levels := s.Levels()
		r.metered, r.heard, r.said = true, levels.In.RMS, levels.Out.RMS
		st := s.Stats()
		r.detail = st.Codec + ", " + suite(st)
		if l.digits != "" {
			r.detail += ", pressed " + l.digits[max(0, len(l.digits)-8):]
		}
	}
	return r
}

// who is the other side: what the account's server says it is, where it does.
func (l *line) who() sip.Party {
	if asserted := l.call.Identity().Asserted; len(asserted) > 0 {
		return asserted[0]
	}
	return l.call.Remote()
}

// shortParty is somebody's name, or else the address.
func shortParty(who sip.Party) string {
	if who.Name != "" {
		return who.Name
	}
	return who.URI
}
