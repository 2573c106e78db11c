package siptest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

const rate = 16000

// ear is a Sink that keeps what it hears.
type ear struct {
	mu  sync.Mutex
	pcm []int16
}

func (*ear) SampleRate() int { return rate }

func (e *ear) WriteFrame(pcm []int16) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
	return nil
}

func (e *ear) heard() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]int16(nil), e.pcm...)
}

// caller is a phone with an engine.
func (l *lab) caller(user string, cfg *media.Config, mods ...func(*sip.Config)) *phone {
	l.t.Helper()
	return l.phone(user, append(mods, func(c *sip.Config) {
		if cfg == nil {
			cfg = &media.Config{}
		}
		cfg.ListenPacket = c.Network.ListenPacket
		eng, err := media.NewEngine(cfg)
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { eng.Close() })
		c.NewMedia = eng.NewSession
	})...)
}

// listen calls a number, with something to say, and an ear.
func listen(t *testing.T, p *phone, number string, say media.Source) (*sip.Call, *media.Session, *ear) {
	t.Helper()
	c, err := p.Dial(t.Context(), number, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := media.FromCall(c)
	if !ok {
		t.Fatal("no media")
	}
	e := new(ear)
	if err := errors.Join(s.SetSink(e), s.SetSource(say)); err != nil {
		t.Fatal(err)
	}
	return c, s, e
}

// The echo, with SRTP where the transport is TLS and without elsewhere.
func TestEcho(t *testing.T) {
	for _, c := range []struct {
		name      string
		transport sip.Transport
		cfg       media.Config
		secure    bool
	}{
		{"TLS", sip.TLS, media.Config{}, true},
		{"TLS, one suite", sip.TLS, media.Config{Suites: []string{"AES_CM_128_HMAC_SHA1_80"}}, true},
		{"TLS, no SRTP", sip.TLS, media.Config{SRTP: media.SRTPOff}, false},
		{"UDP", sip.UDP, media.Config{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice := l.caller("alice", &c.cfg, over(l, c.transport))
				speech := mediatest.Speech(1, rate)
				call, _, e := listen(t, alice, "echo", media.NewPCMSource(rate, speech, false))
				if got := call.Streams()[0].Secure; got != c.secure {
					t.Errorf("secure: %v, want %v", got, c.secure)
				}
				wait(t, 7*time.Second)
				if ok, score := mediatest.Heard(speech, e.heard(), rate); !ok {
					t.Errorf("the echo: %+v", score)
				}
				call.Hangup(t.Context())
				l.idle()
			})
		})
	}
}

// Lost packets are missing in the echo.
func TestLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.caller("alice", nil)
		l.SetLoss(0.1)
		call, s, _ := listen(t, alice, "echo", media.NewTone(rate, -10, 440))
		wait(t, 10*time.Second)
		st := s.Stats()
		if st.Received.Lost < 20 || st.Received.Lost > 110 || l.Lost() < 50 {
			t.Errorf("%d packets missing, %d lost in the lab; of about 500 each way a tenth was to go", st.Received.Lost, l.Lost())
		}
		call.Hangup(t.Context())
		l.SetLoss(0)
		l.idle()
	})
}

// The announcement is heard whole, and the lab hangs up after it.
func TestAnnounce(t *testing.T) {
	tone := mediatest.Tone(600, 8000, 2*8000, 8000)
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) {
			c.Services = siptest.DefaultServices()
			c.Services["600"] = siptest.Announce(wavFile(t, 8000, tone))
		})
		alice := l.caller("alice", nil)
		call, _, e := listen(t, alice, "9002", nil)
		ended(t, call, sip.Remote)
		if ok, score := mediatest.Heard(mediatest.Speech(0, rate), e.heard(), rate); !ok {
			t.Errorf("the speech: %+v", score)
		}
		began := time.Now()
		call, _, e = listen(t, alice, "600", nil)
		ended(t, call, sip.Remote)
		// The last frame of 20 ms is read at its beginning.
		if took := time.Since(began); took < 1980*time.Millisecond || took > 3*time.Second {
			t.Errorf("the announcement of 2 s took %v", took)
		}
		pcm := e.heard()
		if len(pcm) < rate {
			t.Fatalf("heard %d samples", len(pcm))
		}
		if share := mediatest.ToneShare(pcm[rate/2:rate], rate, 600); share < 0.9 {
			t.Errorf("%.2f of what was heard is the tone", share)
		}
		l.idle()
	})
	defer func() {
		if recover() == nil {
			t.Error("Announce took what is no WAV file")
		}
	}()
	siptest.Announce([]byte("hello"))
}

// wavFile makes a WAV file in memory.
func wavFile(t *testing.T, rate int, pcm []int16) []byte {
	t.Helper()
	f := new(memFile)
	w, err := wav.NewWriter(f, wav.Format{SampleRate: rate, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(pcm), w.Close()); err != nil {
		t.Fatal(err)
	}
	return f.data
}

type memFile struct {
	data []byte
	at   int
}

func (f *memFile) Write(p []byte) (int, error) {
	f.data = append(f.data[:f.at], append(bytes.Clone(p), f.data[min(len(f.data), f.at+len(p)):]...)...)
	f.at += len(p)
	return len(p), nil
}

func (f *memFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		f.at = int(off)
	case io.SeekCurrent:
		f.at += int(off)
	case io.SeekEnd:
		f.at = len(f.data) + int(off)
	}
	return int64(f.at), nil
}

// What was recorded is played back: after #, after silence, at the limit.
func TestRecordAndPlay(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, s *media.Session)
		opts siptest.RecordOptions
		most time.Duration // of the recording and its playing
	}{
		{"#", func(t *testing.T, s *media.Session) {
			wait(t, 6*time.Second)
			if err := s.SendDTMF(t.Context(), "5#", nil); err != nil {
				t.Error(err)
			}
		}, siptest.RecordOptions{}, 14 * time.Second},
		{"silence", func(*testing.T, *media.Session) {}, siptest.RecordOptions{}, 24 * time.Second},
		{"limit", func(*testing.T, *media.Session) {}, siptest.RecordOptions{Limit: 6 * time.Second, Silence: time.Hour}, 14 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(cfg *siptest.Config) {
					cfg.Services = map[string]siptest.Service{"9006": siptest.RecordAndPlay(&c.opts)}
				})
				alice := l.caller("alice", nil)
				began := time.Now()
				call, s, e := listen(t, alice, "9006", nil)
				wait(t, time.Second) // the beep
				speech := mediatest.Speech(1, rate)
				if err := s.SetSource(media.NewPCMSource(rate, speech, false)); err != nil {
					t.Fatal(err)
				}
				c.end(t, s)
				ended(t, call, sip.Remote)
				if took := time.Since(began); took > c.most {
					t.Errorf("took %v, want at most %v", took, c.most)
				}
				if share := mediatest.ToneShare(e.heard()[rate/10:rate/5], rate, 1000); share < 0.8 {
					t.Errorf("%.2f of the beginning is the beep", share)
				}
				if ok, score := mediatest.Heard(speech, e.heard()[6*rate:], rate); !ok {
					t.Errorf("what was played back: %+v", score)
				}
				l.idle()
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) {
			c.Services = siptest.DefaultServices()
			c.Services["never"] = siptest.NoAnswer(-1)
		})
		alice := l.phone("alice")
		for number, want := range map[string]struct {
			status int
			after  time.Duration
		}{
			"busy": {486, 0}, "9003": {486, 0}, "reject": {603, 0}, "9004": {480, 3 * time.Minute},
		} {
			began := time.Now()
			_, err := alice.Dial(t.Context(), number, nil)
			var se *sip.StatusError
			if !errors.As(err, &se) || se.Code != want.status || time.Since(began) != want.after {
				t.Errorf("%s: %v after %v, want %+v", number, err, time.Since(began), want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := alice.Dial(ctx, "never", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("never: %v", err)
		}
		l.idle()
	})
}

// A lab that is closed while its numbers are busy ends them.
func TestCloseWhileServing(t *testing.T) {
	for _, number := range []string{"echo", "announce", "record", "noanswer"} {
		t.Run(number, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice := l.caller("alice", nil)
				alice.call(number)
				wait(t, time.Second)
				l.Close()
			})
		})
	}
}
