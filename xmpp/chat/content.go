package chat

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of what a message may say.
const (
	nsReply     = "urn:xmpp:reply:0"                      // XEP-0461
	nsFallback  = "urn:xmpp:fallback:0"                   // XEP-0428
	nsCorrect   = "urn:xmpp:message-correct:0"            // XEP-0308
	nsRetract   = "urn:xmpp:message-retract:1"            // XEP-0424
	nsRetract0  = "urn:xmpp:message-retract:0"            // as some servers and clients still have it
	nsModerate  = "urn:xmpp:message-moderate:1"           // XEP-0425
	nsModerate0 = "urn:xmpp:message-moderate:0"           // as Prosody's module has it
	nsFasten    = "urn:xmpp:fasten:0"                     // XEP-0422, the envelope of the old ones
	nsReactions = "urn:xmpp:reactions:0"                  // XEP-0444
	nsReceipts  = "urn:xmpp:receipts"                     // XEP-0184
	nsMarkers   = "urn:xmpp:chat-markers:0"               // XEP-0333
	nsStates    = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsHints     = "urn:xmpp:hints"                        // XEP-0334
	nsReference = "urn:xmpp:reference:0"                  // XEP-0372
	nsOOB       = "jabber:x:oob"                          // XEP-0066
	nsForward   = "urn:xmpp:forward:0"                    // XEP-0297
	nsDelay     = "urn:xmpp:delay"                        // XEP-0203
	nsStanzaID  = "urn:xmpp:sid:0"                        // XEP-0359
	nsOccupant  = "urn:xmpp:occupant-id:0"                // XEP-0421
)

// Bounds of what one message may bring.
const (
	maxEmojis   = 32
	maxMentions = 64
	maxLinks    = 32
	maxBody     = 256 << 10 // bytes
)

// act is what a message does.
type act uint8

const (
	nothing   act = iota // typing and the like
	says                 // is a message of its own
	corrects             // another, XEP-0308
	retracts             // another, XEP-0424
	moderates            // takes back somebody's message in a room, XEP-0425
	reacts               // to another, XEP-0444
	receives             // confirms that it has come, XEP-0184
	displays             // confirms that it was seen, XEP-0333
)

// content is what the elements of a message say, whoever says it.
type content struct {
	act     act
	target  string // what the sender calls the message that it is about
	message Message
	emojis  []string
	by      string // the moderator
	reason  string

	wantsReceipt bool
	markable     bool
	state        string      // of XEP-0085, such as "composing"; "" is none
	tombstone    *Retraction // of an archive, where the message was
}

// read understands a message. What is more than the bounds allow is left out.
func read(m *xmpp.Message) *content {
	c := new(content)
	c.message.WireID = m.ID
	for _, e := range m.Payload {
		c.element(e)
	}
	c.body(m)
	if c.act == nothing && (c.message.Body != "" || len(c.message.Links) > 0 || c.message.Forwarded != nil || c.message.Subject != "" || c.tombstone != nil) {
		c.act = says
	}
	return c
}

func (c *content) element(e *xmltree.Element) {
	switch e.Name.Space {
	case xmpp.NSClient:
		if e.Name.Local == "thread" {
			c.message.Thread, c.message.Parent = e.Text(), e.Get("parent")
		}
	case nsCorrect:
		if e.Name.Local == "replace" {
			c.does(corrects, e.Get("id"))
		}
	case nsRetract:
		c.retraction(e)
	case nsFasten:
		c.fastened(e)
	case nsReactions:
		c.reactions(e)
	case nsReceipts:
		if c.wantsReceipt = c.wantsReceipt || e.Name.Local == "request"; e.Name.Local == "received" {
			c.does(receives, e.Get("id"))
		}
	case nsMarkers:
		if c.markable = c.markable || e.Name.Local == "markable"; e.Name.Local == "displayed" {
			c.does(displays, e.Get("id"))
		}
	case nsStates:
		switch e.Name.Local {
		case "active", "composing", "paused", "inactive", "gone":
			c.state = e.Name.Local
		}
	case nsReference:
		c.reference(e)
	case nsOOB:
		if url := e.Child(nsOOB, "url").Text(); url != "" && len(c.message.Links) < maxLinks {
			c.message.Links = append(c.message.Links, url)
		}
	case nsForward:
		c.forwarded(e)
	}
}

// does notes what a message is about. The first thing counts: a correction
// that is also a reaction is confused, not clever.
func (c *content) does(a act, target string) {
	if c.act == nothing && target != "" {
		c.act, c.target = a, target
	}
}

// retraction reads XEP-0424 §4 and §5, and XEP-0425 §4.
func (c *content) retraction(e *xmltree.Element) {
	switch e.Name.Local {
	case "retract":
		if mod := e.Child(nsModerate, "moderated"); mod != nil {
			c.does(moderates, e.Get("id"))
			c.by = mod.Get("by")
		} else {
			c.does(retracts, e.Get("id"))
		}
		c.reason = e.Child(nsRetract, "reason").Text()
	case "retracted": // in an archive, in place of the message
		when, _ := time.Parse(time.RFC3339, e.Get("stamp"))
		c.tombstone = &Retraction{Time: when, By: e.Child(nsModerate, "moderated").Get("by"), Reason: e.Child(nsRetract, "reason").Text()}
	}
}

// fastened reads the forms of before.
func (c *content) fastened(e *xmltree.Element) {
	if e.Name.Local != "apply-to" {
		return
	}
	if mod := e.Child(nsModerate0, "moderated"); mod != nil {
		if mod.Child(nsRetract0, "retract") != nil {
			c.does(moderates, e.Get("id"))
			c.by, c.reason = mod.Get("by"), mod.Child(nsModerate0, "reason").Text()
		}
		return
	}
	if e.Child(nsRetract0, "retract") != nil {
		c.does(retracts, e.Get("id"))
	}
}

// reactions reads XEP-0444 §3: all that somebody thinks of a message; nothing takes it back.
func (c *content) reactions(e *xmltree.Element) {
	if e.Name.Local != "reactions" {
		return
	}
	c.does(reacts, e.Get("id"))
	for r := range e.Named(nsReactions, "reaction") {
		emoji := r.Text()
		if emoji == "" || len(emoji) > 64 || len(c.emojis) >= maxEmojis || contains(c.emojis, emoji) {
			continue // §3.2: each one once
		}
		c.emojis = append(c.emojis, emoji)
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func (c *content) reference(e *xmltree.Element) {
	begin, err1 := strconv.Atoi(e.Get("begin"))
	end, err2 := strconv.Atoi(e.Get("end"))
	if e.Get("type") == "mention" && e.Get("uri") != "" && err1 == nil && err2 == nil && begin >= 0 && begin < end && len(c.message.Mentions) < maxMentions {
		c.message.Mentions = append(c.message.Mentions, Mention{begin, end, e.Get("uri")})
	}
}

func (c *content) forwarded(e *xmltree.Element) {
	m := e.Child(xmpp.NSClient, "message")
	if m == nil || c.message.Forwarded != nil {
		return
	}
	when, _ := time.Parse(time.RFC3339, e.Child(nsDelay, "delay").Get("stamp"))
	c.message.Forwarded = &Forwarded{From: m.Get("from"), Body: m.Child(xmpp.NSClient, "body").Text(), Time: when}
}

// body takes the text apart: what is there for old clients alone does not belong to it (XEP-0428).
func (c *content) body(m *xmpp.Message) {
	text := m.Body()
	if len(text) > maxBody {
		for text = text[:maxBody]; !utf8.ValidString(text); {
			text = text[:len(text)-1]
		}
	}
	c.message.Subject = subject(m)
	if r := m.Child(nsReply, "reply"); r != nil && r.Get("id") != "" {
		c.message.Reply = &Reply{Ref: r.Get("id"), To: r.Get("to")}
	}
	cuts := fallbacks(m)
	if len(cuts) > 0 && text != "" {
		var quote string
		text, quote = cut(text, cuts)
		if c.message.Reply != nil {
			c.message.Reply.Quote = quote
		}
		c.message.Mentions = nil // they were counted in the text as it was
	}
	c.message.Body = text
}

func subject(m *xmpp.Message) string {
	return m.Child(xmpp.NSClient, "subject").Text()
}

// span is a range of code points; End -1 is the end of the text.
type span struct{ begin, end int }

// understood are the things whose fallback may be hidden, since they are shown otherwise.
var understood = map[string]bool{nsReply: true, nsReactions: true, nsRetract: true, nsRetract0: true, nsFasten: true}

// fallbacks are the ranges of the body that are for old clients (XEP-0428 §3).
func fallbacks(m *xmpp.Message) []span {
	var all []span
	for _, e := range m.Payload {
		if !e.Is(nsFallback, "fallback") || !understood[e.Get("for")] {
			continue
		}
		whole := true
		for b := range e.Elements() {
			whole = false
			if b.Name.Local != "body" {
				continue
			}
			begin, err1 := strconv.Atoi(b.Get("start"))
			end, err2 := strconv.Atoi(b.Get("end"))
			switch {
			case b.Get("start") == "" && b.Get("end") == "":
				all = append(all, span{0, -1})
			case err1 == nil && err2 == nil && begin >= 0 && begin <= end:
				all = append(all, span{begin, end})
			}
		}
		if whole {
			all = append(all, span{0, -1})
		}
	}
	return all
}

// cut takes ranges out of a text and returns what is left and what was taken.
func cut(text string, cuts []span) (left, taken string) {
	var l, t []rune
	n := 0
	for _, r := range text {
		hidden := false
		for _, c := range cuts {
			if n >= c.begin && (c.end < 0 || n < c.end) {
				hidden = true
			}
		}
		if hidden {
			t = append(t, r)
		} else {
			l = append(l, r)
		}
		n++
	}
	return string(l), string(t)
}
