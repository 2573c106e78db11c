package xmpptest_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// A message reaches its receiver although his connection has broken.
func ExampleServer() {
	s, err := xmpptest.Start(&xmpptest.Config{Users: map[string]string{"alice": "secret", "bob": "secret"}})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connect := func(user string) *xmpp.Client {
		c, err := xmpp.New(&xmpp.Config{
			Account: jid.MustParse(user + "@" + s.Domain()), Credentials: xmpp.Password("secret"),
			TLS: &xmpp.TLSConfig{RootCAs: s.RootCAs()}, Network: xmpp.Network{Resolver: s.Resolver()},
		})
		if err == nil {
			err = c.Connect(ctx)
		}
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	alice, bob := connect("alice"), connect("bob")
	defer alice.Close(ctx)
	defer bob.Close(ctx)

	s.Cut("bob")
	m := &xmpp.Message{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", "Are you still there?")}}
	m.To, m.Type = bob.JID(), stanza.ChatMessage
	if _, err := alice.Send(ctx, m); err != nil {
		log.Fatal(err)
	}
	for m := range bob.Messages(ctx) {
		fmt.Println(m.Body())
		break
	}
	fmt.Println(len(s.Archive("bob")), "message in the archive")
	// Output:
	// Are you still there?
	// 1 message in the archive
}
