package xmpp

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmpplink/linktest"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

var (
	walkSeed = flag.Uint64("walk.seed", 0, "begin TestWalk with this seed")
	walks    = flag.Int("walk.walks", 4, "how many walks TestWalk makes")
)

// fragile is a connection that breaks after some bytes, of both directions together: with an
// end that both sides see, or without a word.
type fragile struct {
	net.Conn
	silent bool

	mu   sync.Mutex
	left int
}

// spend tells how many of n bytes still pass.
func (f *fragile) spend(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = min(n, f.left)
	f.left -= n
	return n
}

func (f *fragile) Write(b []byte) (int, error) {
	n := f.spend(len(b))
	if k, err := f.Conn.Write(b[:n]); err != nil {
		return k, err
	}
	if n < len(b) && !f.silent {
		f.Conn.Close()
	}
	return len(b), nil // it may have left: who writes cannot know
}

func (f *fragile) Read(b []byte) (int, error) {
	for {
		n, err := f.Conn.Read(b)
		k := f.spend(n)
		if k > 0 || err != nil {
			return k, err
		}
		if !f.silent {
			f.Conn.Close()
			return 0, net.ErrClosed
		}
	}
}

// A thousand cuts (four times 250) at any byte, half of them without a word, also while a session is resumed; a
// tenth of the resumptions is refused. Each message ends as confirmed or unknown; what is confirmed is at the server, nothing is there twice, and
// all is in order; what the server sent arrives in order and once, and is lost only with a session that was refused.
func TestWalk(t *testing.T) {
	for i := range *walks {
		seed := *walkSeed + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			onStage(t, func(s *stage) { walk(s, rand.New(rand.NewPCG(seed, 1)), seed%2 == 1) })
		})
	}
}

func walk(s *stage, rng *rand.Rand, sasl2 bool) {
	const cuts = 250
	server := &linktest.Server{Domain: "im.example.com", Username: "juliet", Password: "r0m30myr0m30", TLS: s.tls, Direct: true, Management: true, SASL2: sasl2}
	if sasl2 {
		server.Tokens = []string{"HT-SHA-256-EXPR"}
	}
	var mu sync.Mutex // of what follows
	random := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
	var dials, refused int
	server.Refuse = func() bool {
		no := random(10) == 0
		if no {
			mu.Lock()
			refused++
			mu.Unlock()
		}
		return no
	}
	var there []int // numbers of messages at the server
	server.Received = func(e *xmltree.Element) {
		if n, err := strconv.Atoi(e.Get("id")); err == nil && e.Name.Local == "message" {
			mu.Lock()
			there = append(there, n)
			mu.Unlock()
		}
	}
	l, err := s.server.Listen(s.Context(), "tcp", ":5223")
	if err != nil {
		s.Fatal(err)
	}
	serving := make(chan struct{})
	go func() { defer close(serving); server.Serve(l) }()
	defer func() { l.Close(); <-serving }()

	over := make(chan struct{}) // all cuts were made
	s.cfg.Server, s.cfg.AllowPlain, s.cfg.Logger = "xmpps://10.0.0.2:5223", false, nil
	s.cfg.Timing = Timing{Idle: 10 * time.Second, Answer: 5 * time.Second, MaxRetry: 5 * time.Second}
	s.cfg.Network.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.host.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		dials++
		f := &fragile{Conn: conn, left: 1 << 40, silent: rng.IntN(2) == 0}
		switch {
		case dials == cuts+1:
			close(over)
		case dials > cuts:
		case rng.IntN(3) == 0: // on the way to a stream
			f.left = rng.IntN(5000)
		default:
			f.left = 5000 + rng.IntN(30000)
		}
		return f, nil
	}
	client, err := New(&s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	sessions := 0
	var came []int // numbers of messages from the server
	extension := &Extension{Name: "walk",
		Bound: func(context.Context) error { mu.Lock(); defer mu.Unlock(); sessions++; return nil },
		Message: func(m *Message) bool {
			n, err := strconv.Atoi(m.ID)
			if err != nil {
				s.Errorf("a message %q", m.ID)
			}
			mu.Lock()
			defer mu.Unlock()
			came = append(came, n)
			return true
		}}
	if err := client.Use(extension); err != nil {
		s.Fatal(err)
	}
	connected := make(chan error, 1)
	go func() { connected <- client.Connect(s.Context()) }()

	type fate struct {
		n    int
		sent *Sent
		err  error // it was not taken
	}
	var fates []fate
	var pushed []*linktest.Session // in which message n+1 was sent
	after := 0
	for n := 1; after < 20; n++ {
		m := &Message{Payload: []*xmltree.Element{xmltree.NewText(NSClient, "body", "What's in a name?")}}
		m.ID, m.To = strconv.Itoa(n), jid.MustParse("romeo@example.net")
		sent, err := client.Send(s.Context(), m)
		fates = append(fates, fate{n, sent, err})
		back := xmltree.New(NSClient, "message").Set("id", strconv.Itoa(len(pushed)+1)).Set("from", "romeo@example.net/orchard")
		if session := server.Push(back); session != nil {
			pushed = append(pushed, session)
		}
		if random(4) != 0 {
			timer := time.NewTimer(time.Duration(random(4000)) * time.Millisecond)
			<-timer.C
		}
		select {
		case <-over:
			after++
		default:
		}
	}
	if err := <-connected; err != nil {
		s.Error(err)
	}
	var confirmed, unknown, untaken int
	for _, f := range fates {
		err := f.err
		if err == nil {
			err = f.sent.Wait(s.Context())
		}
		mu.Lock()
		_, at := slices.BinarySearch(there, f.n)
		mu.Unlock()
		switch {
		case f.err != nil:
			untaken++
			if at {
				s.Errorf("message %d was not taken (%v), but is there", f.n, f.err)
			}
		case err == nil:
			confirmed++
			if !at {
				s.Errorf("message %d is confirmed, but not there", f.n)
			}
		case err == ErrUnknown:
			unknown++
		default:
			s.Errorf("message %d: %v", f.n, err)
		}
	}
	if err := client.Close(s.Context()); err != nil {
		s.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := 1; i < len(there); i++ { // which the searches above relied on
		if there[i] <= there[i-1] {
			s.Errorf("at the server message %d comes after %d", there[i], there[i-1])
		}
	}
	for i, n := range came {
		before := 0
		if i > 0 {
			before = came[i-1]
		}
		if n <= before || n > before+1 && before > 0 && pushed[n-1] == pushed[before-1] {
			s.Errorf("message %d from the server comes after %d", n, before)
		}
	}
	s.Logf("%d dials, %d sessions, %d refused; %d messages confirmed, %d unknown, %d not taken; %d of %d came back",
		dials, sessions, refused, confirmed, unknown, untaken, len(came), len(pushed))
}
