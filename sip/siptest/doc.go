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
//   - Supported: 100rel,norefersub,replaces,timer. It answers Session-Expires with refresher=uac unless
//     asked otherwise, watches the refreshes of the peer, and refreshes itself
//     where it is to, by UPDATE (RFC 4028).
//     Reliable provisional responses go to who requires them, and early media
//     to who supports them (RFC 3262).
//   - Methods are INVITE, ACK, CANCEL, BYE, INFO, MESSAGE, PRACK, UPDATE, REFER, NOTIFY, SUBSCRIBE, OPTIONS and REGISTER;
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
// # Calls that get another partner
//
// To the lab transfer, pull, park and pickup are one thing: a device's leg
// gets another partner, by re-INVITE. Whoever loses his hears of it when the
// two have agreed; until then everybody can go back, and does where something
// is refused or somebody hangs up. Offers that meet (491) are made again for
// some seconds. P-Asserted-Identity in the re-INVITE tells a device with whom
// it talks now.
//
//   - REFER in a call is the lab's to follow (RFC 3515): 202, NOTIFY unless
//     Refer-Sub is false (RFC 4488), BYE to the transferor in the end. The
//     target is rung without an offer, with Referred-By and the identity of
//     the transferee. With Replaces (RFC 5589 §7) the far ends of the
//     transferor's two calls are joined; his second one may still ring. Where the
//     target's calls go to his mailbox, so does the transferee. A
//     failure leaves the calls as they were. While one transfer of a call is
//     under way another gets 491; 403 where Calls.NoTransfer is set.
//   - REFER outside of calls goes on to the device that it is for, a GRUU's or
//     the one that the user has registered last, with Referred-By and
//     P-Asserted-Identity of the sender; its NOTIFYs come back.
//   - INVITE with Replaces (RFC 3891) takes the place of a leg of the same
//     user; of another's only while it rings and both are in one User.Group,
//     or where Calls.AnyReplaces is set. The former leg gets BYE 500 ms after
//     the ACK of the new one. 481: no such dialog; 603: it has ended; 486: it
//     is confirmed, and early-only was asked; 403: not allowed. One that names
//     the dialog as the callee's device knows it goes to that device.
//   - [CallPull], "*11": takes over the one call that the user has on another
//     device: 404 if there is none, 485 if there are several, 403 if
//     User.NoPull forbids it, 481 if it ends meanwhile, and what the far end
//     says where it refuses (488). Calls to service numbers do not count.
//   - [Park], "*68", and an extension behind it if it is not one's own: the far
//     end of the user's other call hears music; his leg gets BYE, and the call
//     to the code is answered with a tone and ended. 404: no call; 485: several;
//     486: somebody waits there already. [ParkRetrieve], "*88": the caller gets
//     who is parked, 404 if nobody is. After Calls.ParkRecall who parked the
//     call is rung for it.
//   - [VoicemailTransfer], "*55", and an extension behind it if it is not one's
//     own: the far end of the call that the user has on hold leaves a message
//     there; his leg gets BYE, and the call to the code is answered with a tone
//     and ended. 404: no such mailbox, or it is full; 481: no call is on hold;
//     485: several are; 491: one of the two is being transferred; and what the
//     far end says where it refuses (488). REFER to the code does it too, as to
//     that of [Park].
//   - [DirectedPickup], "*97", and [PickupBarge], "*33", with an extension
//     behind them, and [GroupPickup], "*98": the caller gets the call that
//     rings there, or the one that has rung longest in his User.Group. 404:
//     none rings; 403: it is not his group.
//
// A device's 3xx is followed where it names somebody in the lab's domain, within
// the bounds of forwarding; otherwise the caller gets it. User.CallLimit and
// User.NoCallWaiting make a user busy. [Server.CallList] tells who talks with
// whom, [Server.Hangup] ends a call.
//
// # Events
//
// SUBSCRIBE to a user (RFC 6665) tells, for oneself and those of one's
// User.Group:
//
//   - dialog: his devices' calls as they know them (RFC 4235): all at first,
//     then what changes. Replaces with those identifiers takes a call over. A
//     target is a device's GRUU, or its Contact; +sip.rendering is no while
//     it holds.
//   - message-summary: how many messages are in one's own mailbox (RFC 3842), at
//     most once a second; 404 without one. Events.UnsolicitedMWI tells it
//     without a subscription too.
//
// # Messages
//
// MESSAGE to a user (RFC 3428) goes to all his devices, or to the one that a
// GRUU names, with P-Asserted-Identity of the sender, and he gets the first 2xx.
// 404: no such user; 480: he is not registered, or no device has answered within
// 20 s; 413: more than 64 KiB; 503: 1000 are under way; else the best of the
// devices' refusals. Nothing is stored. Within a call it goes to the other end.
//
// # Voicemail
//
// A user with [User].Voicemail has a mailbox. Calls that find him busy, absent
// or not to be disturbed, or that he does not answer, go there unless he
// forwards them: greeting, beep, and a recording that ends with #, silence, its
// limit or the end of the call. *86 plays him his messages: 1 again, 7 deletes,
// 9 keeps, # ends. [Server.Mailbox] has what was said.
//
// A conference has a package of its own, see there.
//
// # Conferences
//
// INVITE to the factory, [Conferences].Factory, makes a conference (RFC 4579
// §5.4): the Contact of the 200 is its URI, with isfocus; or it is that of a
// 302. INVITE to that URI joins it. Each party is mixed with all others. To the
// conference, in a dialog with it or outside of one, those who take part and who
// has made it may send
//
//   - REFER: calls Refer-To into the conference. With Replaces that names a call
//     of the sender's, the far end of that comes, and his leg of it ends. 486:
//     it is full; 403: a stranger.
//   - REFER with method=BYE: lets Refer-To leave; others than oneself only for who
//     has made it (403). 404: not there.
//   - SUBSCRIBE to conference: who takes part (RFC 4575), all at first, then what
//     changes. A device on hold is on-hold, one that was muted muted-via-focus.
//
// A transfer to the URI moves a call into the conference, and Replaces takes the
// place of a party. [Server.Conferences] lists them, [Server.MuteMember],
// [Server.DropMember] and [Server.EndConference] change them. After the last
// party the conference is gone.
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
