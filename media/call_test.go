package media_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

func TestCallCodecsAndSuites(t *testing.T) {
	suites := []string{"", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}
	codecs := []codec.Codec{g711.PCMU(), g711.PCMA(), g722.G722(), opus.Opus()}
	for _, c := range codecs {
		for _, suite := range suites {
			if testing.Short() && suite != "" && c.Format().Name != "PCMU" {
				continue
			}
			name := c.Format().Name + " " + suite
			t.Run(strings.TrimSpace(name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := media.Config{Codecs: []codec.Codec{c}}
					if suite != "" {
						cfg.Suites = []string{suite}
					}
					w := newWorld(t, cfg, cfg)
					a, b := w.call(suite != "")
					talk(500 * time.Millisecond)
					a.ear.take()
					b.ear.take()
					talk(time.Second)
					wantTone(t, "a", a.ear.take(), 8000, toneB)
					wantTone(t, "b", b.ear.take(), 8000, toneA)
					for _, x := range []*end{a, b} {
						st := x.sess.Stats()
						if st.Suite != suite || st.Codec != c.Format().Rtpmap() || st.Received.Codec != st.Codec {
							t.Errorf("%v", st)
						}
						if n := st.Received.Packets; n < 73 || n > 76 || st.Received.Lost > 0 || st.Received.BadSRTP > 0 || st.Received.Concealed > 0 {
							t.Errorf("%+v", st.Received)
						}
						if x.got(offeranswer.Started) != 1 {
							t.Errorf("events: %v", x.events)
						}
					}
				})
			})
		}
	}
}
