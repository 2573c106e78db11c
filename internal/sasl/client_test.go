package sasl

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

const (
	rfcNonce  = "fyko+d2lbbFgONRv9qkxdawL"
	rfcFirst  = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
	rfcFinal  = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
	rfcServer = "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="
)

// What a server may not say to a client that waits for the server-first-message.
func TestWrongServerFirst(t *testing.T) {
	for _, c := range []struct {
		name, message string
		err           error
	}{
		{"nonce not extended", "r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096", ErrNonce},
		{"another nonce", "r=Fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096", ErrNonce},
		{"nonce of a space", "r=fyko+d2lbbFgONRv9qkxdawL 3,s=QSXCR+Q6sek8bf92,i=4096", new(SyntaxError)},
		{"endless nonce", "r=fyko+d2lbbFgONRv9qkxdawL" + strings.Repeat("x", maxNonce) + ",s=QSXCR+Q6sek8bf92,i=4096", new(SyntaxError)},
		{"iterations 1", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=1", new(IterationsError)},
		{"iterations 4095", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=4095", new(IterationsError)},
		{"iterations huge", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=2000001", new(IterationsError)},
		{"iterations beyond any integer", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=99999999999999999999999999", new(IterationsError)},
		{"iterations 0", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=0", new(SyntaxError)},
		{"iterations with a zero", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=04096", new(SyntaxError)},
		{"iterations below zero", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=-4096", new(SyntaxError)},
		{"no salt", "r=fyko+d2lbbFgONRv9qkxdawL3,i=4096", new(SyntaxError)},
		{"empty salt", "r=fyko+d2lbbFgONRv9qkxdawL3,s=,i=4096", new(SyntaxError)},
		{"salt not base64", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf9!,i=4096", new(SyntaxError)},
		{"salt over two lines", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXC\nR+Q6sek8bf92,i=4096", new(SyntaxError)},
		{"endless salt", "r=fyko+d2lbbFgONRv9qkxdawL3,s=" + strings.Repeat("QSXC", maxSalt/3+1) + ",i=4096", new(SyntaxError)},
		{"endless", rfcFirst + ",x=" + strings.Repeat("x", maxMessage), new(SyntaxError)},
		{"another order", "s=QSXCR+Q6sek8bf92,r=fyko+d2lbbFgONRv9qkxdawL3,i=4096", new(SyntaxError)},
		{"mandatory extension, first", "m=channel," + rfcFirst, ErrExtension},
		{"mandatory extension, last", rfcFirst + ",m=channel", ErrExtension},
		{"error (RFC 5802 7)", "e=unknown-user", new(ServerError)},
		{"hash of another offer (XEP-0474)", rfcFirst + ",h=AAAArBLDqgOhRRaCuuatSDFkJ08=", ErrDowngrade},
		{"two hashes", rfcFirst + ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=", new(SyntaxError)},
		{"another TLS (XEP-0515)", rfcFirst + ",t=0303", ErrDowngrade},
		{"NUL", rfcFirst + ",x=\x00", new(SyntaxError)},
		{"not UTF-8", rfcFirst + ",x=\xff", new(SyntaxError)},
		{"nothing", "", new(SyntaxError)},
		{"success at once", rfcServer, new(SyntaxError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := example(t, SHA1, 'n', "", "", rfcNonce)
			o := *exampleOffer
			o.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
			m.offer = &o
			if _, err := m.Start(); err != nil {
				t.Fatal(err)
			}
			response, err := m.Next([]byte(c.message))
			if response != nil || !sameError(err, c.err) {
				t.Fatalf("%q, %v, want %T %v", response, err, c.err, c.err)
			}
			// It is over: the right message comes too late.
			if _, err := m.Next([]byte(rfcFirst)); err != ErrOrder {
				t.Errorf("goes on: %v", err)
			}
			if err := m.Done([]byte(rfcServer)); err != ErrOrder {
				t.Errorf("ends well: %v", err)
			}
		})
	}
}

// What a server may not say to a client that waits for the server-final-message, in the success or in a challenge before it.
func TestWrongServerFinal(t *testing.T) {
	for _, c := range []struct {
		name, message string
		err           error
	}{
		{"right", rfcServer, nil},
		{"with an extension", rfcServer + ",x=y", nil},
		{"nothing", "", ErrServerSignature},
		{"wrong signature", "v=rmF9pqV8S7suAoZWja4dJRkFsKR=", new(SyntaxError)}, // with bits behind the end
		{"another signature", "v=smF9pqV8S7suAoZWja4dJRkFsKQ=", ErrServerSignature},
		{"short signature", "v=rmF9", ErrServerSignature},
		{"error", "e=invalid-proof", new(ServerError)},
		{"mandatory extension", rfcServer + ",m=x", ErrExtension},
		{"mandatory extension, first", "m=x," + rfcServer, ErrExtension},
		{"the client's proof", "v=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", ErrServerSignature},
		{"another attribute", "x=y", new(SyntaxError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			waiting := func() *scramClient {
				m := example(t, SHA1, 'n', "", "", rfcNonce)
				m.keys = new(Keys)
				_, err := m.Start()
				final, err2 := m.Next([]byte(rfcFirst))
				if errors.Join(err, err2) != nil || string(final) != rfcFinal {
					t.Fatalf("%q, %v, %v", final, err, err2)
				}
				return m
			}
			m := waiting()
			if err := m.Done([]byte(c.message)); !sameError(err, c.err) {
				t.Errorf("with success: %v, want %v", err, c.err)
			}
			if kept := m.keys.password != ""; kept != (c.err == nil) {
				t.Errorf("keys kept: %v", kept)
			}
			m = waiting()
			response, err := m.Next([]byte(c.message))
			if !sameError(err, c.err) || err == nil && (response == nil || len(response) != 0) {
				t.Fatalf("in a challenge: %q, %v, want %v", response, err, c.err)
			}
			if done := m.Done(nil); (done == nil) != (c.err == nil) {
				t.Errorf("in a challenge, then success: %v", done)
			}
		})
	}
}

func TestSuccessTooEarly(t *testing.T) {
	m := example(t, SHA1, 'n', "", "", rfcNonce)
	if err := m.Done(nil); err != ErrOrder {
		t.Errorf("before the start: %v", err)
	}
	m = example(t, SHA1, 'n', "", "", rfcNonce)
	if _, err := m.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Start(); err != ErrOrder {
		t.Errorf("started twice: %v", err)
	}
	if err := m.Done([]byte(rfcServer)); err != ErrServerSignature {
		t.Errorf("before any challenge: %v", err)
	}
}

// Names are escaped, and the gs2-header is what c repeats (RFC 5802 §5.1, §7).
func TestAuthzID(t *testing.T) {
	m, err := newSCRAMClient(choice("SCRAM-SHA-1", "", 'y', exampleOffer), &Credentials{Username: "a,b=c", Password: "x", AuthzID: "d=e,f"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.first.nonce = "n"
	first, err := m.Start()
	if err != nil || string(first) != "y,a=d=3De=2Cf,n=a=2Cb=3Dc,r=n" {
		t.Errorf("%q, %v", first, err)
	}
	final, err := m.Next([]byte("r=nm,s=QSXC,i=4096"))
	c := base64.StdEncoding.EncodeToString([]byte("y,a=d=3De=2Cf,"))
	if err != nil || !strings.HasPrefix(string(final), "c="+c+",r=nm,p=") {
		t.Errorf("%q, %v", final, err)
	}
	back, err := parseClientFirst(string(first))
	if err != nil || back.username != "a,b=c" || back.authzID != "d=e,f" {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestBadCredentials(t *testing.T) {
	offer := &Offer{Mechanisms: []string{"SCRAM-SHA-1"}}
	for _, c := range []struct {
		name string
		cred Credentials
		err  error
	}{
		{"no password", Credentials{Username: "user"}, ErrNoPassword},
		{"no user name", Credentials{Password: "x"}, new(PrepError)},
		{"prohibited in the password", Credentials{Username: "user", Password: "\x07"}, new(PrepError)},
		{"nothing left of the password", Credentials{Username: "user", Password: "\u00ad"}, new(PrepError)},
		{"not UTF-8", Credentials{Username: "\xff", Password: "x"}, new(PrepError)},
		{"NUL in the authzid", Credentials{Username: "user", Password: "x", AuthzID: "\x00"}, new(PrepError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := choice("SCRAM-SHA-1", "", 'n', offer).Client(&c.cred, nil); !sameError(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
		})
	}
	_, err := choice("SCRAM-SHA-1-PLUS", TLSExporter, 'p', offer).Client(pencil, nil)
	if !sameError(err, new(BindingError)) {
		t.Errorf("binding without TLS: %v", err)
	}
}

func TestNoRandomness(t *testing.T) {
	c := choice("SCRAM-SHA-1", "", 'n', exampleOffer)
	c.policy.Rand = strings.NewReader("short")
	if _, err := c.Client(pencil, nil); err == nil {
		t.Error("a nonce of nothing")
	}
}
