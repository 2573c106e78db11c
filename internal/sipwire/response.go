package sipwire

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// ResponseTo is a response as RFC 3261 §8.2.6 builds it: the Via list, From,
// To, Call-ID and CSeq of the request, Timestamp for a 100, Record-Route where
// the response can create a dialog (§12.1.1). An empty reason is replaced by
// the usual phrase. toTag is given to a To that has none, unless it is empty.
//
// Header fields are shared with the request. What the request lacks, the
// response lacks, so a request that was refused by [Parse] can be answered.
func ResponseTo(req *sipgo.Request, status int, reason, toTag string) *sipgo.Response {
	if reason == "" {
		reason = ReasonPhrase(status)
	}
	res := sipgo.NewResponse(status, reason)
	dialog := formsDialog(req.Method, status)
	for _, h := range req.Headers() {
		switch h := h.(type) {
		case *sipgo.ViaHeader, *sipgo.FromHeader, *sipgo.CallIDHeader, *sipgo.CSeqHeader:
			res.AppendHeader(h)
		case *sipgo.ToHeader:
			if toTag != "" {
				if _, has := Param(h.Params, "tag"); !has {
					h = toWithTag(h, toTag)
				}
			}
			res.AppendHeader(h)
		case *sipgo.RecordRouteHeader:
			if dialog {
				res.AppendHeader(h)
			}
		default:
			switch name := h.Name(); {
			case name == "From", name == "To", name == "Call-ID", name == "CSeq", // as text: malformed
				dialog && strings.EqualFold(name, "Record-Route"),
				status == 100 && strings.EqualFold(name, "Timestamp"):
				res.AppendHeader(h)
			}
		}
	}
	return res
}

func formsDialog(method sipgo.RequestMethod, status int) bool {
	switch method {
	case sipgo.INVITE:
		return status > 100 && status < 300
	case sipgo.SUBSCRIBE, sipgo.REFER, sipgo.NOTIFY:
		return status >= 200 && status < 300
	}
	return false
}

// ReasonPhrase is the phrase that goes with a status code: the registered
// one, else that of its class.
func ReasonPhrase(status int) string {
	if p, ok := phrases[status]; ok {
		return p
	}
	switch {
	case status < 200:
		return "Session Progress"
	case status < 300:
		return "OK"
	case status < 400:
		return "Redirection"
	case status < 500:
		return "Request Failure"
	case status < 600:
		return "Server Failure"
	}
	return "Global Failure"
}

// phrases are those of the IANA registry of SIP response codes.
var phrases = map[int]string{
	100: "Trying",
	180: "Ringing",
	181: "Call Is Being Forwarded",
	182: "Queued",
	183: "Session Progress",
	199: "Early Dialog Terminated",

	200: "OK",
	202: "Accepted",
	204: "No Notification",

	300: "Multiple Choices",
	301: "Moved Permanently",
	302: "Moved Temporarily",
	305: "Use Proxy",
	380: "Alternative Service",

	400: "Bad Request",
	401: "Unauthorized",
	402: "Payment Required",
	403: "Forbidden",
	404: "Not Found",
	405: "Method Not Allowed",
	406: "Not Acceptable",
	407: "Proxy Authentication Required",
	408: "Request Timeout",
	410: "Gone",
	412: "Conditional Request Failed",
	413: "Request Entity Too Large",
	414: "Request-URI Too Long",
	415: "Unsupported Media Type",
	416: "Unsupported URI Scheme",
	417: "Unknown Resource-Priority",
	420: "Bad Extension",
	421: "Extension Required",
	422: "Session Interval Too Small",
	423: "Interval Too Brief",
	424: "Bad Location Information",
	425: "Bad Alert Message",
	428: "Use Identity Header",
	429: "Provide Referrer Identity",
	430: "Flow Failed",
	433: "Anonymity Disallowed",
	436: "Bad Identity Info",
	437: "Unsupported Credential",
	438: "Invalid Identity Header",
	439: "First Hop Lacks Outbound Support",
	440: "Max-Breadth Exceeded",
	469: "Bad Info Package",
	470: "Consent Needed",
	480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist",
	482: "Loop Detected",
	483: "Too Many Hops",
	484: "Address Incomplete",
	485: "Ambiguous",
	486: "Busy Here",
	487: "Request Terminated",
	488: "Not Acceptable Here",
	489: "Bad Event",
	491: "Request Pending",
	493: "Undecipherable",
	494: "Security Agreement Required",

	500: "Server Internal Error",
	501: "Not Implemented",
	502: "Bad Gateway",
	503: "Service Unavailable",
	504: "Server Time-out",
	505: "Version Not Supported",
	513: "Message Too Large",
	555: "Push Notification Service Not Supported",
	580: "Precondition Failure",

	600: "Busy Everywhere",
	603: "Decline",
	604: "Does Not Exist Anywhere",
	606: "Not Acceptable",
	607: "Unwanted",
	608: "Rejected",
}
