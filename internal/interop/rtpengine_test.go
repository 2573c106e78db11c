package interop

import (
	"testing"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/sip"
)

// A relay between one side that encrypts and one that does not: rtpengine decrypts what we encrypted and encrypts
// what we decrypt, so that each suite is held against its own implementation.
func TestRTPEngine(t *testing.T) {
	t.Parallel()
	codecs := []codec.Codec{g711.PCMU()}
	for _, suite := range []string{
		"AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32",
	} {
		for _, weCall := range []bool{true, false} {
			name := map[bool]string{true: "offered", false: "answered"}[weCall] + " " + suite
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				listening(t, 1)
				relay := peertest.StartRTPEngine(t)
				flags := map[bool]string{true: "RTP/AVP", false: "RTP/SAVP"}[weCall] // towards the callee
				k := peertest.StartKamailio(t, peertest.KamailioConfig{RTPEngine: relay, OfferFlags: flags})
				secure := newPhone(t, k, "alice", &media.Config{Suites: []string{suite}, Codecs: codecs})
				plain := newPhoneOver(t, k, "bob", "udp", &media.Config{SRTP: media.SRTPOff, Codecs: codecs})

				from, to := secure, plain
				if !weCall {
					from, to = plain, secure
				}
				out, err := from.Start(deadline(t, patience), to.AOR(), nil)
				if err != nil {
					t.Fatal(err)
				}
				in := accept(t, to.UA)
				if err := in.Answer(deadline(t, patience), nil); err != nil {
					t.Fatal(err)
				}
				if err := out.Answered(deadline(t, patience)); err != nil {
					t.Fatal(err)
				}
				calls := map[*ourPhone]*sip.Call{from: out, to: in}
				alice, aliceHears := secure.session(t, calls[secure])
				bob, bobHears := plain.session(t, calls[plain])
				aliceHears.understand(t, "alice", ourSpeaker)
				bobHears.understand(t, "bob", ourSpeaker)
				checkStats(t, alice, "PCMU", suite)
				checkStats(t, bob, "PCMU", "")
				for _, s := range []*media.Session{alice, bob} {
					if remote := s.Stats().Remote; !relay.Relays(int(remote.Port())) {
						t.Errorf("media go to %v, not through the relay", remote)
					}
				}
				if err := out.Hangup(deadline(t, patience)); err != nil {
					t.Error(err)
				}
				ended(t, out, in)
			})
		}
	}
}
