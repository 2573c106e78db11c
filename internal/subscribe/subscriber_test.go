package subscribe

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

const (
	active   = "Subscription-State: active"
	oneHour  = time.Hour
	timerN   = 32 * time.Second
	expires0 = "Expires: 3600"
)

// up subscribes and is told "one".
func up(t *testing.T, change func(*SubscriberConfig)) (w *world, alice, bob *party, s *Subscriber, sub *sipgo.Request) {
	t.Helper()
	w, alice, bob = newWorld(t, true)
	s = subscriber(alice, change)
	s.Start(w.now)
	tx := bob.take("SUBSCRIBE")
	sub = tx.Request()
	bob.reply(tx, 200, expires0)
	if got := bob.notify(sub, "bobs", 7, "one", active+";expires=3600"); got != 200 {
		t.Fatal("the first NOTIFY got", got)
	}
	alice.said("accepted 200", "1 active one")
	return w, alice, bob, s, sub
}

// RFC 6665 §4.1.2.1: what a SUBSCRIBE has.
func TestSubscribe(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.routes = []string{"<sip:edge.example.com;lr>"}
	s := subscriber(alice, func(c *SubscriberConfig) {
		c.Event.ID = "4"
		c.Accept = []string{"application/dialog-info+xml"}
		c.Headers = []sipgo.Header{sipgo.NewHeader("Subject", "x")}
		c.ContentType, c.Body = "text/plain", []byte("filter")
		c.Expires = 1500 * time.Millisecond
	})
	s.Start(w.now)
	req := bob.take("SUBSCRIBE").Request()
	for name, want := range map[string]string{
		"Event": "dialog;id=4", "Expires": "2", "Accept": "application/dialog-info+xml", "Subject": "x", "Content-Type": "text/plain",
		"Contact": "<sip:alice@alice.invalid>", "To": "<sip:bob@example.com>", "Route": "<sip:edge.example.com;lr>",
	} {
		header(t, req, name, want)
	}
	if string(req.Body()) != "filter" {
		t.Errorf("body %q", req.Body())
	}
}

// RFC 6665 §4.1.2.2, §4.1.3: a subscription is refreshed before it ends, which
// the NOTIFY has the last word on.
func TestRefresh(t *testing.T) {
	w, alice, bob, _, _ := up(t, nil)
	// A tenth before the end, less 5 % (half of the tenth left out at random).
	first := 4*latency + time.Duration(float64(oneHour)*0.9*0.95) - latency
	tx := bob.takeAt(first, "SUBSCRIBE")
	req := tx.Request()
	header(t, req, "Event", "dialog")
	header(t, req, "Expires", "3600")
	if sipwire.ToTag(req) != "bobs" || sipwire.FormatURI(&req.Recipient) != "sip:bobs@192.0.2.9" {
		t.Errorf("not in the dialog of the NOTIFY: %v", req)
	}
	bob.reply(tx, 200, "Expires: 600")
	if got := bob.notify(req, "bobs", 8, "two", active+";expires=100"); got != 200 {
		t.Error("answer", got)
	}
	alice.said("1 active two")
	// A hundred seconds: half-way, less 5 %.
	at := w.now.Sub(epoch) - latency + 57*time.Second
	bob.reply(bob.takeAt(at, "SUBSCRIBE"), 200, "Expires: 100")
	bob.none()
	alice.said()
}

// RFC 6665 §4.1.2.4: a NOTIFY before the response makes the dialog.
func TestNotifyBeforeResponse(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	s := subscriber(alice, nil)
	s.Start(w.now)
	tx := bob.take("SUBSCRIBE")
	if got := bob.notify(tx.Request(), "bobs", 1, "one", active, "Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>"); got != 200 {
		t.Fatal("answer", got)
	}
	alice.said("1 active one")
	bob.reply(tx, 200, "Expires: 100")
	alice.said("accepted 200")
	s.Refresh(w.now, "", nil, nil)
	req := bob.take("SUBSCRIBE").Request()
	if got := strings.Join(sipwire.Tokens(req, "Route"), " "); got != "<sip:p1.example.com;lr> <sip:p2.example.com;lr>" {
		t.Errorf("the route set is that of the NOTIFY (RFC 3261 §12.1.1): %s", got)
	}
}

// RFC 6665 §4.1.2.4: Timer N is 64*T1.
func TestTimerN(t *testing.T) {
	t.Run("first", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		subscriber(alice, nil).Start(w.now)
		bob.reply(bob.take("SUBSCRIBE"), 200, expires0)
		w.run(timerN - w.now.Sub(epoch) - 1)
		alice.said("accepted 200")
		w.run(1)
		alice.said("ended " + ErrNoNotify.Error())
		if w.run(oneHour); len(alice.dialogs) != 0 || w.q.Len() != 0 {
			t.Errorf("left: %v, %d timers", alice.dialogs, w.q.Len())
		}
	})
	// Nothing at all is another matter: there is nobody.
	t.Run("not answered", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		subscriber(alice, nil).Start(w.now)
		bob.take("SUBSCRIBE")
		w.run(timerN - w.now.Sub(epoch))
		alice.said("ended " + transaction.ErrTimeout.Error())
	})
	t.Run("refresh", func(t *testing.T) {
		w, alice, bob, s, _ := up(t, nil)
		s.Refresh(w.now, "", nil, nil)
		sent := w.now
		bob.reply(bob.take("SUBSCRIBE"), 200, expires0)
		w.run(timerN - w.now.Sub(sent) - 1)
		alice.said()
		w.run(1)
		// It had lived for more than 30 s: the next is made at once.
		alice.said("lost " + ErrNoNotify.Error() + ", 0s")
		bob.take("SUBSCRIBE")
	})
}

// RFC 6665 §4.4.1: forked requests make a subscription each, or are refused.
func TestForks(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		_, alice, bob, _, sub := up(t, nil)
		if got := bob.notify(sub, "carols", 1, "other", active); got != 481 {
			t.Error("answer", got)
		}
		alice.said()
	})
	t.Run("two", func(t *testing.T) {
		w, alice, bob, s, sub := up(t, func(c *SubscriberConfig) { c.Forks = 2 })
		if got := bob.notify(sub, "carols", 1, "other", active+";expires=600"); got != 200 {
			t.Error("answer", got)
		}
		if got := bob.notify(sub, "daves", 1, "third", active); got != 481 {
			t.Error("answer", got)
		}
		alice.said("2 active other")
		// Each has its own life.
		at := w.now.Sub(epoch) - 3*latency + time.Duration(float64(600-60)*0.95*float64(time.Second))
		tx := bob.takeAt(at, "SUBSCRIBE")
		if got := sipwire.ToTag(tx.Request()); got != "carols" {
			t.Errorf("refresh of %s", got)
		}
		bob.reply(tx, 481)
		alice.said() // the other is still there
		if got := bob.notify(sub, "carols", 2, "again", active); got != 481 {
			t.Error("a subscription that is over takes NOTIFYs:", got)
		}
		s.Close(w.now)
		bob.reply(bob.take("SUBSCRIBE"), 200)
		bob.notify(sub, "bobs", 8, "", "Subscription-State: terminated;reason=timeout")
		alice.said("1 terminated ", "ended <nil>")
	})
	t.Run("late", func(t *testing.T) {
		w, alice, bob, _, sub := up(t, func(c *SubscriberConfig) { c.Forks = 2 })
		w.run(timerN)
		if got := bob.notify(sub, "carols", 1, "other", active); got != 481 {
			t.Error("answer", got)
		}
		alice.said()
	})
}

// What is no NOTIFY of the subscription (RFC 6665 §4.1.3, RFC 3261 §12.2.2).
func TestBadNotify(t *testing.T) {
	_, alice, bob, _, sub := up(t, func(c *SubscriberConfig) { c.Accept = []string{"application/dialog-info+xml"} })
	for _, tt := range []struct {
		name, tag, body string
		cseq, want      int
		lines           []string
	}{
		{"CSeq backwards", "bobs", "x", 6, 500, []string{active}},
		{"another package", "bobs", "x", 8, 481, []string{active, "Event: presence"}},
		{"an id", "bobs", "x", 8, 481, []string{active, "Event: dialog;id=1"}},
		{"another dialog", "eves", "x", 8, 481, []string{active}},
		{"no Subscription-State", "bobs", "x", 9, 400, nil},
		{"5 MB", "bobs", strings.Repeat("x", 5<<20), 10, 413, []string{active}},
		{"one byte too much", "bobs", strings.Repeat("x", MaxBody+1), 11, 413, []string{active}},
	} {
		if got := bob.notify(sub, tt.tag, tt.cseq, tt.body, tt.lines...); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
		alice.said()
	}
	if got := bob.notify(sub, "bobs", 12, strings.Repeat("x", MaxBody), active); got != 200 {
		t.Error("256 KB:", got)
	}
	alice.log = nil
	req := bob.notifyAll(sub, "bobs", 13, "", active)
	if req.StatusCode != 200 {
		t.Error("no body:", req.StatusCode)
	}
	alice.said("1 active ")
}

// RFC 3261 §8.2.3: a body of a type that was not asked for.
func TestUnsupportedBody(t *testing.T) {
	_, alice, bob, _, sub := up(t, nil)
	alice.log = nil
	if got := bob.notify(sub, "bobs", 8, "x", active); got != 200 {
		t.Error("without Accept:", got)
	}
	w, alice, bob := newWorld(t, true)
	subscriber(alice, func(c *SubscriberConfig) { c.Accept = []string{"text/plain", "message/sipfrag;version=2.0"} }).Start(w.now)
	tx := bob.take("SUBSCRIBE")
	r := bob.notifyAll(tx.Request(), "bobs", 1, "x", active)
	if header(t, r, "Accept", "text/plain, message/sipfrag;version=2.0"); r.StatusCode != 415 {
		t.Error("answer", r.StatusCode)
	}
	alice.said()
}

// RFC 6665 §4.1.3: what the reasons of an end say about the next subscription.
func TestTerminated(t *testing.T) {
	for _, tt := range []struct {
		state string
		lived time.Duration // before that
		wait  time.Duration // -1: for good
	}{
		{"deactivated", 0, 0},
		{"deactivated;retry-after=100", 0, 0}, // without meaning there
		{"timeout", 0, 0},
		{"timeout;retry-after=100", time.Minute, 0},
		{"probation;retry-after=100", time.Minute, 100 * time.Second},
		{"probation", time.Minute, 30 * time.Second},
		{"giveup", time.Minute, 30 * time.Second},
		{"giveup;retry-after=7200", time.Minute, time.Hour}, // no longer
		{"rejected", time.Minute, -1},
		{"noresource", 0, -1},
		{"invariant", 0, -1},
		{"", time.Minute, 0},
		{"somethingelse;retry-after=50", time.Minute, 50 * time.Second},
		{"somethingelse", 0, 45 * time.Second}, // twice 30 s, half of it at random
	} {
		t.Run(tt.state, func(t *testing.T) {
			w, alice, bob, _, sub := up(t, nil)
			w.run(tt.lived)
			v := "Subscription-State: terminated"
			reason, _, _ := strings.Cut(tt.state, ";")
			if tt.state != "" {
				v += ";reason=" + tt.state
			}
			if got := bob.notify(sub, "bobs", 8, "", v); got != 200 {
				t.Fatal("answer", got)
			}
			err := (&TerminatedError{Reason: reason}).Error()
			if tt.wait < 0 {
				alice.said("1 terminated ", "ended "+err)
				if w.run(3 * oneHour); len(alice.dialogs) != 0 || w.q.Len() != 0 {
					t.Errorf("left: %v, %d timers", alice.dialogs, w.q.Len())
				}
				bob.none()
				return
			}
			alice.said("1 terminated ", "lost "+err+", "+tt.wait.String())
			if tt.wait > 0 {
				w.run(tt.wait - 1)
				bob.none()
				w.run(1)
			}
			tx := bob.take("SUBSCRIBE")
			req := tx.Request()
			if sipwire.ToTag(req) != "" || string(*req.CallID()) == string(*sub.CallID()) || sipwire.FromTag(req) == sipwire.FromTag(sub) {
				t.Errorf("not an unrelated request (§4.1.2.2): %v", req)
			}
			bob.reply(tx, 200, expires0)
			bob.notify(req, "bobs", 1, "anew", active)
			alice.said("accepted 200", "2 active anew")
		})
	}
}

// A notifier that ends each subscription at once is not asked in a tight loop.
func TestNoTightLoop(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	subscriber(alice, nil).Start(w.now)
	asked := 0
	bob.takes = func(now time.Time, tx *transaction.Server) {
		asked++
		req := tx.Request()
		tx.Respond(now, sipwire.ResponseTo(req, 200, "", "bobs"))
		bob.send(now, bob.request(req, "bobs", 1, "", []string{"Subscription-State: terminated;reason=deactivated"}), &answer{})
	}
	w.run(time.Hour)
	if asked < 4 || asked > 12 {
		t.Errorf("asked %d times within an hour", asked)
	}
}

// RFC 6665 §4.1.2.2: refusals of a refresh.
func TestRefreshRefused(t *testing.T) {
	for status, want := range map[int]string{
		404: "ended", 405: "ended", 410: "ended", 416: "ended", 484: "ended", 485: "ended", 489: "ended", 501: "ended", 604: "ended", 403: "ended",
		481: "0s", 480: "30s", 482: "30s", 483: "30s",
		500: "", 503: "", 408: "", 400: "", 491: "",
	} {
		w, alice, bob, s, sub := up(t, nil)
		w.run(time.Minute)
		s.Refresh(w.now, "", nil, func(_ time.Time, err error) { alice.log = append(alice.log, err.Error()) })
		bob.reply(bob.take("SUBSCRIBE"), status)
		got := strings.Join(alice.log[1:], "; ")
		switch {
		case want == "" && got != "":
			t.Errorf("%d: %s", status, got)
		case want == "":
			if got := bob.notify(sub, "bobs", 8, "still", active); got != 200 {
				t.Errorf("%d: the subscription is gone: %d", status, got)
			}
			// It is tried again half-way between the refusal and the end.
			refused, end := time.Minute+9*latency, oneHour+5*latency
			bob.takeAt((refused+end)/2, "SUBSCRIBE")
		case want == "ended" && !strings.HasPrefix(got, "ended SUBSCRIBE: ") || want != "ended" && !strings.HasSuffix(got, ", "+want):
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

// A subscription that cannot be refreshed is over when it expires.
func TestExpires(t *testing.T) {
	w, alice, bob, _, _ := up(t, nil)
	gone := epoch.Add(5*latency + oneHour)
	w.lose = func(*party, sipgo.Message) bool { return true }
	alice.failing = errors.New("no flow")
	w.run(gone.Sub(w.now) - 1)
	alice.said()
	alice.failing, w.lose = nil, nil
	w.run(1)
	alice.said("lost " + ErrExpired.Error() + ", 0s")
	bob.take("SUBSCRIBE")
}

// RFC 6665 §4.1.2.1: 423.
func TestTooBrief(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	s := subscriber(alice, func(c *SubscriberConfig) { c.Expires = time.Minute })
	s.Start(w.now)
	tx := bob.take("SUBSCRIBE")
	first := tx.Request()
	header(t, first, "Expires", "60")
	bob.reply(tx, 423, "Min-Expires: 120")
	again := bob.take("SUBSCRIBE")
	header(t, again.Request(), "Expires", "120")
	if again.Request().CSeq().SeqNo != first.CSeq().SeqNo+1 {
		t.Error("the CSeq did not go up by one")
	}
	bob.reply(again, 423, "Min-Expires: 100000000") // more than a day
	alice.said("ended SUBSCRIBE: 423 Interval Too Brief")
}

func TestRefused(t *testing.T) {
	for _, status := range []int{403, 404, 480, 489, 500, 603} {
		w, alice, bob := newWorld(t, true)
		subscriber(alice, nil).Start(w.now)
		bob.reply(bob.take("SUBSCRIBE"), status)
		if len(alice.log) != 1 || !strings.HasPrefix(alice.log[0], "ended SUBSCRIBE: ") {
			t.Errorf("%d: %v", status, alice.log)
		}
		if w.run(oneHour); len(alice.dialogs) != 0 || w.q.Len() != 0 {
			t.Errorf("%d: left: %v, %d timers", status, alice.dialogs, w.q.Len())
		}
	}
}

// RFC 6665 §4.1.2.3.
func TestUnsubscribe(t *testing.T) {
	t.Run("the last NOTIFY ends it", func(t *testing.T) {
		w, alice, bob, s, sub := up(t, nil)
		s.Close(w.now)
		s.Close(w.now)
		tx := bob.take("SUBSCRIBE")
		header(t, tx.Request(), "Expires", "0")
		bob.reply(tx, 200, "Expires: 0")
		bob.none()
		alice.said()
		bob.notify(sub, "bobs", 8, "last", "Subscription-State: terminated;reason=timeout")
		alice.said("1 terminated last", "ended <nil>")
		if w.run(oneHour); len(alice.dialogs) != 0 || w.q.Len() != 0 {
			t.Errorf("left: %v, %d timers", alice.dialogs, w.q.Len())
		}
	})
	t.Run("without one Timer N does", func(t *testing.T) {
		w, alice, bob, s, _ := up(t, nil)
		s.Close(w.now)
		at := w.now
		bob.reply(bob.take("SUBSCRIBE"), 200)
		w.run(timerN - w.now.Sub(at) - 1)
		alice.said()
		w.run(1)
		alice.said("ended <nil>")
	})
	t.Run("refused", func(t *testing.T) {
		w, alice, bob, s, _ := up(t, nil)
		s.Close(w.now)
		bob.reply(bob.take("SUBSCRIBE"), 481)
		alice.said("ended <nil>")
	})
	t.Run("before there is a dialog", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		s := subscriber(alice, nil)
		s.Start(w.now)
		tx := bob.take("SUBSCRIBE")
		s.Close(w.now)
		first := tx.Request()
		bob.reply(tx, 200, expires0)
		bob.none()
		bob.notify(first, "bobs", 1, "one", active)
		leave := bob.take("SUBSCRIBE")
		header(t, leave.Request(), "Expires", "0")
		bob.reply(leave, 481)
		alice.said("accepted 200", "1 active one", "ended <nil>")
	})
	t.Run("while it waits to subscribe anew", func(t *testing.T) {
		w, alice, bob, s, sub := up(t, nil)
		bob.notify(sub, "bobs", 8, "", "Subscription-State: terminated;reason=probation")
		alice.log = nil
		s.Close(w.now)
		alice.said("ended <nil>")
		w.run(oneHour)
		bob.none()
	})
}

// RFC 6665 §4.4.3: Expires: 0 asks once.
func TestPoll(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	subscriber(alice, func(c *SubscriberConfig) { c.Poll = true }).Start(w.now)
	tx := bob.take("SUBSCRIBE")
	req := tx.Request()
	header(t, req, "Expires", "0")
	bob.reply(tx, 200, "Expires: 0")
	bob.notify(req, "bobs", 1, "all", "Subscription-State: terminated;reason=timeout")
	alice.said("accepted 200", "1 terminated all", "ended <nil>")
	w.run(oneHour)
	bob.none()
}

// A subscription moves to a new flow with a refresh, which says where we are now.
func TestMoved(t *testing.T) {
	w, alice, bob, s, sub := up(t, nil)
	one, two := alice.link, &link{true}
	s.Moved(w.now, &link{true}, two) // not its flow
	bob.none()
	s.Moved(w.now, one, two)
	tx := bob.take("SUBSCRIBE")
	if got := alice.flows[len(alice.flows)-1]; got != two {
		t.Errorf("it went over %v", got)
	}
	if sipwire.ToTag(tx.Request()) != "bobs" {
		t.Error("a refresh is in the dialog")
	}
	bob.reply(tx, 481) // the notifier has restarted
	alice.said("lost SUBSCRIBE: 481 Call/Transaction Does Not Exist, 0s")
	tx = bob.take("SUBSCRIBE")
	anew := tx.Request()
	bob.reply(tx, 200, expires0)
	bob.notify(anew, "bobs", 1, "anew", active)
	alice.said("accepted 200", "2 active anew")
	bob.send(w.now, bob.request(sub, "bobs", 9, "old", []string{active}), &answer{})
	w.arrive()
	if len(alice.got) != 1 {
		t.Error("the former dialog is still there")
	}
}

// RFC 3515 §2.4.4: a REFER makes a subscription, which is refreshed and ended
// like others.
func TestRefer(t *testing.T) {
	refer := func(c *SubscriberConfig) {
		c.Refer = true
		c.Headers = []sipgo.Header{sipgo.NewHeader("Refer-To", "<sip:carol@example.com>")}
	}
	const trying, ok = "SIP/2.0 100 Trying", "SIP/2.0 200 OK"
	t.Run("to its end", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		subscriber(alice, refer).Start(w.now)
		tx := bob.take("REFER")
		header(t, tx.Request(), "Refer-To", "<sip:carol@example.com>")
		header(t, tx.Request(), "Expires", "")
		header(t, tx.Request(), "Event", "")
		req := tx.Request()
		bob.reply(tx, 202)
		id := strconv.Itoa(int(req.CSeq().SeqNo))
		if got := bob.notify(req, "bobs", 1, trying, active+";expires=60", "Event: refer"); got != 200 {
			t.Error("answer", got)
		}
		if got := bob.notify(req, "bobs", 2, "x", active, "Event: refer;id=1"+id); got != 481 {
			t.Error("of another REFER:", got)
		}
		re := bob.takeWithin(30*time.Second, "SUBSCRIBE")
		header(t, re.Request(), "Event", "refer")
		bob.reply(re, 200, "Expires: 60")
		if got := bob.notify(req, "bobs", 3, ok, "Subscription-State: terminated;reason=noresource", "Event: refer;id="+id); got != 200 {
			t.Error("answer", got)
		}
		alice.said("accepted 202", "1 active "+trying, "1 terminated "+ok, "ended <nil>")
		w.run(oneHour)
		bob.none()
	})
	t.Run("RFC 4488 §4: none is made", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		subscriber(alice, refer).Start(w.now)
		bob.reply(bob.take("REFER"), 202, "Refer-Sub: false")
		alice.said("accepted 202", "ended <nil>")
	})
	t.Run("refused", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		subscriber(alice, refer).Start(w.now)
		bob.reply(bob.take("REFER"), 603)
		alice.said("ended REFER: 603 Decline")
	})
}
