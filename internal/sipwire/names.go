package sipwire

// kind says how Parse treats a header field.
type kind uint8

const (
	generic kind = iota
	kindVia
	kindFrom
	kindTo
	kindCallID
	kindCSeq
	kindContact
	kindMaxForwards
	kindContentLength
	kindContentType
	kindRoute
)

// known are the header fields that Parse has to know, by lower-case name,
// compact forms included (the IANA registry has them).
var known = map[string]struct {
	name string
	kind kind
}{
	"via": {"Via", kindVia}, "v": {"Via", kindVia},
	"from": {"From", kindFrom}, "f": {"From", kindFrom},
	"to": {"To", kindTo}, "t": {"To", kindTo},
	"call-id": {"Call-ID", kindCallID}, "i": {"Call-ID", kindCallID},
	"cseq":    {"CSeq", kindCSeq},
	"contact": {"Contact", kindContact}, "m": {"Contact", kindContact},
	"max-forwards":   {"Max-Forwards", kindMaxForwards},
	"content-length": {"Content-Length", kindContentLength}, "l": {"Content-Length", kindContentLength},
	"content-type": {"Content-Type", kindContentType}, "c": {"Content-Type", kindContentType},
	"route":        {"Route", kindRoute},
	"record-route": {"Record-Route", kindRoute},

	"a": {"Accept-Contact", generic},
	"b": {"Referred-By", generic},
	"d": {"Request-Disposition", generic},
	"e": {"Content-Encoding", generic},
	"j": {"Reject-Contact", generic},
	"k": {"Supported", generic},
	"n": {"Identity-Info", generic},
	"o": {"Event", generic},
	"r": {"Refer-To", generic},
	"s": {"Subject", generic},
	"u": {"Allow-Events", generic},
	"x": {"Session-Expires", generic},
	"y": {"Identity", generic},
}

// lookup is the full name of a header field and its kind.
func lookup(name string) (string, kind) {
	switch name { // the usual spelling, without hashing
	case "Via":
		return name, kindVia
	case "From":
		return name, kindFrom
	case "To":
		return name, kindTo
	case "Call-ID":
		return name, kindCallID
	case "CSeq":
		return name, kindCSeq
	case "Contact":
		return name, kindContact
	case "Max-Forwards":
		return name, kindMaxForwards
	case "Content-Length":
		return name, kindContentLength
	case "Content-Type":
		return name, kindContentType
	case "Route", "Record-Route":
		return name, kindRoute
	}
	var buf [16]byte // the longest name in known has 14
	if len(name) > len(buf) {
		return name, generic
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	if k, ok := known[string(buf[:len(name)])]; ok {
		return k.name, k.kind
	}
	return name, generic
}
