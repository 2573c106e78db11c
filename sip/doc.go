// Package sip is a SIP user agent: one account that registers, calls and is
// called (RFC 3261), over TLS, TCP, UDP or WebSockets.
//
// It is signalling only. What is heard comes from a [Config.NewMedia], such as
// that of package media:
//
//	engine, err := media.NewEngine(nil)
//	ua, err := sip.New(&sip.Config{
//		Account:  sip.Account{AOR: "sip:alice@example.com", Password: "secret"},
//		NewMedia: engine.NewSession,
//	})
//	defer ua.Close()
//	_, err = ua.Register(ctx)
//	call, err := ua.Dial(ctx, "bob", nil) // returns when bob has answered
//	session, _ := media.FromCall(call)
//	err = session.Play(ctx, media.NewTone(16000, -10, 440))
//	err = call.Hangup(ctx)
//
// Somebody who is called asks for calls as one does of a net.Listener:
//
//	in, err := ua.Accept(ctx)
//	err = in.Ring(ctx)
//	err = in.Answer(ctx, nil) // or in.Reject(ctx, 486)
//	err = in.Wait(ctx)        // until somebody hangs up
//
// # Account, connections, registration
//
// A [UA] is one account. It finds the account's servers in DNS (RFC 3263),
// verifies their certificates (RFC 5922), and keeps one connection, or two for
// an account with Flows set to 2, alive (RFC 5626). [UA.Register] waits for
// the outcome of the first attempt; from then on a [Registration] refreshes
// itself, notices that a connection or a server is gone, and comes back, over
// another server where there is one. Calls live on meanwhile: what they have to
// say next goes over the connection there is then.
//
// An account with Direct set has no registrar: it calls whatever address its
// user names, and takes calls on [Config].Listen.
//
// # Calls
//
// A [Call] is the same object from beginning to end, whatever happens to its
// dialogs; [CallState] has the diagram. There are three ways to follow it:
// methods that wait ([UA.Dial], [Call.Answered], [Call.Wait]), [Call.Events],
// and State, End, Streams and Media for what is now.
//
// [Call.Media] is what Config.NewMedia made. It is there from the first offer or
// answer on, so that early media can be heard.
//
// A call is put on hold ([Call.Hold]), sent to somebody else ([Call.Transfer],
// [Call.TransferTo]), given other streams ([Call.Renegotiate]) and sent digits
// ([Call.SendDigits]). It stays the same Call, with the same media, when it goes
// to another dialog: because it is transferred, redirected (3xx) or replaced
// (RFC 3891). [Call.Identity] is who calls and what is known of that, and
// [End].Cause what became of the call, as a call log shows it.
//
// # Telephones
//
// A [Phone] is for programs with a user: the calls of all his accounts, of which
// one is active and the others are on hold, with call waiting, do not disturb,
// forwarding and missed calls. Its Accept takes the place of the accounts' own.
// A bot with many calls at once does without.
//
// # What others ask of us
//
// REFER, Replaces and Join, a call that wants to be answered by itself, and
// buttons that are pressed elsewhere come by network, and may come from anybody.
// Config has a function for each, and the default of each is narrow: what comes
// over the account's own flow, where its server has let it through.
//
// # Beside calls
//
// [UA.Subscribe] follows the state of something (RFC 6665); the documents are
// read by the packages dialoginfo, confinfo and mwi beside this one.
// [UA.SendMessage] and [UA.Messages] are instant messages (RFC 3428). Packages
// callpull, conference and broadworks make services of all this.
//
// # Concurrency
//
// All methods of all types may be called from any goroutine. One goroutine for
// each UA does the work; it never waits for the network, for media or for the
// app. Events wait for their readers in a bounded queue each: a reader that is
// too slow misses the oldest. What Config has as functions (Tap, Credentials,
// Refer, …) must not block, except for NewMedia and Identity.Certificates.
//
// Contexts bound the waiting. Where that is also the end of what is waited for,
// the method says so: Dial gives its call up, Register its attempt.
//
// # Errors
//
// Errors say who spoke and in which step:
//
//   - [*StatusError]: a final response, such as 486 (Busy Here)
//   - [*TimeoutError]: nobody answered. It is a net.Error
//   - [*AuthError]: the account's credentials were refused, or the server's
//     proof of its own
//   - [*CertificateError]: the server is not who it has to be
//   - [*IdentityError]: who calls is not shown to be who he says (RFC 8224)
//   - [*DialError]: no server could be reached, and why each could not
//   - [*URIError]: a URI that cannot be used
//   - ErrClosed, ErrEnded, ErrState, … for errors.Is
//
// Errors of media come through as they are. What is sent as their answer is
// theirs to say, see offeranswer.StatusCoder.
//
// # What is not there yet
//
// ICE, presence, and an account's move to another network while it is up.
package sip
