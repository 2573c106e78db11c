package negotiate

import (
	"errors"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// reason checks that what an untrusted body led to is an *Error that can be
// sent.
func reason(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind == nil || e.Status != 400 && e.Status != 488 {
		t.Fatalf("error %v", err)
	}
}

// readable checks that our own description can be read, without one stream in
// it that could not, and has this many streams.
func readable(t *testing.T, b []byte, streams int) {
	t.Helper()
	r, err := parse(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if len(r.media) != streams {
		t.Fatalf("%d streams of %d\n%s", len(r.media), streams, b)
	}
	for i := range r.media {
		if r.media[i].err != nil {
			t.Fatalf("%v\n%s", r.media[i].err, b)
		}
	}
}

// FuzzAnswer gives any offer to a new leg and then to one that has agreed on
// something.
func FuzzAnswer(f *testing.F) {
	for _, tt := range answers {
		f.Add(crlf(tt.offer), byte(tt.cfg.Policy))
	}
	f.Fuzz(func(t *testing.T, offer []byte, pol byte) {
		l := newSession(t, config(policy(Policy(pol%3)))).Leg()
		got, err := l.Answer(offer, offeranswer.Options{}, here)
		if err != nil {
			reason(t, err)
			return
		}
		r, perr := parse(offer)
		if perr != nil {
			t.Fatal(perr)
		}
		readable(t, got, len(r.media))
		if err := l.Commit(); err != nil {
			t.Fatal(err)
		}
		for i, m := range l.Agreed() {
			if !m.Disabled && (m.Send.Codec == nil || Policy(pol%3) == Required && !m.Secure() || Policy(pol%3) == Off && m.Secure()) {
				t.Fatalf("stream %d: %+v", i, m)
			}
		}
		// The same again changes nothing.
		again, err := l.Answer(offer, offeranswer.Options{}, here)
		if err != nil || string(again) != string(got) {
			t.Fatalf("%v\n%s\n%s", err, got, again)
		}
		l.Rollback()
		// An offer of ours after it has as many streams.
		mine, err := l.Offer(offeranswer.Options{}, here)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.media) > 0 {
			readable(t, mine, len(r.media))
		}
	})
}

// FuzzSetAnswer gives any answer to an offer of two streams.
func FuzzSetAnswer(f *testing.F) {
	for _, tt := range answers {
		f.Add(crlf(tt.offer), byte(tt.cfg.Policy))
		head, audio, ok := strings.Cut(tt.offer, "\nm=")
		if ok {
			f.Add(crlf(head+"\nm="+audio+"\nm="+audio), byte(tt.cfg.Policy))
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, pol byte) {
		s := newSession(t, config(policy(Policy(pol%3))))
		if _, err := s.Offer(offeranswer.Options{Add: []offeranswer.Kind{offeranswer.Audio}}, here); err != nil {
			t.Fatal(err)
		}
		l := s.Leg()
		if err := l.SetAnswer(answer, false); err != nil {
			reason(t, err)
			if !l.Open() || l.Agreed() != nil {
				t.Fatal("an answer that failed did something")
			}
			return
		}
		for i, m := range l.Agreed() {
			if !m.Disabled && (m.Send.Codec == nil || m.LocalCrypto == m.RemoteCrypto != (m.LocalCrypto == nil) ||
				Policy(pol%3) == Required && !m.Secure()) {
				t.Fatalf("stream %d: %+v", i, m)
			}
		}
		mine, err := l.Offer(offeranswer.Options{}, here)
		if err != nil {
			t.Fatal(err)
		}
		readable(t, mine, 2)
	})
}

func BenchmarkOffer(b *testing.B) {
	c := config(policy(Required))
	c.Rand = nil
	s := newSession(b, c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Offer(offeranswer.Options{}, here); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	c := config(policy(Required))
	c.Rand = nil
	s := newSession(b, c)
	offer, err := newSession(b, c).Offer(offeranswer.Options{}, here)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Leg().Answer(offer, offeranswer.Options{}, here); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetAnswer(b *testing.B) {
	c := config(policy(Required))
	c.Rand = nil
	s := newSession(b, c)
	offer, err := s.Offer(offeranswer.Options{}, here)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := newSession(b, c).Leg().Answer(offer, offeranswer.Options{}, here)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Leg().SetAnswer(answer, false); err != nil {
			b.Fatal(err)
		}
	}
}
