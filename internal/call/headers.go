package call

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"sort"
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// bodyError is a body that cannot be used; it knows its SIP status.
type bodyError struct {
	status int
	text   string
}

func (e *bodyError) Error() string  { return e.text }
func (e *bodyError) SIPStatus() int { return e.status }

// Accepted are the types of bodies that are understood, for an Accept header.
const Accepted = "application/sdp, multipart/mixed"

// maxParts bounds the parts of a multipart body that are looked at.
const maxParts = 16

// SDP returns the session description in a message, nil if there is none. It
// may be one part of a multipart body (RFC 5621 §3). Another type of body is an error
// that means 415, unless its handling is optional (RFC 3261 §20.11).
func SDP(m interface {
	sipgo.Message
	ContentType() *sipgo.ContentTypeHeader
}) ([]byte, error) {
	body := m.Body()
	if len(body) == 0 {
		return nil, nil
	}
	ct := m.ContentType()
	if ct == nil {
		return nil, &bodyError{400, "a body without Content-Type"}
	}
	media, params, err := mime.ParseMediaType(string(*ct))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil, &bodyError{400, "Content-Type: " + err.Error()}
	}
	if enc := sipwire.Header(m, "Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, &bodyError{415, "Content-Encoding " + strconv.Quote(enc)}
	}
	switch {
	case media == "application/sdp":
		return body, nil
	case strings.HasPrefix(media, "multipart/"):
		return fromParts(body, params["boundary"])
	case optional(sipwire.Header(m, "Content-Disposition")):
		return nil, nil
	}
	return nil, &bodyError{415, "a body of type " + media}
}

// optional tells whether a body may be passed over (RFC 3261 §20.11).
func optional(disposition string) bool {
	_, params, _ := sipwire.ParseValue(disposition)
	handling, _ := sipwire.Param(params, "handling")
	return strings.EqualFold(handling, "optional")
}

func fromParts(body []byte, boundary string) ([]byte, error) {
	if boundary == "" {
		return nil, &bodyError{400, "a multipart body without boundary"}
	}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxParts {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, &bodyError{400, "multipart body: " + err.Error()}
		}
		media, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if media != "application/sdp" {
			continue
		}
		sdp, err := io.ReadAll(part)
		if err != nil {
			return nil, &bodyError{400, "multipart body: " + err.Error()}
		}
		return sdp, nil
	}
	return nil, nil
}

// contactsByQ lists the Contacts of a redirection, the most wanted first
// (RFC 3261 §20.10), the first sixteen.
func contactsByQ(r *sipgo.Response) []string {
	type contact struct {
		uri string
		q   float64
	}
	var cs []contact
	for _, c := range sipwire.Contacts(r) {
		if c.Address.Host == "" || len(cs) == 16 {
			continue
		}
		q := 1.0
		if v, ok := sipwire.Param(c.Params, "q"); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil && f >= 0 && f <= 1 {
				q = f
			}
		}
		cs = append(cs, contact{sipwire.FormatURI(&c.Address), q})
	}
	sort.SliceStable(cs, func(i, j int) bool { return cs[i].q > cs[j].q })
	uris := make([]string, len(cs))
	for i, c := range cs {
		uris[i] = c.uri
	}
	return uris
}

// Refused is the error that a final response means.
func Refused(method string, r *sipgo.Response) *StatusError {
	e := &StatusError{Method: method, Code: r.StatusCode, Phrase: r.Reason, Reasons: sipwire.Reasons(r)}
	if r.IsRedirection() {
		e.Contacts = contactsByQ(r)
	}
	e.After, _ = sipwire.RetryAfter(r)
	return e
}

// Error is the StatusError of a call that the other side refused, the error
// that ended it, or nil: what we refused or gave up ourselves is no failure,
// although a status says how (603, 487).
func (e End) Error() error {
	if e.Err != nil {
		return e.Err
	}
	if e.Status >= 300 && e.By != Local {
		return &StatusError{Method: "INVITE", Code: e.Status, Phrase: e.Phrase, Contacts: e.Contacts, Reasons: e.Reasons, After: e.After}
	}
	return nil
}
