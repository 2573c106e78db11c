package sip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// notify sends a NOTIFY in the dialog of a SUBSCRIBE and waits for its answer.
func (c *conn) notify(sub *sipRequest, cseq, status int, state, body string, lines ...string) {
	c.t.Helper()
	c.sendNotify(sub, cseq, state, body, lines...)
	c.response(status)
}

func (c *conn) sendNotify(sub *sipRequest, cseq int, state, body string, lines ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "NOTIFY sip:alice@10.0.0.1;transport=tls SIP/2.0\r\nVia:SIP/2.0/TLS 10.0.0.2:5061;branch=z9hG4bKn%d%s\r\n", cseq, sub.CallID().Value())
	fmt.Fprintf(&b, "From:<sip:bob@example.com>;tag=server\r\nTo:<sip:alice@example.com>;tag=%s\r\n", sipwire.FromTag(sub))
	fmt.Fprintf(&b, "Call-ID:%s\r\nCSeq:%d NOTIFY\r\nMax-Forwards:10\r\nContact:<sip:10.0.0.2:5061;transport=tls>\r\n", sub.CallID().Value(), cseq)
	if !strings.Contains(strings.Join(lines, " "), "Event:") {
		lines = append(lines, "Event:dialog")
	}
	for _, l := range append(lines, "Subscription-State:"+state) {
		b.WriteString(l + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type:application/dialog-info+xml\r\n")
	}
	fmt.Fprintf(&b, "Content-Length:%d\r\n\r\n%s", len(body), body)
	c.write(b.String())
}

type subOutcome struct {
	sub *Subscription
	err error
}

func subscribing(ctx context.Context, ua *UA, o *SubscribeOptions) <-chan subOutcome {
	ch := make(chan subOutcome, 1)
	go func() {
		sub, err := ua.Subscribe(ctx, "bob", o)
		ch <- subOutcome{sub, err}
	}()
	return ch
}

// subscribed brings up a subscription that was told "one".
func subscribed(t *testing.T, ua *UA, c *conn) (*Subscription, *sipRequest) {
	t.Helper()
	outcome := subscribing(t.Context(), ua, &SubscribeOptions{Event: "dialog", Accept: []string{"application/dialog-info+xml"}})
	req := c.request("SUBSCRIBE")
	c.reply(req, 200, "Expires:3600", "Contact:<sip:10.0.0.2:5061;transport=tls>")
	c.notify(req, 1, 200, "active;expires=3600", "one")
	got := <-outcome
	if got.err != nil {
		t.Fatal(got.err)
	}
	if n := notification(t, got.sub); string(n.Body) != "one" || n.State != SubscriptionActive || n.Notifier != 1 || n.ContentType != "application/dialog-info+xml" {
		t.Fatalf("notification %+v", n)
	}
	return got.sub, req
}

// notification takes the next one.
func notification(t *testing.T, sub *Subscription) Notification {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for n := range sub.Notifications(ctx) {
		return n
	}
	t.Fatal("no notification")
	return Notification{}
}

func TestSubscription(t *testing.T) {
	bubbles(t, "RFC 6665 §4.1.2: subscribed, refreshed, told, closed", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, req := subscribed(t, ua, c)
		if got := sipwire.FormatURI(&req.Recipient); got != "sip:bob@example.com" {
			t.Error("Request-URI", got)
		}
		for name, want := range map[string]string{"Event": "dialog", "Expires": "3600", "Accept": "application/dialog-info+xml"} {
			if got := sipwire.Header(req, name); got != want {
				t.Errorf("%s: %s", name, got)
			}
		}
		if req.Contact() == nil || req.Contact().Address.Host != "10.0.0.1" {
			t.Errorf("Contact %v", req.Contact())
		}
		result := make(chan error, 1)
		go func() { result <- sub.Refresh(t.Context()) }()
		c.reply(c.request("SUBSCRIBE"), 200, "Expires:3600")
		if err := <-result; err != nil {
			t.Error(err)
		}
		c.notify(req, 2, 200, "pending", "")
		if n := notification(t, sub); n.State != SubscriptionPending || n.Body != nil {
			t.Errorf("notification %+v", n)
		}
		// By itself, before the hour is over.
		again := c.request("SUBSCRIBE")
		c.reply(again, 200, "Expires:3600")
		c.notify(req, 3, 200, "active", "two")
		go func() { result <- sub.Close(t.Context()) }()
		bye := c.request("SUBSCRIBE")
		if sipwire.Header(bye, "Expires") != "0" {
			t.Errorf("%v", bye)
		}
		c.reply(bye, 200, "Expires:0")
		c.notify(req, 4, 200, "terminated;reason=timeout", "last")
		if err := <-result; err != nil || sub.Wait(t.Context()) != nil {
			t.Error(err, sub.Err())
		}
		var bodies []string
		for n := range sub.Notifications(t.Context()) {
			bodies = append(bodies, string(n.Body))
		}
		if strings.Join(bodies, " ") != "two last" {
			t.Errorf("bodies %q", bodies)
		}
		c.notify(req, 5, 489, "active", "more") // of a package that nobody is subscribed to
		if err := sub.Refresh(t.Context()); !errors.Is(err, ErrNoSubscription) {
			t.Error(err)
		}
	})
	bubbles(t, "refused: 489, and wrong options", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		outcome := subscribing(t.Context(), ua, &SubscribeOptions{Event: "presence"})
		c.reply(c.request("SUBSCRIBE"), 489, "Allow-Events:dialog")
		var status *StatusError
		if got := <-outcome; !errors.As(got.err, &status) || status.Code != 489 || status.Method != "SUBSCRIBE" {
			t.Error(got.err)
		}
		for _, o := range []*SubscribeOptions{nil, {Event: "a b"}, {Event: "dialog", Body: []byte("x")}, {Event: "dialog", Accept: []string{"x\r\ny"}},
			{Event: "dialog", Headers: [][2]string{{"Via", "x"}}}} {
			if _, err := ua.Subscribe(t.Context(), "bob", o); err == nil {
				t.Errorf("%+v was taken", o)
			}
		}
	})
	bubbles(t, "RFC 6665 §4.4.3: a poll, to one's own address of record", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		outcome := make(chan subOutcome, 1)
		go func() {
			sub, err := ua.Subscribe(t.Context(), "", &SubscribeOptions{Event: "dialog;id=7", Poll: true})
			outcome <- subOutcome{sub, err}
		}()
		req := c.request("SUBSCRIBE")
		if got := sipwire.FormatURI(&req.Recipient); got != "sip:alice@example.com" || sipwire.Header(req, "Expires") != "0" {
			t.Errorf("%v", req)
		}
		// The NOTIFY is faster than the response.
		c.notify(req, 1, 481, "terminated;reason=timeout", "not it", "Event: dialog")
		c.notify(req, 2, 200, "terminated;reason=timeout", "all", "Event: dialog;id=7")
		c.reply(req, 200, "Expires:0")
		got := <-outcome
		if got.err != nil || got.sub.Wait(t.Context()) != nil {
			t.Fatal(got.err, got.sub.Err())
		}
		if n := notification(t, got.sub); string(n.Body) != "all" || n.State != SubscriptionTerminated || n.Reason != "timeout" {
			t.Errorf("notification %+v", n)
		}
	})
	bubbles(t, "RFC 6665 §4.1.3: ended for good", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, req := subscribed(t, ua, c)
		c.notify(req, 2, 200, "terminated;reason=noresource", "")
		var ended *TerminatedError
		if err := sub.Wait(t.Context()); !errors.As(err, &ended) || ended.Reason != "noresource" {
			t.Error(err)
		}
	})
	bubbles(t, "nobody waits any more", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		ctx, cancel := context.WithCancel(t.Context())
		outcome := subscribing(ctx, ua, &SubscribeOptions{Event: "dialog"})
		req := c.request("SUBSCRIBE")
		cancel()
		if got := <-outcome; !errors.Is(got.err, context.Canceled) {
			t.Error(got.err)
		}
		synctest.Wait()
		c.reply(req, 200, "Expires:3600")
		c.notify(req, 1, 200, "active", "one")
		bye := c.request("SUBSCRIBE")
		if sipwire.Header(bye, "Expires") != "0" {
			t.Errorf("%v", bye)
		}
		c.reply(bye, 481)
	})
}

// What is told and not read has a bound; bodies have one as well.
func TestNotificationBounds(t *testing.T) {
	bubbles(t, "the latest 64 are kept", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, req := subscribed(t, ua, c)
		for i := range 70 {
			c.notify(req, 2+i, 200, "active", fmt.Sprint(i))
		}
		synctest.Wait() // answered first, kept then
		if n := notification(t, sub); string(n.Body) != "6" || n.Missed != 6 {
			t.Errorf("the first is %s, %d missed", n.Body, n.Missed)
		}
		if n := notification(t, sub); string(n.Body) != "7" || n.Missed != 0 {
			t.Errorf("the second is %s, %d missed", n.Body, n.Missed)
		}
	})
	bubble(t, "and 1 MB of bodies, of 256 KB each", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, req := subscribed(t, ua, c)
		large := strings.Repeat("x", 256<<10)
		for i := range 6 {
			c.notify(req, 2+i, 200, "active", large)
		}
		c.notify(req, 9, 413, "active", large+"x")
		synctest.Wait()
		if n := notification(t, sub); n.Missed != 2 || len(n.Body) != len(large) {
			t.Errorf("%d bytes, %d missed", len(n.Body), n.Missed)
		}
	})
}

// 5 MB are more than a connection takes: it is closed, and the subscription
// goes on over the next.
func TestNotificationOf5MB(t *testing.T) {
	bubble(t, "the connection ends, not the subscription", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, req := subscribed(t, ua, c)
		pass(time.Minute)
		go c.sendNotify(req, 2, "active", strings.Repeat("x", 5<<20))
		c = s.accept()
		c.granted(c.request("REGISTER"), 36000)
		again := c.request("SUBSCRIBE")
		c.reply(again, 200, "Expires:3600")
		c.notify(req, 3, 200, "active", "two")
		if n := notification(t, sub); string(n.Body) != "two" || n.Missed != 0 {
			t.Errorf("notification %.100v", n)
		}
	})
}

// A subscription outlives its connection.
func TestSubscriptionMoves(t *testing.T) {
	bubble(t, "of a registered account: once that is registered again", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, first := subscribed(t, ua, c)
		pass(time.Minute)
		c.c.Close()
		c = s.accept()
		c.granted(c.request("REGISTER"), 36000)
		req := c.request("SUBSCRIBE")
		if req.CallID().Value() != first.CallID().Value() || sipwire.ToTag(req) != "server" {
			t.Errorf("not in the dialog: %v", req)
		}
		c.reply(req, 481) // the server was restarted
		anew := c.request("SUBSCRIBE")
		if sipwire.ToTag(anew) != "" || anew.CallID().Value() == first.CallID().Value() {
			t.Errorf("not a new one (RFC 6665 §4.1.2.2): %v", anew)
		}
		c.reply(anew, 200, "Expires:3600")
		c.notify(anew, 1, 200, "active", "two")
		var status *StatusError
		if n := notification(t, sub); !errors.As(n.Err, &status) || status.Code != 481 || n.State != SubscriptionTerminated || n.Retry != 0 {
			t.Errorf("notification %+v", n)
		}
		if n := notification(t, sub); string(n.Body) != "two" || n.Notifier != 2 {
			t.Errorf("notification %+v", n)
		}
	})
	bubble(t, "of one that is not registered", func(t *testing.T, s *server) {
		ua := newUA(t, s.config())
		outcome := subscribing(t.Context(), ua, &SubscribeOptions{Event: "dialog"})
		c := s.accept()
		first := c.request("SUBSCRIBE")
		c.reply(first, 200, "Expires:3600")
		c.notify(first, 1, 200, "active", "one")
		sub := (<-outcome).sub
		s.stop()
		c.c.Close()
		pass(10 * time.Minute) // nobody is there
		s.listen("10.0.0.2:5061", true)
		c = s.accept()
		req := c.request("SUBSCRIBE")
		if sipwire.ToTag(req) != "server" {
			t.Errorf("not in the dialog: %v", req)
		}
		c.reply(req, 200, "Expires:3600")
		c.notify(first, 2, 200, "active", "two")
		notification(t, sub)
		if n := notification(t, sub); string(n.Body) != "two" || n.Notifier != 1 {
			t.Errorf("notification %+v", n)
		}
	})
}

func TestCloseUnsubscribes(t *testing.T) {
	bubbles(t, "with the user agent its subscriptions end", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, req := subscribed(t, ua, c)
		closed := make(chan error, 1)
		go func() { closed <- ua.Close() }()
		for range 2 {
			m := <-c.in
			r := m.(*sipRequest)
			switch {
			case r.Method == "REGISTER" && isRemoval(r):
				c.granted(r, 0)
			case r.Method == "SUBSCRIBE" && sipwire.Header(r, "Expires") == "0":
				c.reply(r, 200, "Expires:0")
				c.sendNotify(req, 2, "terminated;reason=timeout", "")
			default:
				t.Errorf("there comes %v", r)
			}
		}
		start := time.Now()
		if err := <-closed; err != nil || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := sub.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := ua.Subscribe(t.Context(), "bob", &SubscribeOptions{Event: "dialog"}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	bubbles(t, "also where nobody answers", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 36000)
		sub, _ := subscribed(t, ua, c)
		if err := ua.Close(); err != nil {
			t.Error(err)
		}
		if err := sub.Wait(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}
