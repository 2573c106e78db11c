package sasl

import "testing"

// BenchmarkSignIn is both halves of one SCRAM exchange, without TLS.
func BenchmarkSignIn(b *testing.B) {
	offer := &Offer{Mechanisms: allMechanisms}
	cfg := &ServerConfig{Offer: offer, Lookup: users(b), Protect: true}
	for _, h := range hashes {
		c := choice(h.Mechanism(false), "", 'n', offer)
		for _, r := range []struct {
			name string
			keys *Keys
		}{{"derived", nil}, {"remembered", new(Keys)}} {
			b.Run(h.String()+" "+r.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := signIn(b, c, pencil, r.keys, cfg); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkDerive is what the bound of iterations protects from.
func BenchmarkDerive(b *testing.B) {
	for _, h := range hashes {
		b.Run(h.String(), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := h.derive("pencil", []byte("sixteen bytes of"), 100_000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
