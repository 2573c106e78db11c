package sip

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

func itoa(n int) string { return strconv.Itoa(n) }

// The example of RFC 3428 §10.
const watson = "Watson, come here."

type sent struct {
	r   MessageResult
	err error
}

func TestSendMessage(t *testing.T) {
	bubbles(t, "RFC 3428 §10: delivered, deferred, refused, lost", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		result := make(chan sent, 1)
		send := func() {
			r, err := ua.SendMessage(t.Context(), "user2", "text/plain", []byte(watson))
			result <- sent{r, err}
		}
		go send()
		req := c.request("MESSAGE")
		if string(req.Body()) != watson || string(*req.ContentType()) != "text/plain" || req.Recipient.String() != "sip:user2@example.com" {
			t.Errorf("%v", req)
		}
		if req.Contact() != nil { // §4: "User agents MUST NOT insert Contact header fields into MESSAGE requests"
			t.Error("§4: a Contact in MESSAGE")
		}
		c.reply(req, 100)
		c.reply(req, 200)
		if got := <-result; got.err != nil || got.r != (MessageResult{Status: 200}) {
			t.Errorf("%+v", got)
		}
		go send()
		c.reply(c.request("MESSAGE"), 202)
		if got := <-result; got.err != nil || got.r != (MessageResult{Deferred: true, Status: 202}) {
			t.Errorf("%+v", got)
		}
		go send()
		c.reply(c.request("MESSAGE"), 415, "Accept: text/html")
		var se *StatusError
		if got := <-result; !errors.As(got.err, &se) || se.Method != "MESSAGE" || se.Code != 415 {
			t.Errorf("%+v", got)
		}
		go send()
		c.request("MESSAGE")
		var te *TimeoutError
		if got := <-result; !errors.As(got.err, &te) {
			t.Errorf("%+v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ua.SendMessage(ctx, "bob", "text/plain", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.request("MESSAGE")
		for _, bad := range []struct {
			uri, contentType string
			size             int
		}{{"", "text/plain", 1}, {"bob", "text", 1}, {"bob", "text/plain\r\nX: y", 1}, {"bob", "a b/c", 1}, {"bob", "text/plain", maxMessage + 1}} {
			if _, err := ua.SendMessage(t.Context(), bad.uri, bad.contentType, make([]byte, bad.size)); err == nil {
				t.Errorf("sent: %+v", bad)
			}
		}
	})
	bubbles(t, "within a call", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		result := make(chan sent, 1)
		go func() {
			r, err := in.SendMessage(t.Context(), "text/plain", []byte(watson))
			result <- sent{r, err}
		}()
		req := c.request("MESSAGE")
		if string(*req.CallID()) != "in" || sipwire.ToTag(req) != "bobs" || string(req.Body()) != watson || req.Contact() != nil {
			t.Errorf("%v", req)
		}
		c.reply(req, 200)
		if got := <-result; got.err != nil || got.r.Status != 200 {
			t.Errorf("%+v", got)
		}
	})
	// What does not fit in a datagram asks for a stream (RFC 3261 §18.1.1),
	// and a short one goes as it is.
	udpAccount(t, "X-None: 1", func(t *testing.T, f *far, ua *UA, _ *datagrams) {
		result := make(chan sent, 1)
		go func() {
			r, err := ua.SendMessage(t.Context(), "user2", "text/plain", []byte(watson))
			result <- sent{r, err}
		}()
		f.request("MESSAGE").reply(200)
		if got := <-result; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestMessages(t *testing.T) {
	bubbles(t, "received, in a call and outside", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.MessageTypes = []string{"text/*", "application/im-iscomposing+xml"}
		ua, c := registered(t, s, cfg, 3600)
		in := answered(t, ua, c)
		c.tell("MESSAGE", "m1", "m1", 1, "", "text/plain;charset=utf-8", watson, `P-Asserted-Identity: "Robert" <sip:1001@example.com>`)
		if r := c.response(200); sipwire.Header(r, "Contact") != "" || len(r.Body()) > 0 {
			t.Errorf("%v", r) // §7: no body, no Contact
		}
		c.tell("MESSAGE", "in", "m2", 20, in.m.LocalTag(), "text/html", "<b>")
		c.response(200)
		next := func() *Message {
			for m := range ua.Messages(t.Context()) {
				return m
			}
			return nil
		}
		if m := next(); m.Call != nil || string(m.Body) != watson || m.ContentType != "text/plain;charset=utf-8" ||
			m.Remote != (Party{"sip:1001@example.com", "Robert"}) || m.Identity.From.URI != "sip:bob@example.com" {
			t.Errorf("%+v", m)
		}
		if m := next(); m.Call != in || string(m.Body) != "<b>" {
			t.Errorf("%+v", m)
		}
	})
	bubbles(t, "refused", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		for i, tt := range []struct {
			contentType, body string
			lines             []string
			status            int
		}{
			{"text/html", "<b>", nil, 415},
			{"text/plain", "x", []string{"Content-Encoding: gzip"}, 415},
			{"", "x", nil, 400},
			{"text/plain", "x", []string{"Require: cpim"}, 420},
			{"text/plain", "x", []string{"Content-Encoding: identity"}, 200},
			{"", "", nil, 200},
		} {
			c.tell("MESSAGE", "r"+itoa(i), "r"+itoa(i), 1, "", tt.contentType, tt.body, tt.lines...)
			if r := c.response(tt.status); tt.status == 415 && sipwire.Header(r, "Accept") != "text/plain" {
				t.Errorf("%v", r)
			}
		}
		c.tell("MESSAGE", "gone", "g", 1, "nobody", "text/plain", "x")
		c.response(481)
	})
	bubble(t, "413 for one that is too large", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		c.tell("MESSAGE", "big", "big", 1, "", "text/plain", strings.Repeat("x", maxMessage+1))
		c.response(413)
		c.tell("MESSAGE", "most", "most", 1, "", "text/plain", strings.Repeat("x", maxMessage))
		c.response(200)
	})
	bubbles(t, "480 while too many wait", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.MessageQueue = 2
		ua, c := registered(t, s, cfg, 3600)
		for i, status := range []int{200, 200, 480} {
			c.tell("MESSAGE", "q"+itoa(i), "q"+itoa(i), 1, "", "text/plain", itoa(i))
			if r := c.response(status); status == 480 && sipwire.Header(r, "Retry-After") != "10" {
				t.Errorf("%v", r)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for m := range ua.Messages(ctx) {
				got = append(got, string(m.Body))
			}
		}()
		synctest.Wait()
		cancel()
		<-done
		if strings.Join(got, "") != "01" {
			t.Errorf("%q", got)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range ua.Messages(context.Background()) {
				t.Error("a message out of nothing")
			}
		}()
		go func() { c.granted(c.request("REGISTER"), 0) }()
		ua.Close()
		<-ended
		if _, err := ua.SendMessage(t.Context(), "bob", "text/plain", nil); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}
