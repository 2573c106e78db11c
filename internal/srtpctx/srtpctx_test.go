package srtpctx_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/internal/srtpctx"
)

func crypto(t testing.TB, s sdes.Suite) *sdes.Crypto {
	t.Helper()
	c, err := sdes.New(1, s, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func out(t testing.TB, c *sdes.Crypto) *srtpctx.Out {
	t.Helper()
	o, err := srtpctx.NewOut(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func in(t testing.TB, c *sdes.Crypto) *srtpctx.In {
	t.Helper()
	i, err := srtpctx.NewIn(c)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// packet is a PCMU packet of 20 ms with room for protection.
func packet(ssrc uint32, index uint64) []byte {
	p := make([]byte, 172, 172+srtpctx.Overhead)
	p[0] = 0x80
	binary.BigEndian.PutUint16(p[2:], uint16(index))
	binary.BigEndian.PutUint32(p[4:], uint32(index*160))
	binary.BigEndian.PutUint32(p[8:], ssrc)
	for i := range p[12:] {
		p[12+i] = byte(index + uint64(i))
	}
	return p
}

func protect(t testing.TB, o *srtpctx.Out, ssrc uint32, index uint64) []byte {
	t.Helper()
	p, err := o.RTP(packet(ssrc, index), index)
	if err != nil {
		t.Fatalf("packet %d: %v", index, err)
	}
	return p
}

func unprotect(t testing.TB, i *srtpctx.In, p []byte, ssrc uint32, index uint64) {
	t.Helper()
	kept := bytes.Clone(p)
	got, err := i.RTP(make([]byte, 0, 1500), p)
	if err != nil {
		t.Fatalf("packet %d: %v", index, err)
	}
	if !bytes.Equal(got, packet(ssrc, index)) {
		t.Fatalf("packet %d came out changed", index)
	}
	if !bytes.Equal(p, kept) {
		t.Fatalf("packet %d: the input was changed", index)
	}
}

func refuse(t testing.TB, i *srtpctx.In, p []byte, what string) {
	t.Helper()
	kept := bytes.Clone(p)
	if _, err := i.RTP(make([]byte, 0, 1500), p); !errors.Is(err, srtpctx.ErrPacket) {
		t.Fatalf("%s: %v", what, err)
	}
	if !bytes.Equal(p, kept) {
		t.Fatalf("%s: the input was changed", what)
	}
}

func TestSuites(t *testing.T) {
	for _, s := range sdes.Suites() {
		t.Run(s.String(), func(t *testing.T) {
			c := crypto(t, s)
			o, i := out(t, c), in(t, c)
			// Over the roll-over of the sequence number, with a gap and a swap.
			for n := uint64(65500); n < 65600; n++ {
				if n == 65530 {
					n += 20
				}
				a, b := protect(t, o, 7, n), protect(t, o, 7, n+1)
				unprotect(t, i, b, 7, n+1)
				unprotect(t, i, a, 7, n)
				refuse(t, i, a, "replayed")
				n++
			}
			p := protect(t, o, 7, 70000)
			for _, at := range []int{1, 3, 9, 12, len(p) - 1} {
				bad := bytes.Clone(p)
				bad[at] ^= 1
				refuse(t, i, bad, "changed")
			}
			refuse(t, i, p[:11], "cut")
			refuse(t, i, p[:20], "cut")
			unprotect(t, i, p, 7, 70000)

			report := []byte{0x80, 201, 0, 1, 0, 0, 0, 7}
			sealed, err := o.RTCP(nil, report)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := i.RTCP(nil, sealed); err != nil || !bytes.Equal(got, report) {
				t.Fatalf("RTCP: %x, %v", got, err)
			}
			if _, err := i.RTCP(nil, sealed); !errors.Is(err, srtpctx.ErrPacket) {
				t.Errorf("replayed RTCP: %v", err)
			}
			if _, err := i.RTCP(nil, sealed[:9]); !errors.Is(err, srtpctx.ErrPacket) {
				t.Errorf("cut RTCP: %v", err)
			}
		})
	}
}

// The master key, and the session keys that follow from it, of RFC 3711
// appendix B.3; the packet is then protected by hand as in §4.1.1 and §4.2.1.
func TestKeyDerivationRFC3711B3(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	o := out(t, &sdes.Crypto{Suite: sdes.AESCM128HMACSHA1_80, Keys: []sdes.Key{{
		Master: unhex("E1F97A0D3E018BE0D64FA32C06DE4139"), Salt: unhex("0EC675AD498AFEEBB6960B3AABE6")}}})
	const ssrc, index = 0xdeadbeef, 3<<16 | 4711
	got := protect(t, o, ssrc, index)

	iv := make([]byte, 16)
	copy(iv, unhex("30CBBC08863D8C85D49DB34A9AE1"))
	for n, b := range binary.BigEndian.AppendUint32(nil, ssrc) {
		iv[4+n] ^= b
	}
	for n, b := range binary.BigEndian.AppendUint64(nil, index)[2:] {
		iv[8+n] ^= b
	}
	block, err := aes.NewCipher(unhex("C61E7A93744F39EE10734AFE3FF7A087"))
	if err != nil {
		t.Fatal(err)
	}
	want := packet(ssrc, index)
	cipher.NewCTR(block, iv).XORKeyStream(want[12:], want[12:])
	mac := hmac.New(sha1.New, unhex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"))
	mac.Write(want)
	mac.Write(binary.BigEndian.AppendUint32(nil, index>>16))
	want = append(want, mac.Sum(nil)[:10]...)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestMKI(t *testing.T) {
	for _, s := range []sdes.Suite{sdes.AESCM128HMACSHA1_80, sdes.AEADAES256GCM} {
		a, b := crypto(t, s), crypto(t, s)
		a.Keys[0].MKI, b.Keys[0].MKI = []byte{0, 1}, []byte{0, 2}
		both := &sdes.Crypto{Suite: s, Keys: []sdes.Key{a.Keys[0], b.Keys[0]}}
		i := in(t, both)
		unprotect(t, i, protect(t, out(t, both), 1, 10), 1, 10)
		unprotect(t, i, protect(t, out(t, b), 1, 11), 1, 11)
		c := crypto(t, s)
		c.Keys[0].MKI = []byte{0, 3}
		refuse(t, i, protect(t, out(t, c), 1, 12), "an unknown MKI")
	}
}

// RFC 3711 §3.3.1: a new key does not reset the roll-over counter.
func TestRekey(t *testing.T) {
	for _, s := range []sdes.Suite{sdes.AESCM128HMACSHA1_32, sdes.AEADAES128GCM} {
		for _, tt := range []struct {
			name              string
			before, last, now uint64
		}{
			{"same roll-over", 2<<16 | 100, 2<<16 | 101, 2<<16 | 102},
			{"at the roll-over", 2<<16 | 65534, 2<<16 | 65535, 3 << 16},
			{"started again at 0", 2<<16 | 100, 2<<16 | 101, 17},
		} {
			t.Run(s.String()+" "+tt.name, func(t *testing.T) {
				oldKey, newKey := crypto(t, s), crypto(t, s)
				o1, i1 := out(t, oldKey), in(t, oldKey)
				// A receiver in step from the beginning.
				for n := uint64(1); n <= tt.before; n += 20000 {
					unprotect(t, i1, protect(t, o1, 5, n), 5, n)
				}
				unprotect(t, i1, protect(t, o1, 5, tt.before), 5, tt.before)
				late := protect(t, o1, 5, tt.last)
				o2, i2 := out(t, newKey), in(t, newKey)
				i2.Continue(i1)
				p := protect(t, o2, 5, tt.now)
				refuse(t, i1, p, "the new key by the old context")
				refuse(t, i2, late, "the old key by the new context")
				unprotect(t, i2, p, 5, tt.now)
				unprotect(t, i1, late, 5, tt.last)
				unprotect(t, i2, protect(t, o2, 5, tt.now+1), 5, tt.now+1)
			})
		}
	}
}

func TestRTCPIndexGoesOn(t *testing.T) {
	a, b := crypto(t, sdes.AEADAES128GCM), crypto(t, sdes.AEADAES128GCM)
	o1, o2 := out(t, a), out(t, b)
	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 7}
	for range 3 {
		if _, err := o1.RTCP(nil, report); err != nil {
			t.Fatal(err)
		}
	}
	o2.ContinueRTCP(o1, 7)
	p, err := o2.RTCP(nil, report)
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(p[len(p)-4:]) &^ (1 << 31); got != 4 {
		t.Errorf("index %d after three packets", got)
	}
	// Back to a key of before: neither goes back.
	o1.ContinueRTCP(o2, 7)
	o2.ContinueRTCP(o1, 7)
	for i, o := range []*srtpctx.Out{o1, o2} {
		p, err := o.RTCP(nil, report)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(p[len(p)-4:]) &^ (1 << 31); got != 5 {
			t.Errorf("key %d: index %d", i+1, got)
		}
	}
}

func TestIndexReuse(t *testing.T) {
	o := out(t, crypto(t, sdes.AEADAES128GCM))
	protect(t, o, 1, 100)
	for _, n := range []uint64{100, 99} {
		if _, err := o.RTP(packet(1, n), n); !errors.Is(err, srtpctx.ErrIndex) {
			t.Errorf("index %d again: %v", n, err)
		}
	}
	if _, err := o.RTP(packet(1, 101), 102); !errors.Is(err, srtpctx.ErrPacket) {
		t.Errorf("an index that is not the packet's: %v", err)
	}
	protect(t, o, 2, 1) // another source has its own
}

func TestLifetime(t *testing.T) {
	c := crypto(t, sdes.AESCM128HMACSHA1_80)
	c.Keys[0].Lifetime = 32
	o, i := out(t, c), in(t, c)
	for n := range uint64(32) {
		if want := n >= 30; o.Expiring() != want || i.Expiring() != want {
			t.Errorf("after %d packets: expiring %v, %v", n, o.Expiring(), i.Expiring())
		}
		unprotect(t, i, protect(t, o, 1, n+1), 1, n+1)
	}
	if _, err := o.RTP(packet(1, 40), 40); !errors.Is(err, srtpctx.ErrLifetime) {
		t.Errorf("packet 33: %v", err)
	}
	if out(t, crypto(t, sdes.AEADAES256GCM)).Expiring() {
		t.Error("a fresh key expires")
	}
}

func TestSources(t *testing.T) {
	c := crypto(t, sdes.AEADAES128GCM)
	o, i := out(t, c), in(t, c)
	var err error
	var n uint32
	for n = 0; n < 1000 && err == nil; n++ {
		_, err = i.RTP(make([]byte, 0, 1500), protect(t, o, n, 1))
	}
	if !errors.Is(err, srtpctx.ErrSources) || n < 64 {
		t.Errorf("after %d sources: %v", n, err)
	}
	unprotect(t, i, protect(t, o, 3, 2), 3, 2) // the known go on
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, s := range sdes.Suites() {
		c := crypto(t, s)
		o, i := out(t, c), in(t, c)
		buf, dst, n := packet(1, 0), make([]byte, 1500), uint64(0)
		if got := testing.AllocsPerRun(100, func() {
			n++
			binary.BigEndian.PutUint16(buf[2:], uint16(n))
			p, err := o.RTP(buf[:172], n)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := i.RTP(dst, p); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%v: %v allocations per packet", s, got)
		}
	}
}

func FuzzIn(f *testing.F) {
	c := crypto(f, sdes.AEADAES128GCM)
	o := out(f, c)
	f.Add(protect(f, o, 1, 1))
	f.Add(packet(1, 2))
	f.Add([]byte{0x9f, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, p []byte) {
		kept := bytes.Clone(p)
		i := in(t, crypto(t, sdes.AESCM128HMACSHA1_80))
		if _, err := i.RTP(make([]byte, 0, 1500), p); err == nil {
			t.Error("a packet under an unknown key was taken")
		}
		if _, err := i.RTCP(make([]byte, 0, 1500), p); err == nil {
			t.Error("an RTCP packet under an unknown key was taken")
		}
		if !bytes.Equal(kept, p) {
			t.Error("the input was changed")
		}
	})
}
