package sip

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// tell writes a request with a body of any type, in a call's dialog where
// there is a tag.
func (c *conn) tell(method, callID, branch string, cseq int, toTag, contentType, body string, lines ...string) {
	if toTag != "" {
		toTag = ";tag=" + toTag
	}
	if contentType != "" {
		lines = append(lines, "Content-Type: "+contentType)
	}
	c.write(method + " sip:alice@10.0.0.1;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.2:5061;branch=z9hG4bK" + branch +
		"\r\nFrom: \"Bob\" <sip:bob@example.com>;tag=bobs\r\nTo: <sip:alice@example.com>" + toTag +
		"\r\nCall-ID: " + callID + "\r\nCSeq: " + itoa(cseq) + " " + method + "\r\nMax-Forwards: 70\r\n" +
		strings.Join(append(lines, "Content-Length: "+itoa(len(body)), "", body), "\r\n"))
}

// INFO: digits, packages and what else comes in one (RFC 6086).
func TestInfo(t *testing.T) {
	bubbles(t, "received", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		for i, tt := range []struct {
			name, contentType, body string
			lines                   []string
			status                  int
			digit                   Digit
		}{
			{"relay", "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", nil, 200, Digit{'5', 160 * time.Millisecond}},
			{"relay with spaces and parameters", "Application/DTMF-Relay; x=y", "Signal= * \nDuration= 90", nil, 200, Digit{'*', 90 * time.Millisecond}},
			{"relay without duration", "application/dtmf-relay", "Signal=d", nil, 200, Digit{Key: 'D'}},
			{"RFC 4733 §3.2: 11 is #", "application/dtmf-relay", "Signal=11", nil, 200, Digit{Key: '#'}},
			{"plain", "application/dtmf", " 9\r\n", nil, 200, Digit{Key: '9'}},
			{"no digit", "application/dtmf", "16", nil, 400, Digit{}},
			{"no signal", "application/dtmf-relay", "Duration=160", nil, 400, Digit{}},
			{"too long", "application/dtmf", strings.Repeat(" ", 300) + "1", nil, 400, Digit{}},
			{"no body: are you there?", "", "", nil, 200, Digit{}},
			{"an unknown body", "application/media_control+xml", "<x/>", nil, 415, Digit{}},
			{"an unknown body that may be passed over", "text/x", "y", []string{"Content-Disposition: render;handling=optional"}, 200, Digit{}},
			{"§4.2.2: a package that was not asked for", "application/dtmf", "1", []string{"Info-Package: foo"}, 469, Digit{}},
		} {
			c.tell("INFO", "in", "i"+itoa(i), 10+i, in.m.LocalTag(), tt.contentType, tt.body, tt.lines...)
			r := c.response(tt.status)
			switch h := sipwire.Find(r, "Recv-Info"); {
			case (h != nil) != (tt.status == 469):
				t.Errorf("%s: Recv-Info %v", tt.name, h)
			case tt.status == 415 && sipwire.Header(r, "Accept") != "application/dtmf-relay, application/dtmf":
				t.Errorf("%s: %v", tt.name, r)
			case tt.status == 200 && len(r.Body()) > 0:
				t.Errorf("%s: a body in the answer", tt.name)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var got Digit
			synctest.Wait()
			time.AfterFunc(time.Millisecond, cancel)
			for e := range in.Events(ctx) {
				if e.Kind == DigitReceived {
					got = e.Digit
				}
			}
			cancel()
			if tt.digit != (Digit{}) && got != tt.digit {
				t.Errorf("%s: %+v, want %+v", tt.name, got, tt.digit)
			}
		}
		n := 0
		_ = in.Hangup(t.Context())
		for e := range in.Events(t.Context()) {
			if e.Kind == DigitReceived {
				n++
			}
		}
		if n != 5 || DigitReceived.String() != "digit received" {
			t.Errorf("%d digits", n)
		}
		c.reply(c.request("BYE"), 200)
		c.tell("INFO", "in", "late", 99, in.m.LocalTag(), "", "")
		c.response(481)
	})
	bubbles(t, "outside of a dialog", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		c.tell("INFO", "x", "b", 1, "", "application/dtmf", "1")
		c.response(481)
	})
}

// digitMedia are media that send digits, or know that they cannot.
type digitMedia struct {
	offeranswer.Media
	err  error
	sent string
}

func (m *digitMedia) SendDigits(_ context.Context, digits string, _, _ time.Duration) error {
	if m.err == nil {
		m.sent += digits
	}
	return m.err
}

func TestSendDigits(t *testing.T) {
	bubbles(t, "INFO, each when the one before was answered", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		result := make(chan error, 1)
		go func() { result <- in.SendDigits(t.Context(), "1,d#", &DigitOptions{Duration: 100 * time.Millisecond}) }()
		first := c.request("INFO")
		if got := string(first.Body()); got != "Signal=1\r\nDuration=100\r\n" || string(*first.ContentType()) != "application/dtmf-relay" {
			t.Errorf("%q", got)
		}
		c.quiet(10 * time.Second) // it was not answered
		c.reply(first, 200)
		start := time.Now()
		second := c.request("INFO")
		// 100 ms of the digit, 80 ms behind it, 2 s of the comma.
		if d := time.Since(start); d != 2180*time.Millisecond || !strings.HasPrefix(string(second.Body()), "Signal=D\r\n") {
			t.Errorf("%q after %v", second.Body(), d)
		}
		c.reply(second, 200)
		c.reply(c.request("INFO"), 200)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	bubbles(t, "media first", func(t *testing.T, s *server) {
		cfg := s.config()
		m := &digitMedia{}
		cfg.NewMedia = func(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
			none, err := NoMedia(ctx, env)
			m.Media = none
			return m, err
		}
		ua, c := registered(t, s, cfg, 3600)
		in := answered(t, ua, c)
		if err := in.SendDigits(t.Context(), "12a", nil); err != nil || m.sent != "12A" {
			t.Errorf("%v, %q", err, m.sent)
		}
		m.err = offeranswer.ErrNoDigits
		if err := in.SendDigits(t.Context(), "1", &DigitOptions{Method: DigitsRTP}); !errors.Is(err, offeranswer.ErrNoDigits) {
			t.Error(err)
		}
		result := make(chan error, 1)
		go func() { result <- in.SendDigits(t.Context(), "1", nil) }()
		c.reply(c.request("INFO"), 415)
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Method != "INFO" || se.Code != 415 || in.State() != CallEstablished {
			t.Errorf("%v, %v", err, in.State())
		}
		m.err = errors.New("broken")
		if err := in.SendDigits(t.Context(), "1", nil); !errors.Is(err, m.err) {
			t.Error(err)
		}
		m.err = nil
		go func() { result <- in.SendDigits(t.Context(), "7", &DigitOptions{Method: DigitsINFO}) }()
		c.reply(c.request("INFO"), 481)
		c.reply(c.request("BYE"), 481)
		if err := <-result; !errors.As(err, &se) || se.Code != 481 {
			t.Error(err)
		}
		synctest.Wait()
		if err := in.SendDigits(t.Context(), "7", nil); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
	bubbles(t, "what cannot be sent", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.request("INVITE")
		if err := out.SendDigits(t.Context(), "1", nil); !errors.Is(err, ErrState) {
			t.Errorf("before the call is answered: %v", err)
		}
		for _, bad := range []string{"x", "1 2", "１", strings.Repeat("1", maxDigits+1)} {
			if err := out.SendDigits(t.Context(), bad, nil); !errors.Is(err, ErrDigit) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		in := answered(t, ua, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		result := make(chan error, 1)
		go func() { result <- in.SendDigits(ctx, ",1", nil) }()
		if err := <-result; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		go func() { result <- in.SendDigits(t.Context(), ",1", nil) }()
		synctest.Wait()
		c.tell("BYE", "in", "bye", 50, in.m.LocalTag(), "", "")
		c.response(200)
		if err := <-result; !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
}

func FuzzDigit(f *testing.F) {
	f.Add(dtmfRelay, []byte("Signal=5\r\nDuration=160\r\n"))
	f.Add(dtmfPlain, []byte("11"))
	f.Add(dtmfRelay, []byte("signal = #\nduration=99999999999"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		d, ok := parseDigit(contentType, body)
		if ok != strings.ContainsRune(digitSigns, d.Key) && d.Key != 0 || d.Duration < 0 || d.Duration > 65535*time.Millisecond {
			t.Errorf("%+v, %v", d, ok)
		}
	})
}
