// Package hoorn is the map of a SIP softphone and presence client library.
// There is nothing to import here; what there is to import is this:
//
//   - [github.com/hoorn-phone/hoorn/sip]: a user agent. An account registers,
//     calls, is called, holds, transfers, subscribes. Signalling only (RFC 3261,
//     3262, 3263, 3311, 3515, 3581, 3891, 4028, 5626, 5627, 5922, 6665, 8760).
//   - [github.com/hoorn-phone/hoorn/sip/broadworks]: services that are reached
//     by access codes: park, pickup, forwarding, do not disturb.
//   - [github.com/hoorn-phone/hoorn/sip/offeranswer]: the seam between a call
//     and its media (RFC 3264), for who brings media of his own.
//   - [github.com/hoorn-phone/hoorn/sip/callpull]: the calls of the user's
//     other devices, and how one of them comes here, or goes there.
//   - [github.com/hoorn-phone/hoorn/sip/conference]: calls merged.
//   - [github.com/hoorn-phone/hoorn/sip/dialoginfo], mwi, confinfo beside it:
//     documents of event packages (RFC 4235, 3842, 4575).
//   - [github.com/hoorn-phone/hoorn/sip/siptest]: a telephone exchange inside
//     the process, for demos and for your tests.
//   - [github.com/hoorn-phone/hoorn/sip/siptrace]: captures for Wireshark and
//     sngrep of what a user agent said, decrypted.
//   - [github.com/hoorn-phone/hoorn/media]: an engine for audio: RTP, SRTP,
//     RTCP, jitter buffer, sources and sinks (RFC 3550, 3711, 4568, 4733).
//   - [github.com/hoorn-phone/hoorn/media/codec]: what a codec is, for who
//     adds one. Beside it g711, g722 and opus, and dtmf, cn, wav.
//   - [github.com/hoorn-phone/hoorn/media/mediatest]: speech, an impaired
//     link, and measures of what was heard.
//   - [github.com/hoorn-phone/hoorn/xmpp]: an XMPP client that stays signed in
//     (RFC 6120, 6121, 7395, XEP-0198, 0368), and xmpp/xmltree, its elements.
//   - [github.com/hoorn-phone/hoorn/xmpp/chat]: conversations with what became
//     of each message, on any store.
//   - [github.com/hoorn-phone/hoorn/xmpp/muc]: rooms (XEP-0045).
//   - [github.com/hoorn-phone/hoorn/xmpp/xmpptest]: scripted servers for tests.
//
// sip and media never import each other: an app joins them by handing
// media.Engine.NewSession to sip.Config.NewMedia. What lies under internal/
// is the machinery: state machines without clock or network (transaction,
// call, register, flow, negotiate, jitter), and the loops and sockets that
// run them (endpoint, transport, rtpio).
//
// A newcomer's walks through the code are in design/walks.md, the reasons for
// the shape of the whole in design/0001-house.md.
package hoorn
