// Package peertest runs other people's SIP and XMPP software on loopback inside a
// test: Kamailio as a registrar and proxy, baresip and Linphone as phones,
// SIPp as a traffic generator, rtpengine as a media relay, Prosody and ejabberd
// as XMPP servers.
//
// Every peer gets a folder of its own below the system's temporary folder and
// ports of its own on 127.0.0.1, so that tests may run in parallel and beside
// a system service of the same name. Nothing is configured outside of that
// folder, no privilege is needed, and everything ends with the test: first
// politely, then by force, and by the kernel if the test process itself dies.
//
// A peer that is not installed skips the test with a sentence that says how to
// get it. Where the environment variable CI is set a missing peer fails the
// test instead: a green run must mean that the peers took part.
//
// Nobody sleeps: a test waits for a line of the peer's output, an event of its
// control connection or an answer from its socket, always with a deadline.
package peertest
