package sasl

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// What is parsed can be written again, and says the same.

func FuzzClientFirst(f *testing.F) {
	for _, s := range []string{
		"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "y,a=d=3De=2Cf,n=a=2Cb,r=x,z=y", "p=tls-exporter,,n=user,r=12C4CD5C", "n,,m=x,n=user,r=x", "p=,,n=,r=", ",,", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseClientFirst(s)
		if err != nil {
			return
		}
		if m.header+m.bare != s {
			t.Fatalf("%q and %q of %q", m.header, m.bare, s)
		}
		again, err := parseClientFirst(m.format())
		if err != nil || again.flag != m.flag || again.binding != m.binding || again.authzID != m.authzID || again.username != m.username || again.nonce != m.nonce {
			t.Fatalf("%q: %+v, then %+v, %v", s, m, again, err)
		}
	})
}

func FuzzServerFirst(f *testing.F) {
	for _, s := range []string{
		rfcFirst, rfcFirst + ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=,t=0304", rfcFirst + ",x=y,h=a,h=b", "m=x," + rfcFirst, "e=other-error", "r=,s=,i=", "r=x,s=QQ==,i=0", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseServerFirst(s)
		if err != nil {
			return
		}
		if m.iterations < 1 || len(m.nonce) > maxNonce || len(m.salt) > maxSalt || len(m.salt) == 0 {
			t.Fatalf("%q: %+v passes the bounds", s, m)
		}
		again, err := parseServerFirst(m.format())
		if err != nil || again.nonce != m.nonce || !bytes.Equal(again.salt, m.salt) || again.iterations != m.iterations ||
			again.offerHash != m.offerHash || again.tlsVersion != m.tlsVersion {
			t.Fatalf("%q: %+v, then %+v, %v", s, m, again, err)
		}
	})
}

func FuzzClientFinal(f *testing.F) {
	for _, s := range []string{rfcFinal, "c=biws,r=n,x=y,p=AAAA", "c=biws,r=n", "c=biws,r=n,p=AAAA,x=y", "p=AAAA", "c=,r=,p=", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseClientFinal(s)
		if err != nil {
			return
		}
		if m.format() != s {
			t.Fatalf("%q became %q", s, m.format())
		}
		again := clientFinal{binding: m.binding, nonce: m.nonce}
		if again.start(); !strings.HasPrefix(s, again.withoutProof) {
			t.Fatalf("%q begins with %q", s, again.withoutProof)
		}
	})
}

func FuzzServerFinal(f *testing.F) {
	for _, s := range []string{rfcServer, rfcServer + ",x=y", "e=invalid-proof", "e=invalid-proof,x=y", "v=", "v=QQ=", "m=x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		signature, err := parseServerFinal(s)
		if err != nil {
			return
		}
		if again, err := parseServerFinal(formatServerFinal(signature)); err != nil || !slices.Equal(again, signature) {
			t.Fatalf("%q: %x, then %x, %v", s, signature, again, err)
		}
	})
}

// FuzzServer gives any two messages to a server of any mechanism: nobody is signed in by chance.
func FuzzServer(f *testing.F) {
	f.Add(uint8(0), []byte("n,,n=user,r=x"), []byte("c=biws,r=x,p=AAAA"))
	f.Add(uint8(1), []byte("p=tls-exporter,,n=user,r=x"), []byte("c=biws,r=x,p=AAAA"))
	f.Add(uint8(6), []byte("\x00user\x00pen"), []byte(nil))
	f.Add(uint8(7), []byte("user"), []byte(nil))
	mechanisms := slices.Concat(allMechanisms, allTokens[:4])
	f.Add(uint8(len(allMechanisms)), []byte("user\x00token"), []byte(nil))
	// Few iterations: the point is the messages.
	stored, err := NewStored(SHA1, "pencil-that-nobody-guesses", []byte("salt"), 1)
	if err != nil {
		f.Fatal(err)
	}
	cfg := &ServerConfig{
		Offer:   &Offer{Mechanisms: mechanisms},
		Token:   func(string, string) (string, error) { return "token-that-nobody-guesses", nil },
		Lookup:  func(string, Hash) (Stored, error) { return stored, nil },
		Binding: func(Binding) ([]byte, error) { return []byte("data"), nil },
	}
	f.Fuzz(func(t *testing.T, which uint8, a, b []byte) {
		s, err := NewServer(mechanisms[int(which)%len(mechanisms)], cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range [][]byte{a, b} {
			_, done, err := s.Next(m)
			if done || s.Username() != "" {
				t.Fatalf("%q signed in %q", m, s.Username())
			}
			if err != nil {
				return
			}
		}
	})
}
