package sip

import (
	"errors"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// RFC 3261 §8.1.3.4: the contacts of a 3xx are tried in the order of their q,
// each once; what made the call different goes on with it.
func TestRedirect_RFC3261_8_1_3_4(t *testing.T) {
	onStage(t, "by q, with the headers it came with", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c, err := s.ua.Start(t.Context(), "bob", &DialOptions{Headers: [][2]string{{"Subject", "x"}}})
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(302, "Contact: <sip:low@example.com>;q=0.1, <mailto:bob@example.com>, <sip:bob@example.com>", "Contact: <sip:high@example.com?Subject=y>;q=0.9, <tel:+123>;q=0.5",
			"Diversion: <sip:bob@example.com>;reason=unconditional", "History-Info: <sip:bob@example.com>;index=1")
		s.request("ACK")
		for _, want := range []string{"sip:high@example.com", "sip:+123@example.com;user=phone", "sip:low@example.com"} {
			req := bob.called()
			if got := sipwire.FormatURI(&req.Recipient); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if req.To().Address.User != "bob" || sipwire.Header(req, "Diversion") != "<sip:bob@example.com>;reason=unconditional" ||
				sipwire.Header(req, "History-Info") != "<sip:bob@example.com>;index=1" || sipwire.Header(req, "Subject") != "x" {
				t.Errorf("%v", req)
			}
			if want != "sip:low@example.com" {
				bob.answer(480)
				s.request("ACK")
				continue
			}
			bob.answer(180)
			bob.pickUp()
		}
		if err := c.Answered(t.Context()); err != nil || c.Remote().URI != "sip:low@example.com" {
			t.Errorf("%v, %v", err, c.Remote())
		}
		go c.Hangup(t.Context())
		bob.bye()
	})
	onStage(t, "in circles", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c, err := s.ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(301, "Contact: <sip:carol@example.com>")
		s.request("ACK")
		bob.called()
		bob.answer(302, "Contact: <sip:bob@example.com>, <sip:carol@EXAMPLE.com>")
		s.request("ACK")
		var se *StatusError
		if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 302 {
			t.Error(err)
		}
	})
	for _, tt := range []struct{ max, want int }{{0, 5}, {2, 2}, {-1, 0}} {
		onStage(t, "without an end", nil, func(t *testing.T, s *stage) {
			bob := s.actor("bob")
			c, err := s.ua.Start(t.Context(), "bob", &DialOptions{MaxRedirects: tt.max})
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.want + 1 {
				bob.called()
				bob.answer(302, "Contact: <sip:"+string(rune('c'+i))+"@example.com>")
				s.request("ACK")
			}
			var se *StatusError
			if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 302 || len(se.Contacts) != 1 {
				t.Error(err)
			}
		})
	}
	onStage(t, "refused for all; given up", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c, err := s.ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(300, "Contact: <sip:c@example.com>, <sip:d@example.com>")
		s.request("ACK")
		bob.called()
		bob.answer(603)
		s.request("ACK")
		var se *StatusError
		if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 603 {
			t.Error(err)
		}
		c, err = s.ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(302, "Contact: <sip:c@example.com>, <sip:d@example.com>")
		s.request("ACK")
		bob.called()
		bob.answer(180)
		go c.Hangup(t.Context())
		s.request("CANCEL").reply(200)
		bob.answer(487)
		s.request("ACK")
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
