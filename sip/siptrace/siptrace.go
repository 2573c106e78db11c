// Package siptrace writes what a user agent sent and received into a capture
// file, so that Wireshark, tshark and sngrep can show it.
//
//	trace, err := siptrace.NewWriter(file)
//	ua, err := sip.New(&sip.Config{Tap: func(p sip.Packet) { trace.SIP(p) }, …})
//
// It works above encryption: messages come in the clear, and the writer makes
// up the IP, UDP and TCP headers that tools expect around them. Such a file
// shows what was said, not how the network carried it: there are no
// retransmissions of TCP in it, and what one TCP packet holds is what was
// written at once.
//
// A capture holds what encryption keeps from others, SRTP keys included. It
// deserves a file that nobody else can read.
package siptrace

import "github.com/hoorn-phone/hoorn/sip"

// SIP writes a message as sip.Config.Tap sees it: one that went over UDP as a
// datagram, any other as octets of a TCP connection.
func (w *Writer) SIP(p sip.Packet) error {
	src, dst := p.Remote, p.Local
	if p.Sent {
		src, dst = dst, src
	}
	if p.Transport == sip.UDP {
		return w.UDP(p.Time, src, dst, p.Data)
	}
	return w.TCP(p.Time, src, dst, p.Data)
}
