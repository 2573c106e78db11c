package chat_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/chat"
	"github.com/hoorn-phone/hoorn/xmpp/chat/storetest"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// town is a server with people in a bubble of virtual time.
type town struct {
	*testing.T
	server *xmpptest.Server
	host   *memnet.Host // of all clients
	people []*person
}

// person is one device of a user.
type person struct {
	t      *town
	name   string
	store  chat.Store
	client *xmpp.Client
	m      *chat.Messenger
}

func inTown(t *testing.T, test func(*town)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		clients, pbx := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		n.ImpairAll(memnet.Impairment{Latency: 5 * time.Millisecond})
		s, err := xmpptest.Start(&xmpptest.Config{
			Users: map[string]string{"alice": "secret", "bob": "secret"}, Addr: "10.0.0.2", Listen: pbx.Listen, NoOffline: true, Mechanisms: []string{"PLAIN"},
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &town{T: t, server: s, host: clients}
		test(w)
		for _, p := range w.people {
			p.client.Close(context.Background())
		}
		s.Close()
	})
}

// join adds a device, which goes on where another has left its store.
func (w *town) join(name string, store chat.Store) *person {
	w.Helper()
	p := &person{t: w, name: name, store: store}
	var err error
	if p.client, err = xmpp.New(&xmpp.Config{
		Account: jid.MustParse(name + "@" + w.server.Domain()), Credentials: xmpp.Password("secret"), AllowPlain: true,
		TLS: &xmpp.TLSConfig{RootCAs: w.server.RootCAs()}, Network: xmpp.Network{Dial: w.host.Dial, Resolver: w.server.Resolver()},
	}); err != nil {
		w.Fatal(err)
	}
	if p.m, err = chat.New(p.client, &chat.Config{Store: store}); err != nil {
		w.Fatal(err)
	}
	w.people = append(w.people, p)
	return p
}

func (p *person) online() *person {
	p.t.Helper()
	if err := p.client.Connect(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return p
}

func (p *person) with(other string) *chat.Conversation {
	return p.m.Conversation(jid.MustParse(other + "@" + p.t.server.Domain()))
}

// sees is a conversation as a device shows it, a line for each message.
func (p *person) sees(other string) []string {
	p.t.Helper()
	list, err := p.with(other).History(p.t.Context(), chat.Place{}, 10000)
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Reverse(list)
	var all []string
	for _, m := range list {
		s := fmt.Sprintf("%s: %s", m.Author.Address, m.Body)
		if m.Retracted != nil {
			s += " [gone]"
		}
		for _, r := range m.Reactions {
			s += fmt.Sprintf(" [%s %s]", r.Author.Address, strings.Join(r.Emojis, ""))
		}
		all = append(all, s)
	}
	return all
}

// pass lets time pass.
func (w *town) pass(d time.Duration) { time.Sleep(d) }

func (w *town) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// What is sent while somebody is away is there when he comes, in order and once; pages and live messages meet without a seam.
func TestCatchUp(t *testing.T) {
	inTown(t, func(w *town) {
		alice := w.join("alice", new(chat.Memory)).online()
		var want []string
		send := func(n int) {
			for range n {
				text := fmt.Sprint(len(want))
				_, err := alice.with("bob").Send(w.Context(), &chat.Draft{Body: text})
				w.must(err)
				want = append(want, "alice@example.test: "+text)
				w.pass(time.Millisecond)
			}
		}
		send(250)
		w.pass(time.Second)
		store := new(chat.Memory)
		bob := w.join("bob", store).online()
		send(50) // while he reads
		w.pass(time.Second)
		if got := bob.sees("alice"); !slices.Equal(got, want) || !bob.m.Archive().Level {
			w.Errorf("bob sees %d of %d: %v", len(got), len(want), got)
		}
		w.must(bob.client.Close(w.Context()))
		send(150)
		w.pass(time.Second)
		again := w.join("bob", store).online()
		w.pass(time.Second)
		if got := again.sees("alice"); !slices.Equal(got, want) {
			w.Errorf("bob sees %d of %d: %v", len(got), len(want), got)
		}
		w.pass(time.Minute)
		for _, m := range alice.mine("bob") {
			if m.State < chat.Archived || m.ArchiveID == "" {
				w.Errorf("alice's %q is %v, %q", m.Body, m.State, m.ArchiveID)
			}
		}
	})
}

func (p *person) mine(other string) []*chat.Message {
	list, err := p.with(other).History(p.t.Context(), chat.Place{}, 10000)
	p.t.must(err)
	return slices.DeleteFunc(list, func(m *chat.Message) bool { return !m.Author.Mine })
}

// Two devices of one user show the same: what one sends the other has (XEP-0280), and what was read on one is read on the other.
func TestTwoDevices(t *testing.T) {
	inTown(t, func(w *town) {
		desk, mobile := w.join("alice", new(chat.Memory)).online(), w.join("alice", new(chat.Memory)).online()
		bob := w.join("bob", new(chat.Memory)).online()
		msg, err := desk.with("bob").Send(w.Context(), &chat.Draft{Body: "from the desk"})
		w.must(err)
		w.pass(time.Second)
		_, err = bob.with("alice").Send(w.Context(), &chat.Draft{Body: "to both"})
		w.must(err)
		w.pass(time.Second)
		w.must(desk.with("bob").Correct(w.Context(), msg.ID, "from my desk"))
		w.pass(time.Second)
		want := []string{"alice@example.test: from my desk", "bob@example.test: to both"}
		for _, p := range []*person{desk, mobile, bob} {
			other := "bob"
			if p == bob {
				other = "alice"
			}
			if got := p.sees(other); !slices.Equal(got, want) {
				w.Errorf("%s sees %q", p.name, got)
			}
		}
		unread := func(p *person) int {
			chats, err := p.m.Chats(w.Context())
			w.must(err)
			return chats[0].Unread
		}
		if unread(desk) != 1 || unread(mobile) != 1 {
			w.Errorf("unread %d, %d", unread(desk), unread(mobile))
		}
		list, err := desk.with("bob").History(w.Context(), chat.Place{}, 1)
		w.must(err)
		w.must(desk.with("bob").MarkRead(w.Context(), list[0].ID))
		w.pass(time.Second)
		if unread(desk) != 0 || unread(mobile) != 0 {
			w.Errorf("after reading: unread %d, %d", unread(desk), unread(mobile))
		}
	})
}

// Links are cut at random, also without a word and while they are resumed, and one resumption in four is
// refused, while two people write, correct, react and take back. Afterwards what the server has archived is shown once,
// nothing is there twice, and both see the same.
func TestCuts(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inTown(t, func(w *town) {
				rng := rand.New(rand.NewPCG(seed, 0))
				people := []*person{w.join("alice", new(chat.Memory)).online(), w.join("bob", new(chat.Memory)).online()}
				names := []string{"alice", "bob"}
				cuts := 0
				for i := range 400 {
					p, other := people[i%2], names[1-i%2]
					conv := p.with(other)
					list, err := conv.History(w.Context(), chat.Place{}, 20)
					w.must(err)
					var any, own *chat.Message
					for _, m := range list {
						if m.Retracted != nil || rng.IntN(2) == 0 {
							continue
						}
						if any = m; m.Author.Mine {
							own = m
						}
					}
					switch op := rng.IntN(10); {
					case op < 5:
						_, err = conv.Send(w.Context(), &chat.Draft{Body: fmt.Sprintf("%d of %s", i, p.name)})
					case op == 5 && own != nil:
						err = conv.Correct(w.Context(), own.ID, own.Body+"'")
					case op == 6 && own != nil:
						err = conv.Retract(w.Context(), own.ID)
					case op == 7 && any != nil:
						err = conv.React(w.Context(), any.ID, []string{"👋", "🐢", "💘"}[rng.IntN(3)])
					case op == 8:
						if rng.IntN(4) == 0 {
							w.server.RefuseResume(names[rng.IntN(2)], 1, rng.IntN(2) == 0)
						}
						who := names[rng.IntN(2)]
						switch cuts++; rng.IntN(3) {
						case 0:
							w.server.Cut(who)
						case 1:
							w.server.Reset(who)
						case 2:
							w.server.Vanish(who)
							people[slices.Index(names, who)].client.NetworkChanged()
						}
					}
					if err != nil && !errors.Is(err, chat.ErrGone) {
						w.Fatal(err)
					}
					w.pass(time.Duration(rng.IntN(400)) * time.Millisecond)
				}
				w.pass(10 * time.Minute)
				a, b := people[0].named("bob"), people[1].named("alice")
				slices.Sort(a) // each has his own clock for what he has written
				slices.Sort(b)
				if !slices.Equal(a, b) || cuts < 20 {
					w.Errorf("%d cuts; alice alone sees\n%s\nbob alone sees\n%s", cuts, strings.Join(missing(a, b), "\n"), strings.Join(missing(b, a), "\n"))
				}
				bodies := map[string]int{}
				for _, m := range w.server.Archive("alice") {
					if id := m.Stanza.Get("id"); m.Stanza.Child(xmpp.NSClient, "body") != nil {
						if bodies[id]++; bodies[id] > 1 {
							w.Errorf("the archive has %s twice", m.Stanza)
						}
					}
				}
				for _, p := range people {
					out, err := p.store.Outbox(w.Context())
					w.must(err)
					acts, err := p.store.Actions(w.Context())
					w.must(err)
					if len(out)+len(acts) > 0 {
						w.Errorf("%s has %d messages and %d actions left", p.name, len(out), len(acts))
					}
				}
			})
		})
	}
}

// named is sees with each message's id on the wire, without those that were
// taken back: what was so before it was sent only its author knows.
func (p *person) named(other string) []string {
	list, err := p.with(other).History(p.t.Context(), chat.Place{}, 10000)
	p.t.must(err)
	slices.Reverse(list)
	all := p.sees(other)
	for i, m := range list {
		all[i] = m.WireID + " " + all[i]
	}
	return slices.DeleteFunc(all, func(s string) bool { return strings.HasSuffix(s, ":  [gone]") })
}

// missing is what is in a and not in b.
func missing(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// A program that dies between any two steps of its store finds everything when it comes back.
func TestCrash(t *testing.T) {
	for step := range 60 {
		done := false
		inTown(t, func(w *town) {
			bob := w.join("bob", new(chat.Memory)).online()
			store := new(chat.Memory)
			crasher := &storetest.Crasher{Store: store, Batches: step / 2, After: step%2 == 1}
			alice := w.join("alice", crasher).online()
			kept := 0
			for i := range 2 {
				if _, err := alice.with("bob").Send(w.Context(), &chat.Draft{Body: fmt.Sprint(i)}); err == nil {
					kept++
				}
				bob.with("alice").Send(w.Context(), &chat.Draft{Body: fmt.Sprint("to ", i)})
				w.pass(100 * time.Millisecond)
			}
			w.pass(20 * time.Second)
			done = !crasher.Crashed()
			alice.client.Close(w.Context())
			again := w.join("alice", store).online()
			w.pass(time.Minute)
			a, b := again.sees("bob"), bob.sees("alice")
			slices.Sort(a)
			slices.Sort(b)
			if !slices.Equal(a, b) || len(a) < 2+kept {
				w.Errorf("step %d: alice sees %q, bob %q; %d were kept", step, a, b, kept)
			}
		})
		if t.Failed() || done {
			t.Logf("%d steps", step)
			break
		}
	}
}
