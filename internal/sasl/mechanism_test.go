package sasl

import (
	"errors"
	"strings"
	"testing"
)

// PLAIN and EXTERNAL say one thing, and hear nothing but success.
func TestOneMessage(t *testing.T) {
	offer := &Offer{}
	for _, c := range []struct{ mechanism, want string }{
		{"PLAIN", "boss\x00user\x00pencil"},
		{"EXTERNAL", "boss"},
	} {
		begin := func() Mechanism {
			m, err := choice(c.mechanism, "", 0, offer).Client(&Credentials{Username: "user", Password: "pencil", AuthzID: "boss"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		m := begin()
		if err := m.Done(nil); err != ErrOrder {
			t.Errorf("%s: success before the start: %v", c.mechanism, err)
		}
		m = begin()
		if got, err := m.Start(); string(got) != c.want || err != nil || m.Name() != c.mechanism {
			t.Errorf("%s: %q, %v", m.Name(), got, err)
		}
		if _, err := m.Start(); err != ErrOrder {
			t.Errorf("%s: started twice: %v", c.mechanism, err)
		}
		if err := m.Done(nil); err != nil {
			t.Errorf("%s: %v", c.mechanism, err)
		}
		m = begin()
		_, err := m.Start()
		_, err2 := m.Next([]byte{})
		if err != nil || err2 != ErrOrder || m.Done(nil) != ErrOrder {
			t.Errorf("%s: a challenge: %v, %v", c.mechanism, err, err2)
		}
	}
	// Whom to act as may be nobody in particular, which is an empty response and not none.
	m, err := choice("EXTERNAL", "", 0, offer).Client(&Credentials{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Start(); got == nil || len(got) != 0 || err != nil {
		t.Errorf("%#v, %v", got, err)
	}
	if _, err := choice("PLAIN", "", 0, offer).Client(&Credentials{Username: "user"}, nil); err != ErrNoPassword {
		t.Errorf("PLAIN without a password: %v", err)
	}
}

// Users read these.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&IterationsError{Got: 1, Min: 4096, Max: 9999}, "1 iterations, less than 4096"},
		{&IterationsError{Got: 10000, Min: 4096, Max: 9999}, "10000 iterations, more than 9999"},
		{&NoMechanismError{Offered: []string{"PLAIN", "X"}, Reason: "PLAIN is not allowed"}, "[PLAIN X]: PLAIN is not allowed"},
		{&Failure{Condition: NotAuthorized, Text: "Nope", Err: &ServerError{Value: invalidProof}}, `not-authorized ("Nope"): sasl: server says "invalid-proof"`},
		{&BindingError{Type: TLSExporter, Reason: "no keying material", Err: errors.New("x")}, "tls-exporter: no keying material: x"},
		{&DowngradeError{Reason: "less"}, "downgrade: less"},
		{&SyntaxError{Message: "server-first-message", Reason: "not base64"}, "malformed server-first-message: not base64"},
		{&PrepError{What: "password", Reason: "not UTF-8"}, "password: not UTF-8"},
	} {
		if got := c.err.Error(); !strings.HasPrefix(got, "sasl: ") || !strings.HasSuffix(got, c.want) {
			t.Errorf("%q, want …%q", got, c.want)
		}
	}
}
