// Package transaction has the four state machines of RFC 3261 §17, with the
// Accepted states of RFC 6026 and the rules of RFC 4320 for requests other
// than INVITE.
//
// A [Table] holds all transactions of one loop. It does no I/O and has no
// clock: messages come in through [Table.Receive] and go out through
// [Sink.Send], the time is an argument, and deadlines wait on the
// timerq.Queue the table was given. Callbacks run synchronously, so that any
// method of a transaction may call its user before it returns. Nothing here
// is safe for concurrent use.
//
//	INVITE client      Calling -> Proceeding -> Accepted | Completed -> Terminated
//	other client       Trying  -> Proceeding -> Completed -> Terminated
//	INVITE server      Proceeding -> Accepted | Completed -> Confirmed -> Terminated
//	other server       Trying -> Proceeding -> Completed -> Terminated
//
// A transaction that only waits for retransmissions is kept small: its
// request is dropped, and what it may have to send again is kept as bytes.
package transaction
