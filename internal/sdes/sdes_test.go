package sdes_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hoorn-phone/hoorn/internal/sdes"
)

// The keys of RFC 4568's examples: 30 bytes that are text.
const (
	keyA = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
	keyB = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"
	keyC = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
)

func TestParse(t *testing.T) {
	gcm := strings.Repeat("A", 37) + "g==" // 28 bytes, RFC 7714 §14.2
	for _, tt := range []struct {
		name, in string
		want     string // as written again; "" = in
		tag      int
		suite    sdes.Suite
		lifetime uint64
		mki      string // hex
		keys     int
		wsh      int
	}{
		{name: "RFC 4568 §4 offer", in: "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyB + "|2^20|1:4",
			tag: 1, suite: sdes.AESCM128HMACSHA1_80, lifetime: 1 << 20, mki: "00000001", keys: 1},
		{name: "RFC 4568 §4 answer", in: "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyC + "|2^20|1:32",
			tag: 1, suite: sdes.AESCM128HMACSHA1_80, lifetime: 1 << 20, mki: strings.Repeat("00", 31) + "01", keys: 1},
		{name: "RFC 4568 §6.1 MKI without lifetime", in: "1 AES_CM_128_HMAC_SHA1_80 inline:YUJDZGVmZ2hpSktMbW9QUXJzVHVWd3l6MTIzNDU2|1066:4",
			tag: 1, suite: sdes.AESCM128HMACSHA1_80, mki: "0000042a", keys: 1},
		{name: "RFC 4568 §6.1 two keys", in: "2 AES_CM_128_HMAC_SHA1_32 inline:" + keyA + "|2^20|1:4;inline:" + keyB + "|2^20|2:4",
			tag: 2, suite: sdes.AESCM128HMACSHA1_32, lifetime: 1 << 20, mki: "00000001", keys: 2},
		{name: "decimal lifetime", in: "3 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1000",
			tag: 3, suite: sdes.AESCM128HMACSHA1_80, lifetime: 1000, keys: 1},
		{name: "lifetime over the default", in: "3 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^64",
			want: "3 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^48",
			tag:  3, suite: sdes.AESCM128HMACSHA1_80, lifetime: sdes.DefaultLifetime, keys: 1},
		{name: "baresip and Linphone: lifetime 2^31", in: "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^31",
			tag: 1, suite: sdes.AESCM128HMACSHA1_80, lifetime: 1 << 31, keys: 1},
		{name: "WSH", in: "4 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " WSH=128",
			tag: 4, suite: sdes.AESCM128HMACSHA1_80, keys: 1, wsh: 128},
		{name: "optional extension", in: "4 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " -X=1",
			want: "4 AES_CM_128_HMAC_SHA1_80 inline:" + keyA, tag: 4, suite: sdes.AESCM128HMACSHA1_80, keys: 1},
		{name: "GCM", in: "7 AEAD_AES_128_GCM inline:" + gcm, tag: 7, suite: sdes.AEADAES128GCM, keys: 1},
		{name: "without padding, in lower case", in: "007  aead_aes_128_gcm INLINE:" + strings.TrimRight(gcm, "="),
			want: "7 AEAD_AES_128_GCM inline:" + gcm, tag: 7, suite: sdes.AEADAES128GCM, keys: 1},
		{name: "RFC 6188", in: "999999999 AES_256_CM_HMAC_SHA1_80 inline:" + strings.Repeat("A", 62) + "==",
			tag: 999999999, suite: sdes.AES256CMHMACSHA1_80, keys: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := sdes.Parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			k := c.Keys[0]
			if c.Tag != tt.tag || c.Suite != tt.suite || len(c.Keys) != tt.keys || c.WSH != tt.wsh ||
				k.Lifetime != tt.lifetime || hex.EncodeToString(k.MKI) != tt.mki ||
				len(k.Master) != c.Suite.KeyLen() || len(k.Salt) != c.Suite.SaltLen() {
				t.Errorf("tag %d, %v, %d keys, WSH %d, lifetime %d, MKI %x", c.Tag, c.Suite, len(c.Keys), c.WSH, k.Lifetime, k.MKI)
			}
			want := tt.want
			if want == "" {
				want = tt.in
			}
			if got := string(c.Append([]byte("a=crypto:"))); got != "a=crypto:"+want {
				t.Errorf("written again:\n%s\n%s", got, want)
			}
		})
	}
}

// The bytes of a key are cut where RFC 4568 §6.1 says: key, then salt.
func TestParseSplit(t *testing.T) {
	c, err := sdes.Parse("1 AES_CM_128_HMAC_SHA1_80 inline:YUJDZGVmZ2hpSktMbW9QUXJzVHVWd3l6MTIzNDU2")
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Keys[0].Master) != "aBCdefghiJKLmoPQ" || string(c.Keys[0].Salt) != "rsTuVwyz123456" {
		t.Errorf("%s %s", string(c.Keys[0].Master), string(c.Keys[0].Salt))
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"empty", "", sdes.ErrSyntax},
		{"no key", "1 AES_CM_128_HMAC_SHA1_80", sdes.ErrSyntax},
		{"tag of ten digits", "1000000000 AES_CM_128_HMAC_SHA1_80 inline:" + keyA, sdes.ErrSyntax},
		{"negative tag", "-1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA, sdes.ErrSyntax},
		{"unknown suite, RFC 4568 §6.2.3", "2 F8_128_HMAC_SHA1_80 inline:" + keyA, sdes.ErrUnsupported},
		{"unknown method", "1 AES_CM_128_HMAC_SHA1_80 uri:https", sdes.ErrUnsupported},
		{"no method", "1 AES_CM_128_HMAC_SHA1_80 " + keyA, sdes.ErrSyntax},
		{"short key", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA[4:], sdes.ErrSyntax},
		{"key of another suite", "1 AEAD_AES_128_GCM inline:" + keyA, sdes.ErrSyntax},
		{"not base64", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA[1:] + "!", sdes.ErrSyntax},
		{"lifetime zero", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|0", sdes.ErrSyntax},
		{"lifetime with a sign", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^+3", sdes.ErrSyntax},
		{"two lifetimes", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1|2", sdes.ErrSyntax},
		{"MKI first", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1:1|2^20", sdes.ErrSyntax},
		{"four fields", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^20|1:1|1:1", sdes.ErrSyntax},
		{"MKI of no length", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1:0", sdes.ErrSyntax},
		{"MKI of 129 bytes", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1:129", sdes.ErrSyntax},
		{"MKI that does not fit", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|256:1", sdes.ErrSyntax},
		{"two keys without MKI", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + ";inline:" + keyB, sdes.ErrSyntax},
		{"two keys with one MKI", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1:1;inline:" + keyB + "|1:1", sdes.ErrSyntax},
		{"MKI lengths differ", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1:1;inline:" + keyB + "|2:2", sdes.ErrSyntax},
		{"nine keys", "1 AES_CM_128_HMAC_SHA1_80 " + strings.Repeat("inline:"+keyA+"|1:1;", 8) + "inline:" + keyB + "|2:1", sdes.ErrSyntax},
		{"RFC 4568 §6.3.1", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " KDR=1", sdes.ErrUnsupported},
		{"RFC 4568 §6.3.2", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " UNENCRYPTED_SRTCP", sdes.ErrUnsupported},
		{"RFC 4568 §6.3.2", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " UNENCRYPTED_SRTP", sdes.ErrUnsupported},
		{"RFC 4568 §6.3.3", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " UNAUTHENTICATED_SRTP", sdes.ErrUnsupported},
		{"RFC 4568 §6.3.4", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^20|1:4 FEC_ORDER=FEC_SRTP", sdes.ErrUnsupported},
		{"RFC 4568 §6.3.6: under 64", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " WSH=63", sdes.ErrSyntax},
		{"mandatory extension", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + " X=1", sdes.ErrUnsupported},
		{"too many parameters", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + strings.Repeat(" -x", 17), sdes.ErrSyntax},
		{"too long", "1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + strings.Repeat(" ", 4096), sdes.ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := sdes.Parse(tt.in)
			if c != nil || !errors.Is(err, tt.want) {
				t.Fatalf("%v, %v", c, err)
			}
			if strings.Contains(err.Error(), keyA[:8]) {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, s := range sdes.Suites() {
		c, err := sdes.New(5, s, rand.NewChaCha8([32]byte{}))
		if err != nil {
			t.Fatal(err)
		}
		again, err := sdes.Parse(string(c.Append(nil)))
		if err != nil || !c.SameContext(again) || again.Tag != 5 {
			t.Errorf("%v does not survive: %v", s, err)
		}
		if p, ok := sdes.ParseSuite(s.String()); p != s || !ok {
			t.Errorf("ParseSuite(%v) = %v", s, p)
		}
	}
	if _, err := sdes.New(1, 0, rand.NewChaCha8([32]byte{})); !errors.Is(err, sdes.ErrUnsupported) {
		t.Errorf("no suite: %v", err)
	}
	if _, err := sdes.New(1, sdes.AEADAES128GCM, iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("no randomness: %v", err)
	}
}

func TestInvalidSuite(t *testing.T) {
	for _, s := range []sdes.Suite{0, 200} {
		if s.Valid() || s.KeyLen() != 0 || s.SaltLen() != 0 || s.String() != fmt.Sprintf("Suite(%d)", uint8(s)) {
			t.Errorf("%d: %v", uint8(s), s)
		}
	}
	if _, ok := sdes.ParseSuite(""); ok {
		t.Error("the empty name is a suite")
	}
}

func TestSameContext(t *testing.T) {
	parse := func(s string) *sdes.Crypto {
		c, err := sdes.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := parse("1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA)
	for in, want := range map[string]bool{
		"9 AES_CM_128_HMAC_SHA1_80 inline:" + keyA:          true,
		"1 AES_CM_128_HMAC_SHA1_32 inline:" + keyA:          false,
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + keyB:          false,
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|1:1": false,
	} {
		if got := a.SameContext(parse(in)); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
	var none *sdes.Crypto
	if !none.SameContext(nil) || none.SameContext(a) || a.SameContext(nil) {
		t.Error("nil")
	}
}

// Nothing that prints values shows a key.
func TestRedacted(t *testing.T) {
	c, err := sdes.Parse("1 AES_CM_128_HMAC_SHA1_80 inline:YUJDZGVmZ2hpSktMbW9QUXJzVHVWd3l6MTIzNDU2")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", *c)
		fmt.Fprintf(&out, verb+"\n", c.Keys)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "crypto", c, "key", c.Keys[0])
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "crypto", c, "key", c.Keys[0])
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	k := c.Keys[0].Master
	for _, s := range []string{string(k), hex.EncodeToString(k), strings.ToUpper(hex.EncodeToString(k)), "97 66 67", "YUJDZGVm", "0x61, 0x42"} {
		if strings.Contains(out.String(), s) {
			t.Errorf("%q is in\n%s", s, out.String())
		}
	}
	if !strings.Contains(out.String(), "redacted") {
		t.Error("nothing was printed")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^20|1:4 FEC_ORDER=FEC_SRTP",
		"2 AES_CM_128_HMAC_SHA1_32 inline:" + keyA + "|2^20|1:4;inline:" + keyB + "|2^20|2:4 WSH=64 -x",
		"0 AEAD_AES_256_GCM inline:" + strings.Repeat("A", 59) + "=|999",
		"1 AES_CM_128_HMAC_SHA1_80 inline:|:", "", "x y z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := sdes.Parse(s)
		if err != nil {
			if c != nil || !errors.Is(err, sdes.ErrSyntax) && !errors.Is(err, sdes.ErrUnsupported) {
				t.Fatalf("%v, %v", c, err)
			}
			return
		}
		again, err := sdes.Parse(string(c.Append(nil)))
		if err != nil || !c.SameContext(again) || again.Tag != c.Tag || again.WSH != c.WSH {
			t.Fatalf("%q does not survive: %q, %v", s, c.Append(nil), err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sdes.Parse("1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "|2^31|1:1"); err != nil {
			b.Fatal(err)
		}
	}
}
