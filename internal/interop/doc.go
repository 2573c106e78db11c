// Package interop tests the library against other people's software, run on
// loopback by internal/peertest: it registers at Kamailio, calls baresip and
// Linphone and is called by them, transfers and merges them, takes and makes thousands of calls with SIPp, and sends its
// media through rtpengine. It signs in at Prosody and ejabberd. There is nothing to import here.
//
// What runs here takes real time. Each test waits for events with a deadline, never for time to pass.
package interop
