package sip

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// DigitReceived is the event of a digit that came in an INFO: Event.Digit.
// Those that come as telephone-events are the media's to tell.
const DigitReceived EventKind = 32

// Digit is a key that the peer pressed.
type Digit struct {
	Key      rune          // 0 to 9, *, #, A to D
	Duration time.Duration // 0 where the peer does not say
}

// ErrDigit says that something is no digit: not one of 0 to 9, *, #, A to D,
// nor a comma.
var ErrDigit = errors.New("sip: not a digit")

// DigitMethod is how digits travel.
type DigitMethod int

// The methods.
const (
	DigitsAuto DigitMethod = iota // telephone-events where they were negotiated, else INFO
	DigitsRTP                     // telephone-events (RFC 4733)
	DigitsINFO                    // application/dtmf-relay in INFO requests
)

// DigitOptions are the wishes about digits. The zero value has none.
type DigitOptions struct {
	Method DigitMethod
	// Duration of each digit; 0 is 120 ms with telephone-events, 160 ms with INFO.
	Duration time.Duration
	// Gap between digits; 0 is 80 ms.
	Gap time.Duration
}

const (
	infoDuration = 160 * time.Millisecond
	infoGap      = 80 * time.Millisecond
	digitPause   = 2 * time.Second // a comma
	maxDigits    = 256             // of one SendDigits
)

// SendDigits presses keys: 0 to 9, *, # and A to D, in either case; a comma
// is a pause of two seconds. It returns when the last digit was sent. Digits
// travel as telephone-events (RFC 4733) where the media have agreed on that, else each
// in an INFO of its own, sent when the one before was answered.
//
// The error is ErrDigit, with nothing sent; offeranswer.ErrNoDigits where
// telephone-events alone are wanted and not agreed; a *StatusError where the
// peer refuses an INFO (415: it takes no digits so); ErrState for an INFO
// before the call is answered; ErrEnded; or the context's. At most 256 digits
// are taken at once.
func (c *Call) SendDigits(ctx context.Context, digits string, o *DigitOptions) error {
	if o == nil {
		o = &DigitOptions{}
	}
	keys := strings.ToUpper(digits)
	if len(keys) > maxDigits || strings.Trim(keys, "0123456789*#ABCD,") != "" {
		return fmt.Errorf("%w: %q", ErrDigit, digits)
	}
	if c.State() == CallEnded {
		return ErrEnded
	}
	if o.Method != DigitsINFO {
		err := offeranswer.ErrNoDigits
		if m, ok := c.Media().(offeranswer.DigitSender); ok {
			err = m.SendDigits(ctx, keys, o.Duration, o.Gap)
		}
		if o.Method == DigitsRTP || !errors.Is(err, offeranswer.ErrNoDigits) {
			return err
		}
	}
	for i, key := range keys {
		pause := orDefault(o.Duration, infoDuration) + orDefault(o.Gap, infoGap)
		if key == ',' {
			pause = digitPause
		} else if err := c.infoDigit(ctx, key, orDefault(o.Duration, infoDuration)); err != nil {
			return err
		}
		if i == len(keys)-1 {
			break
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-c.done:
			t.Stop()
			return ErrEnded
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// infoDigit sends one digit in an INFO and waits for its answer.
func (c *Call) infoDigit(ctx context.Context, key rune, d time.Duration) error {
	_, err := c.request(ctx, call.Within{
		Method:      sipgo.INFO,
		ContentType: dtmfRelay,
		Body:        fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", key, d.Milliseconds()),
	})
	return err
}

// request sends a request within the call's dialog and waits for its final
// response; one that is no 2xx is a *StatusError.
func (c *Call) request(ctx context.Context, w call.Within) (*sipgo.Response, error) {
	method := string(w.Method)
	type outcome struct {
		r   *sipgo.Response
		err error
	}
	result := make(chan outcome, 1)
	w.Done = func(_ time.Time, r *sipgo.Response, err error) {
		if err == nil && !r.IsSuccess() {
			err = call.Refused(method, r)
		}
		result <- outcome{r, publicError(method, err)}
	}
	if err := c.try(ctx, func(now time.Time) error { return c.m.Within(now, w) }); err != nil {
		return nil, err
	}
	select {
	case o := <-result:
		return o.r, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ua.ep.Context().Done():
		return nil, ErrClosed
	}
}

// The types of bodies that carry a digit.
const (
	dtmfRelay = "application/dtmf-relay" // Signal=5, Duration=160
	dtmfPlain = "application/dtmf"       // 5
)

// parseDigit reads a digit out of the body of an INFO: what gateways have
// agreed on without a standard. Digits are signs, or numbers up to 15 as
// telephone-events have them (RFC 4733 §3.2).
func parseDigit(contentType string, body []byte) (Digit, bool) {
	if len(body) > 256 {
		return Digit{}, false
	}
	if contentType == dtmfPlain {
		key, ok := digitKey(strings.TrimSpace(string(body)))
		return Digit{Key: key}, ok
	}
	var d Digit
	ok := false
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case strings.EqualFold(name, "Signal"):
			d.Key, ok = digitKey(value)
		case strings.EqualFold(name, "Duration"):
			if ms, err := strconv.ParseUint(value, 10, 16); err == nil {
				d.Duration = time.Duration(ms) * time.Millisecond
			}
		}
	}
	return d, ok
}

const digitSigns = "0123456789*#ABCD" // in the order of RFC 4733 §3.2

func digitKey(s string) (rune, bool) {
	s = strings.ToUpper(s)
	if len(s) == 1 && strings.Contains(digitSigns, s) {
		return rune(s[0]), true
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && int(n) < len(digitSigns) {
		return rune(digitSigns[n]), true
	}
	return 0, false
}
