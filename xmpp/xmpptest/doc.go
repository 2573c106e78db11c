// Package xmpptest has servers for tests of XMPP clients: [Server], which is a
// whole one within the process, and [Peer], which does what a script says. It needs
// no testing package, so that a demo can run a Server as well.
//
//	s, err := xmpptest.Start(&xmpptest.Config{Users: map[string]string{"alice": "secret", "bob": "secret"}})
//	…
//	defer s.Close()
//	c, err := xmpp.New(&xmpp.Config{
//		Account: jid.MustParse("alice@" + s.Domain()), Credentials: xmpp.Password("secret"),
//		TLS: &xmpp.TLSConfig{RootCAs: s.RootCAs()}, Network: xmpp.Network{Resolver: s.Resolver()},
//	})
//
// # What the server knows
//
// Streams with STARTTLS and direct TLS (XEP-0368), SCRAM with and without channel
// binding (XEP-0440, XEP-0474) and PLAIN, stream management with resumption (XEP-0198), client state
// (XEP-0352, which changes nothing). Rosters with versions and subscriptions, presence and the routing of
// stanzas as RFC 6121 has them; messages for those who are offline (XEP-0160), carbons
// (XEP-0280), archives (XEP-0313), blocking (XEP-0191), personal eventing and publish-subscribe (XEP-0060, XEP-0163),
// vCards (XEP-0054, XEP-0292), rooms (XEP-0045) with archives, occupant ids (XEP-0421),
// self-ping (XEP-0410) and moderation (XEP-0425), discovery (XEP-0030), ping, time, version and external
// services (XEP-0215). It speaks to no other server: whatever is addressed elsewhere is answered with remote-server-not-found.
//
// Everything that clients can make it keep is bounded, see [Limits].
//
// # Faults
//
// [Server.Cut], [Server.Reset], [Server.Vanish], [Server.Silence], [Server.Delay], [Server.DropAcks], [Server.RefuseResume],
// [Server.Redirect], [Server.EndStreams] and [Server.Crash] do to clients what bad networks and servers do to them. They take effect
// before they return. [Server.Sessions], [Server.Roster], [Server.Archive] and [Server.Room] show what the server believes.
package xmpptest
