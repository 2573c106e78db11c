package testca

import (
	"crypto/x509/pkix"
	"encoding/asn1"
)

// alternativeNames is the extension with all names of a template. crypto/x509 makes it itself, but for names of services and XMPP addresses.
func alternativeNames(t Template) (pkix.Extension, error) {
	const dns, uri, ip = 2, 6, 7 // RFC 5280 §4.2.1.6
	var all []asn1.RawValue
	add := func(tag int, compound bool, b []byte) {
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: b})
	}
	for _, s := range t.DNS {
		add(dns, false, []byte(s))
	}
	for _, s := range t.URIs {
		add(uri, false, []byte(s))
	}
	for _, a := range t.IPs {
		add(ip, false, a.AsSlice())
	}
	other := func(kind asn1.ObjectIdentifier, tag int, s string) error {
		id, err := asn1.Marshal(kind)
		if err != nil {
			return err
		}
		value, err := asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: []byte(s)})
		if err != nil {
			return err
		}
		wrapped, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: value})
		add(0, true, append(id, wrapped...))
		return err
	}
	for _, s := range t.SRV { // id-on-dnsSRV
		if err := other(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}, asn1.TagIA5String, s); err != nil {
			return pkix.Extension{}, err
		}
	}
	for _, s := range t.XMPP { // id-on-xmppAddr
		if err := other(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}, asn1.TagUTF8String, s); err != nil {
			return pkix.Extension{}, err
		}
	}
	der, err := asn1.Marshal(all)
	// Critical where nothing else names the subject (RFC 5280 §4.1.2.6).
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: t.CommonName == "", Value: der}, err
}
