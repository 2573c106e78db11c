// Package media is the media of calls: an [Engine] makes a [Session] for each
// call, which negotiates SDP, sends and receives RTP or SRTP, and connects
// them to PCM.
//
//	eng, err := media.NewEngine(nil)
//	ua, err := sip.New(&sip.Config{NewMedia: eng.NewSession, …})
//	…
//	sess, ok := media.FromCall(call)
//	sess.SetSource(source)   // what the peer hears
//	sess.SetSink(sink)       // what the peer says
//
// # Sound
//
// A [Source] gives and a [Sink] takes mono PCM at a rate of its own choice,
// whatever codec was agreed: a bot that wants 16 kHz gets 16 kHz. Both are
// called every 20 ms by a goroutine that serves many sessions, and so must not
// block; adapters for files, readers and writers have a goroutine of their own
// and a bounded buffer. They may be set at any time, also before the call is
// answered, and survive everything that happens to the call.
//
// # Time
//
// An engine paces all its sessions: each has its turn every 20 ms, in which it
// reads what has arrived, plays a frame, takes a frame from its source and
// sends it. Sessions share one goroutine per CPU, and where the system allows
// it no goroutine and no wake-up is spent on receiving: the kernel keeps
// packets, and says when each of them came, until the turn. A packet thus
// waits up to 20 ms, but not longer than it would have waited in the jitter
// buffer for its frame to be due.
//
// # Encryption
//
// Keys travel in the SDP (SDES, RFC 4568). [Config.SRTP] says when streams are
// encrypted; what is required is never given up, and a call that cannot have it
// fails with [ErrNotSecure]. Keys of our own are replaced when the call asks
// for it, and in time before the end of their life. A new key of the peer is
// understood from the moment its offer is known, and the former one for five
// seconds after; packets that overtake the answer that has their key wait for
// it, up to a second.
//
// # Forks
//
// Everyone who answers an INVITE gets the same offer, and one socket receives
// them all. Each answer has its own keys, by which its packets are known; what
// we send is one stream, whoever is selected.
//
// # Moves
//
// A call that goes to another dialog (a transfer, a pull), or whose peer is
// moved elsewhere by a re-INVITE, makes before it breaks: what was heard goes on
// until the first sound of the new leg or source is due, for at most half a
// second. Packets of the former source that come after it are ignored. What is
// sent goes to the new peer at once, under keys that the former one does not
// have. [Stats.LongestGap] tells what the listener lost.
//
// # Several calls
//
// A [Mixer] merges calls on the device: each peer hears all others. A session in
// it has its own source and sink set aside until it leaves. A peer on hold hears
// what [Session.SetHoldSource] gives.
//
// # Addresses
//
// A NAT in front of the peer makes its description wrong. An encrypted stream
// follows the packets that verify. In the clear, the described address counts;
// a peer that has not been heard from there is believed to be where three
// packets in a row with the same source come from, and one that has is followed
// only if the same stream goes on from elsewhere and has fallen silent where it
// was. Before the first packet this is first come, first served: who guesses
// the port can put himself in the peer's place, until the peer itself is heard.
// [Config.StrictSource] forbids it, and encryption makes it moot.
package media
