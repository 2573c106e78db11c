// Package siptest is the lab: a BroadWorks-compatible PBX inside the process,
// for tests and for programs that want to show something without a server.
// What net/http/httptest is to HTTP, this is to SIP.
//
//	srv, err := siptest.Start(&siptest.Config{
//		Users: []siptest.User{{Name: "alice"}, {Name: "bob", Number: "1002"}},
//	})
//	defer srv.Close()
//	ua, err := sip.New(srv.Config("alice")) // address, password and CA are filled in
//
// It listens on TLS, with a certificate of its own throwaway CA, on TCP and on
// UDP. It is a registrar with digest authentication, several devices per user,
// RFC 5626 and GRUUs; and a back-to-back user agent: a call is one dialog with
// the caller and one with each device of the callee, all of which ring at
// once. Session descriptions pass through unchanged, so media go from device to
// device and keys end to end.
//
// # Numbers
//
// Beside the users there are numbers that answer by themselves: see
// [DefaultServices].
//
// # Its ways on the wire
//
// The lab writes as BroadWorks does: no space behind a header field's colon,
// "Call-ID:BW…", tags and branches of that make, P-Asserted-Identity,
// Call-Info with an appearance-index, X-BroadWorks-Correlation-Info, an empty
// Supported, a shortened registration. It says what it can do and no more:
//
//   - Supported: 100rel,timer. It answers Session-Expires with refresher=uac unless
//     asked otherwise, watches the refreshes of the peer, and refreshes itself
//     where it is to (RFC 4028).
//     Reliable provisional responses go to who requires them, and early media
//     to who supports them (RFC 3262).
//   - Methods are INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS and REGISTER;
//     others get 405 with Allow.
//
// # Several devices
//
// The first 2xx wins; the other devices get a CANCEL with
// Reason:SIP;cause=200;text="Call completed elsewhere". If all refuse, the
// caller gets the best response: a 6xx at once, else one of the lowest class.
// Early media pass through only where one device alone is rung, because the
// answer in the 2xx must be that of the 183 (RFC 3261 §13.2.1).
//
// # Breaking it
//
// [Server.Inject] loses, delays and repeats messages and answers with errors,
// [Server.Disconnect] and [Server.Cut] end connections with and without a
// word, [Server.SetLoss] loses media packets of the service numbers,
// [Server.Kill] and [Server.Restart] are what they say.
//
// # What happened
//
// [Server.Transcript] has every message, decrypted, and draws it as a ladder:
// text, or an HTML page with the messages behind it.
package siptest
