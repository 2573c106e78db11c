package sip

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// methods are those that a UA understands; all else gets 405.
var methods = []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK", "UPDATE", "SUBSCRIBE", "NOTIFY", "INFO", "MESSAGE", "REFER"}

// extensions are the option tags that a UA understands (RFC 3261 §19.2).
// outbound and gruu concern how a request is routed to us, path the registrar: nothing
// is asked of us that we do not do; 199 is what proxies may send (RFC 6228 §4).
var extensions = []string{"100rel", "outbound", "gruu", "path", "replaces", "join", "timer", "norefersub", "199"}

// outside are the requests that need no dialog. What is missing here gets 481.
var outside map[sipgo.RequestMethod]func(ua *UA, now time.Time, s *transaction.Server)

// within are the requests in a call's dialog that are not about its session;
// the call machine takes the others. Their CSeq was checked.
var within map[sipgo.RequestMethod]func(c *Call, now time.Time, s *transaction.Server)

// apart are the requests with a To tag that may belong to no call: to a
// subscription, which has a dialog of its own. What is missing here gets 481.
var apart map[sipgo.RequestMethod]func(ua *UA, now time.Time, s *transaction.Server)

// events are the event packages that a UA understands, by name; all else gets 489.
var events map[string]eventPackage

// init, since what is called here looks at the tables in turn.
func init() {
	outside = map[sipgo.RequestMethod]func(ua *UA, now time.Time, s *transaction.Server){
		sipgo.OPTIONS: (*UA).options,
		sipgo.INVITE:  (*UA).invited,
		sipgo.REFER:   (*UA).referred,
		sipgo.MESSAGE: func(ua *UA, now time.Time, s *transaction.Server) { ua.messaged(nil, now, s) },

		sipgo.SUBSCRIBE: (*UA).badEvent,
		sipgo.NOTIFY:    (*UA).notified,
	}
	within = map[sipgo.RequestMethod]func(c *Call, now time.Time, s *transaction.Server){
		sipgo.OPTIONS: func(c *Call, now time.Time, s *transaction.Server) { c.ua.options(now, s) },
		sipgo.INFO:    (*Call).informed,
		sipgo.REFER:   (*Call).referred,
		sipgo.MESSAGE: func(c *Call, now time.Time, s *transaction.Server) { c.ua.messaged(c, now, s) },

		sipgo.SUBSCRIBE: func(c *Call, now time.Time, s *transaction.Server) { c.ua.resubscribed(c, now, s) },
		sipgo.NOTIFY:    (*Call).notified,
	}
	apart = map[sipgo.RequestMethod]func(ua *UA, now time.Time, s *transaction.Server){
		sipgo.SUBSCRIBE: func(ua *UA, now time.Time, s *transaction.Server) { ua.resubscribed(nil, now, s) },
		sipgo.NOTIFY:    (*UA).notified,
	}
	events = map[string]eventPackage{
		"refer": {within: (*Call).told, refresh: (*UA).resubscribedRefer}, // of REFERs (RFC 3515 §2.4.4)
		"talk":  {within: controlled(ControlTalk)},
		"hold":  {within: controlled(ControlHold)},
	}
}
