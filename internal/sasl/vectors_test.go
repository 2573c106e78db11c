package sasl

import (
	"encoding/base64"
	"errors"
	"testing"
)

// vectors are exchanges of user with the password pencil.
var vectors = []struct {
	name                            string
	hash                            Hash
	header                          string
	data                            string // of the channel binding
	cnonce, snonce, salt, extension string
	clientExtension                 string // which our client does not send
	proof, signature                string
}{
	{
		name: "RFC 5802 5", hash: SHA1, header: "n,,",
		cnonce: "fyko+d2lbbFgONRv9qkxdawL", snonce: "3rfcNHYJY1ZVvWVs7j", salt: "QSXCR+Q6sek8bf92",
		proof: "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", signature: "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	},
	{
		name: "RFC 7677 3", hash: SHA256, header: "n,,",
		cnonce: "rOprNGfwEbeRWgbNEkqO", snonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
		proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	},
	{
		// The draft has no example. Made from the one of RFC 7677 with Python: hashlib.pbkdf2_hmac("sha512", …), hmac.new(…, "sha512"), which gave
		// the values of the RFCs for the other hashes.
		name: "draft-melnikov-scram-sha-512", hash: SHA512, header: "n,,",
		cnonce: "rOprNGfwEbeRWgbNEkqO", snonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
		proof:     "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
		signature: "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
	},
	{
		name: "XEP-0474 5.3", hash: SHA1, header: "p=tls-exporter,,", data: "THIS IS FAKE CB DATA",
		cnonce: "12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6", snonce: "a09117a6-ac50-4f2f-93f1-93799c2bddf6", salt: "QSXCR+Q6sek8bf92",
		extension: ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=", clientExtension: ",x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3",
		proof: "M/SIDjT+dfcxUh89jZEypRvFxB4=", signature: "MQrMPvv7yv4x4Cq4W4Ih25EqS2c=",
	},
	{
		// The same without the attribute x; from Python as above, which gives the values of the XEP with it.
		name: "XEP-0474 as we are", hash: SHA1, header: "p=tls-exporter,,", data: "THIS IS FAKE CB DATA",
		cnonce: "12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6", snonce: "a09117a6-ac50-4f2f-93f1-93799c2bddf6", salt: "QSXCR+Q6sek8bf92",
		extension: ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=",
		proof:     "NWgTsQJvWgbXKxbqd3P4BNurjkU=", signature: "EMsYR2n9LecK8qm5xR19xuvM1jw=",
	},
	{
		name: "XEP-0515", hash: SHA1, header: "p=tls-exporter,,", data: "THIS IS FAKE CB DATA",
		cnonce: "12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6", snonce: "a09117a6-ac50-4f2f-93f1-93799c2bddf6", salt: "QSXCR+Q6sek8bf92",
		extension: ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=,t=0304",
		proof:     "KHUfN8dSy1K95crT4D5y1ItLJfs=", signature: "3w34ZIMVRkx2f2Ozb3/ecRPVdv4=",
	},
}

// exampleOffer is that of the example in XEP-0474.
var exampleOffer = &Offer{
	Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"},
	Bindings:   []string{"tls-server-end-point", "tls-exporter"},
}

// example is a client that has sent its first message.
func example(t testing.TB, h Hash, flag byte, binding Binding, data, cnonce string) *scramClient {
	t.Helper()
	m, err := newSCRAMClient(choice(h.Mechanism(false), "", flag, exampleOffer), pencil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.first.binding, m.data, m.first.nonce = binding, []byte(data), cnonce
	return m
}

func TestClientVectors(t *testing.T) {
	for _, v := range vectors {
		if v.clientExtension != "" {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			flag, binding := byte('n'), Binding("")
			if v.data != "" {
				flag, binding = 'p', TLSExporter
			}
			m := example(t, v.hash, flag, binding, v.data, v.cnonce)
			if first, err := m.Start(); err != nil || string(first) != v.header+"n=user,r="+v.cnonce {
				t.Fatalf("client-first-message %q, %v", first, err)
			}
			final, err := m.Next([]byte("r=" + v.cnonce + v.snonce + ",s=" + v.salt + ",i=4096" + v.extension))
			want := "c=" + base64.StdEncoding.EncodeToString([]byte(v.header+v.data)) + ",r=" + v.cnonce + v.snonce + ",p=" + v.proof
			if err != nil || string(final) != want {
				t.Fatalf("client-final-message\n%s, %v, want\n%s", final, err, want)
			}
			if err := m.Done([]byte("v=" + v.signature)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestServerVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			salt, err := base64.StdEncoding.DecodeString(v.salt)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := NewStored(v.hash, "pencil", salt, 4096)
			if err != nil {
				t.Fatal(err)
			}
			nonce := v.cnonce + v.snonce
			s := &Server{
				cfg: &ServerConfig{}, hash: v.hash, state: sent, stored: stored, nonce: nonce, input: []byte(v.header + v.data),
				heard: "n=user,r=" + v.cnonce + ",r=" + nonce + ",s=" + v.salt + ",i=4096" + v.extension + ",",
			}
			c := base64.StdEncoding.EncodeToString([]byte(v.header + v.data))
			final, done, err := s.Next([]byte("c=" + c + ",r=" + nonce + v.clientExtension + ",p=" + v.proof))
			if err != nil || !done || string(final) != "v="+v.signature {
				t.Errorf("server-final-message %q, done %v, %v, want v=%s", final, done, err, v.signature)
			}
		})
	}
}

// XEP-0474 §5.1: sorted by octets, and the bindings only if XEP-0440 is used.
func TestOfferHash(t *testing.T) {
	for _, c := range []struct {
		name  string
		offer Offer
		hash  Hash
		want  string
	}{
		{"XEP-0474 5.3", *exampleOffer, SHA1, "G6k/rBLDqgOhRRaCuuatSDFkJ08="},
		{"in another order", Offer{
			Mechanisms: []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}, Bindings: []string{"tls-exporter", "tls-server-end-point"},
		}, SHA1, "G6k/rBLDqgOhRRaCuuatSDFkJ08="},
		// base64.b64encode(hashlib.sha256(b"PLAIN\x1eSCRAM-SHA-1").digest())
		{"no bindings", Offer{Mechanisms: []string{"SCRAM-SHA-1", "PLAIN"}}, SHA256, "aE0ZQpXO33awheXK+2X8RthcH6Xsl7MDkkir/XU/hKY="},
		// the same with \x1f behind
		{"an empty list of bindings", Offer{Mechanisms: []string{"SCRAM-SHA-1", "PLAIN"}, Bindings: []string{}}, SHA256, "HBhw8uRKtQi/oQ3aFhLALhSm9CK3ZPZ6gnQVgCwIgbM="},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.offer.hash(c.hash); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	if exampleOffer.Mechanisms[0] != "SCRAM-SHA-1" || exampleOffer.Bindings[0] != "tls-server-end-point" {
		t.Error("sorted the caller's lists")
	}
}

// RFC 4616 §4.
func TestPlainExamples(t *testing.T) {
	for _, c := range []struct {
		cred Credentials
		want string
		err  error
	}{
		{Credentials{Username: "tim", Password: "tanstaaftanstaaf"}, "\x00tim\x00tanstaaftanstaaf", nil},
		{Credentials{Username: "Kurt", Password: "xipj3plmq", AuthzID: "Ursel"}, "Ursel\x00Kurt\x00xipj3plmq", nil},
		{Credentials{Username: "tim"}, "", ErrNoPassword},
		{Credentials{Username: "t\x00im", Password: "x"}, "", new(PrepError)},
		{Credentials{Username: "tim", Password: "\xff"}, "", new(PrepError)},
		{Credentials{Password: "x"}, "", new(PrepError)},
	} {
		got, err := c.cred.plainMessage()
		if string(got) != c.want || !sameError(err, c.err) {
			t.Errorf("%v: %q, %v, want %q, %v", c.cred, got, err, c.want, c.err)
		}
	}
}

// sameError holds an error against a sentinel, or against one of the types of this package.
func sameError(err, want error) bool {
	if err == nil || want == nil {
		return err == want
	}
	switch want.(type) {
	case *SyntaxError:
		return errors.As(err, new(*SyntaxError))
	case *PrepError:
		return errors.As(err, new(*PrepError))
	case *IterationsError:
		return errors.As(err, new(*IterationsError))
	case *ServerError:
		return errors.As(err, new(*ServerError))
	case *BindingError:
		return errors.As(err, new(*BindingError))
	case *NoMechanismError:
		return errors.As(err, new(*NoMechanismError))
	}
	return errors.Is(err, want)
}
