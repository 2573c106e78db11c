package transport

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// STUN as keep-alives need it: Binding requests without authentication, and
// their answers (RFC 5389, RFC 5626 §8).

const (
	stunCookie = 0x2112A442
	stunHeader = 20

	stunRequest  = 0x0001
	stunResponse = 0x0101
	stunError    = 0x0111

	attrMappedAddress     = 0x0001
	attrErrorCode         = 0x0009
	attrUnknownAttributes = 0x000a
	attrXORMappedAddress  = 0x0020
)

// STUNError is what a server answered instead of a mapped address.
type STUNError struct{ Code int }

func (e *STUNError) Error() string { return fmt.Sprintf("transport: STUN error %d", e.Code) }

// isSTUN tells a STUN message from a SIP message: it begins with two zero bits
// (RFC 5626 §8) and has the magic cookie.
func isSTUN(b []byte) bool {
	return len(b) >= stunHeader && b[0] < 0x40 && binary.BigEndian.Uint32(b[4:]) == stunCookie
}

// stunMessage is what is of interest in a STUN message.
type stunMessage struct {
	kind    uint16
	id      [12]byte
	mapped  netip.AddrPort
	code    int      // of ERROR-CODE
	unknown []uint16 // attributes that must be understood and are not
}

// parseSTUN reads a message, which isSTUN has found to be one.
func parseSTUN(b []byte) (m stunMessage, ok bool) {
	if int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeader || len(b)%4 != 0 {
		return m, false
	}
	m.kind = binary.BigEndian.Uint16(b)
	m.id = [12]byte(b[8:20])
	xored := false
	for rest := b[stunHeader:]; len(rest) > 0; {
		typ, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (n + 3) &^ 3
		if len(rest) < 4+padded {
			return m, false
		}
		v := rest[4 : 4+n]
		rest = rest[4+padded:]
		switch typ {
		case attrXORMappedAddress:
			m.mapped, xored = stunAddress(v, b[4:stunHeader]), true
		case attrMappedAddress: // of servers older than RFC 5389
			if !xored {
				m.mapped = stunAddress(v, nil)
			}
		case attrErrorCode:
			if n >= 4 {
				m.code = int(v[2]&7)*100 + int(v[3]%100)
			}
		case attrUnknownAttributes, 0x0006, 0x0008, 0x0014, 0x0015:
			// USERNAME, MESSAGE-INTEGRITY, REALM and NONCE: known, and
			// without meaning here, since nobody authenticates.
		default:
			if typ < 0x8000 && len(m.unknown) < 8 { // RFC 5389 §15
				m.unknown = append(m.unknown, typ)
			}
		}
	}
	return m, true
}

// stunAddress reads an address that was XORed with mask: cookie and
// transaction ID. It returns the zero value for what is none.
func stunAddress(v, mask []byte) netip.AddrPort {
	if len(v) != 8 && len(v) != 20 || v[1] != 1 && v[1] != 2 || (v[1] == 1) != (len(v) == 8) {
		return netip.AddrPort{}
	}
	var a [18]byte
	n := copy(a[:], v[2:])
	if mask != nil {
		xorAddress(a[:n], mask)
	}
	ip, _ := netip.AddrFromSlice(a[2:n])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(a[:]))
}

// xorAddress hides or reveals a port and an address (RFC 5389 §15.2).
func xorAddress(a, mask []byte) {
	a[0] ^= mask[0]
	a[1] ^= mask[1]
	for i := range a[2:] {
		a[2+i] ^= mask[i]
	}
}

func appendSTUN(kind uint16, id [12]byte) []byte {
	b := make([]byte, stunHeader, 64)
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint32(b[4:], stunCookie)
	copy(b[8:], id[:])
	return b
}

// appendAttribute adds an attribute with its padding and sets the message's
// length.
func appendAttribute(b []byte, typ uint16, v []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader))
	return b
}

func bindingRequest(id [12]byte) []byte { return appendSTUN(stunRequest, id) }

// bindingResponse answers a request from an address (RFC 5389 §7.3.1).
func bindingResponse(req stunMessage, from netip.AddrPort) []byte {
	if len(req.unknown) > 0 {
		b := appendAttribute(appendSTUN(stunError, req.id), attrErrorCode, append([]byte{0, 0, 4, 20}, "Unknown Attribute"...))
		var list []byte
		for _, typ := range req.unknown {
			list = binary.BigEndian.AppendUint16(list, typ)
		}
		return appendAttribute(b, attrUnknownAttributes, list)
	}
	b := appendSTUN(stunResponse, req.id)
	v := []byte{0, 1}
	if from.Addr().Is6() {
		v[1] = 2
	}
	v = binary.BigEndian.AppendUint16(v, from.Port())
	v = append(v, from.Addr().AsSlice()...)
	xorAddress(v[2:], b[4:stunHeader])
	return appendAttribute(b, attrXORMappedAddress, v)
}
