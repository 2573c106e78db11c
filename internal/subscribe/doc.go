// Package subscribe has both sides of event subscriptions (RFC 6665):
// a [Subscriber] asks for the state of something and keeps being told, a
// [Notifier] tells. The subscriptions that a REFER makes (RFC 3515 §2.4.4)
// are of the same kind, and are in a dialog of their own or in a call's.
//
// Machines have no clock, no socket and no goroutine: the loop that owns them
// gives the time, sends their requests and hands them those that came.
//
//	Subscriber                                    each subscription (dialog)
//
//	      Start                                   NOTIFY with a new From tag
//	        │                                             │
//	        ▼          no NOTIFY within Timer N           ▼
//	    subscribing ─────────────┐             active, pending ◀─┐
//	        │ NOTIFY             │                │    │         │ refreshed
//	        ▼                    ▼                │    └─────────┘
//	    subscribed ────────▶ waiting to           │ terminated, expired, 481,
//	        │     the last   subscribe anew       │ no NOTIFY within Timer N
//	        │     is over        │                ▼
//	        ▼                    │               over
//	      ended ◀────────────────┘ refused for good
package subscribe
