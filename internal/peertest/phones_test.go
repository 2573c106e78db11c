package peertest

import (
	"testing"
	"time"
)

// These tests show the harness with the peers among themselves: what is wrong
// here is not the fault of hoorn.

func TestBaresipCallsBaresip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		registrar  KamailioConfig
		transport  string
		codec      string
		named      string
		encryption Encryption
		secured    string // how baresip names the protection
	}{
		{"TLS, SDES, opus", KamailioConfig{}, "tls", "opus", "opus/48000/2", SDES, "AES_CM_128_HMAC_SHA1_80"},
		{"TLS, DTLS, G722", KamailioConfig{}, "tls", "G722", "G722/16000/1", DTLS, "DTLS"},
		{"UDP, plain, PCMU", KamailioConfig{}, "udp", "PCMU", "PCMU/8000/1", Plain, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := StartKamailio(t, c.registrar)
			alice := StartBaresip(t, PhoneConfig{
				User: "alice", Registrar: k, Transport: c.transport, Codecs: []string{c.codec}, Encryption: c.encryption, Source: SpeechFile(t, 0),
			})
			bob := StartBaresip(t, PhoneConfig{
				User: "bob", Registrar: k, Transport: c.transport, Codecs: []string{c.codec}, Encryption: c.encryption, Source: SpeechFile(t, 1),
			})
			alice.Dial(bob.AOR)
			bob.WaitEvent(0, "CALL_INCOMING")
			bob.Answer()
			alice.WaitEvent(0, "CALL_ESTABLISHED")
			if c.secured != "" {
				alice.WaitEvent(0, "CALL_MENC")
			}
			alice.WaitHeard(Talk + time.Second)
			bob.WaitHeard(Talk + time.Second)
			alice.SendDigits("159#")
			if got := bob.WaitDigits(0, 4); got != "159#" {
				t.Errorf("bob received digits %q", got)
			}
			alice.Hangup()
			bob.WaitEvent(0, "CALL_CLOSED")
			alice.Stop()
			bob.Stop()
			// Its output comes by another way than its events: all of it is here now.
			if got := alice.Codec(); got != c.named {
				t.Errorf("alice sent with %s, want %s", got, c.named)
			}
			CheckFile(t, "alice", alice.Heard()[0], 1)
			CheckFile(t, "bob", bob.Heard()[0], 0)
		})
	}
}

func TestBaresipAndLinphone(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"opus", "G722"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			// PCMU brings telephone-event/8000, the only one that baresip knows,
			// which Linphone leaves out where all codecs have another clock.
			codecs := []string{codec, "PCMU"}
			k := StartKamailio(t, KamailioConfig{})
			alice := StartBaresip(t, PhoneConfig{User: "alice", Registrar: k, Codecs: codecs, Source: SpeechFile(t, 0)})
			bob := StartLinphone(t, PhoneConfig{User: "bob", Registrar: k, Codecs: codecs, Source: SpeechFile(t, 1)})
			alice.Dial(bob.AOR)
			bob.WaitIncoming(0)
			bob.Answer()
			alice.WaitEvent(0, "CALL_ESTABLISHED")
			alice.WaitEvent(0, "CALL_MENC")
			bob.WaitConnected(0)
			alice.WaitHeard(Talk + time.Second)
			alice.SendDigits("73")
			if got := bob.WaitDigits(0, 2); got != "73" {
				t.Errorf("bob received digits %q", got)
			}
			bob.SendDigits("28")
			if got := alice.WaitDigits(0, 2); got != "28" {
				t.Errorf("alice received digits %q", got)
			}
			alice.Hangup()
			bob.WaitEnded(0)
			alice.Stop()
			bob.Stop()
			CheckFile(t, "alice", alice.Heard()[0], 1)
			CheckFile(t, "bob", bob.Heard(), 0)
		})
	}
}

func TestSHA256Registrar(t *testing.T) {
	t.Parallel()
	// Linphone answers SHA-256 challenges (RFC 8760), and asks first by TCP.
	k := StartKamailio(t, KamailioConfig{Algorithm: "SHA-256", MaxExpires: time.Minute})
	StartLinphone(t, PhoneConfig{User: "dave", Registrar: k, Transport: "tcp"})
	c := k.WaitContacts("dave", 1)[0]
	if c.Expires > 60 || c.Instance == "" {
		t.Errorf("binding %+v, want at most 60 s and an instance", c)
	}
}
