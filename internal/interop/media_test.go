package interop

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// earRate is the rate at which our side listens and speaks.
const earRate = 16000

// newEngine makes a media engine that ends with the test.
func newEngine(t *testing.T, cfg *media.Config) *media.Engine {
	t.Helper()
	if cfg == nil {
		cfg = &media.Config{}
	}
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	eng, err := media.NewEngine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eng.Close() })
	return eng
}

// ourSpeaker is who speaks on our side, theirSpeaker on the other.
const (
	ourSpeaker   = 0
	theirSpeaker = 1
)

// audible are the places for tests that listen. Two at a time: more would
// compete for a small machine's processors, and be heard to. A test with Opus, which under the
// race detector takes a quarter of a processor, needs both.
var (
	audible = make(chan struct{}, 2)
	entry   sync.Mutex // held while taking places, so that nobody waits with one taken
)

// listening makes a test one of those that listen, until it ends.
func listening(t *testing.T, places int) {
	t.Helper()
	entry.Lock()
	defer entry.Unlock()
	for range places {
		audible <- struct{}{}
		t.Cleanup(func() { <-audible })
	}
}

// ourPhone is a registered user agent that speaks and listens in all its
// calls, from the first frame on.
type ourPhone struct {
	*sip.UA
	eng   *media.Engine
	speak func() media.Source // what it says in each call
	mu    sync.Mutex
	ears  map[*media.Session]*ear
}

// newPhone makes a phone that is signalled over TLS.
func newPhone(t *testing.T, k *peertest.Kamailio, user string, cfg *media.Config) *ourPhone {
	t.Helper()
	return newPhoneOver(t, k, user, "tls", cfg)
}

func newPhoneOver(t *testing.T, k *peertest.Kamailio, user, transport string, cfg *media.Config) *ourPhone {
	t.Helper()
	eng := newEngine(t, cfg)
	p := &ourPhone{
		eng: eng, ears: map[*media.Session]*ear{},
		speak: func() media.Source {
			return media.NewPCMSource(earRate, mediatest.Speech(ourSpeaker, earRate), true)
		},
	}
	c := account(k, user, transport)
	c.NewMedia = func(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
		m, err := eng.NewSession(ctx, env)
		if err != nil {
			return nil, err
		}
		sess := m.(*media.Session)
		e := newEar()
		p.mu.Lock()
		p.ears[sess] = e
		p.mu.Unlock()
		return sess, errors.Join(
			sess.SetSource(p.speak()),
			sess.SetSink(media.SinkFunc(earRate, e.hear)),
		)
	}
	p.UA = newUA(t, c)
	register(t, p.UA)
	return p
}

// session returns the media of a call, and what is heard there.
func (p *ourPhone) session(t *testing.T, c *sip.Call) (*media.Session, *ear) {
	t.Helper()
	sess, ok := media.FromCall(c)
	if !ok {
		t.Fatal("the call has no session")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return sess, p.ears[sess]
}

// hears listens to a call from now on, and fails the test if a voice is not heard.
func (p *ourPhone) hears(t *testing.T, c *sip.Call, who string, speaker int) {
	t.Helper()
	sess, _ := p.session(t, c)
	e := newEar()
	if err := sess.SetSink(media.SinkFunc(earRate, e.hear)); err != nil {
		t.Fatal(err)
	}
	peertest.CheckVoices(t, who, e.listen(t, peertest.Talk), earRate, speaker)
}

// ear keeps what was heard.
type ear struct {
	mu      sync.Mutex
	pcm     []int16
	changed chan struct{} // closed and replaced with each frame
}

func newEar() *ear { return &ear{changed: make(chan struct{})} }

func (e *ear) hear(pcm []int16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
	close(e.changed)
	e.changed = make(chan struct{})
}

// listen waits until so much was heard and returns all of it.
func (e *ear) listen(t *testing.T, d time.Duration) []int16 {
	t.Helper()
	ctx := deadline(t, patience+d)
	for {
		e.mu.Lock()
		pcm, changed := e.pcm, e.changed
		e.mu.Unlock()
		if len(pcm) >= int(d.Seconds()*earRate) {
			return pcm
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("heard only %.1f s", float64(len(pcm))/earRate)
		}
	}
}

// understand listens until a speaker was understood, and fails the test if he
// was not after he has said all three times.
func (e *ear) understand(t *testing.T, who string, speaker int) {
	t.Helper()
	again := time.Duration(len(mediatest.Speech(speaker, earRate))) * time.Second / earRate
	var score mediatest.Score
	for n := range time.Duration(3) {
		pcm := e.listen(t, peertest.Talk+2*time.Second+n*again)
		var ok bool
		if score, ok = peertest.Heard(pcm, earRate, speaker); ok {
			t.Logf("%s heard speaker %d: %v", who, speaker, score)
			return
		}
	}
	t.Errorf("%s did not hear speaker %d: %v", who, speaker, score)
}

// digits reads n digits that the peer sends.
func digits(ctx context.Context, sess *media.Session, n int) string {
	var keys strings.Builder
	for d := range sess.DTMF(ctx) {
		keys.WriteRune(d.Key)
		if keys.Len() == n {
			break
		}
	}
	return keys.String()
}

// checkStats looks for a session that lost, mistook and could not decrypt nothing to speak of.
func checkStats(t *testing.T, sess *media.Session, codec, suite string) {
	t.Helper()
	s := sess.Stats()
	t.Log(s)
	if !strings.HasPrefix(strings.ToLower(s.Codec), strings.ToLower(codec)+"/") {
		t.Errorf("sent %s, want %s", s.Codec, codec)
	}
	if !strings.HasPrefix(strings.ToLower(s.Received.Codec), strings.ToLower(codec)+"/") {
		t.Errorf("received %s, want %s", s.Received.Codec, codec)
	}
	if s.Suite != suite {
		t.Errorf("suite %q, want %q", s.Suite, suite)
	}
	r := s.Received
	if r.Packets < 100 || r.BadSRTP > r.Packets/50 || r.Lost > r.Packets/20 {
		t.Errorf("received %d packets, lost %d, undecipherable %d", r.Packets, r.Lost, r.BadSRTP)
	}
	if s.Sent.Packets < 100 || s.Sent.Failed > 0 {
		t.Errorf("sent %d packets, failed %d", s.Sent.Packets, s.Sent.Failed)
	}
}
