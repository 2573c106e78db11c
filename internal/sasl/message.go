package sasl

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what either side takes from the other. Real messages are a tenth of that.
const (
	maxMessage = 8192 // bytes
	maxNonce   = 1024 // bytes of both nonces together
	maxSalt    = 1024 // bytes
	maxDigits  = 9    // of an iteration count
)

// fields walks over the attributes of a SCRAM message (RFC 5802 §7: attr-val). The first mistake ends the walk and stays.
type fields struct {
	message string // its name in the RFC
	rest    string
	more    bool
	err     error
}

func newFields(message, s string) *fields {
	f := &fields{message: message, rest: s, more: true}
	switch {
	case len(s) > maxMessage:
		f.fail("too long")
	case !utf8.ValidString(s):
		f.fail("not UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		f.fail("holds NUL")
	}
	return f
}

func (f *fields) fail(reason string) {
	if f.err == nil {
		f.err = &SyntaxError{Message: f.message, Reason: reason}
	}
	f.more = false
}

// next returns one attribute. The name is 0 when there is none left.
func (f *fields) next() (name byte, value string) {
	if !f.more {
		return 0, ""
	}
	s, rest, more := strings.Cut(f.rest, ",")
	f.rest, f.more = rest, more
	if len(s) < 3 || s[1] != '=' || !('a' <= s[0]|0x20 && s[0]|0x20 <= 'z') {
		f.fail("not a list of attributes")
		return 0, ""
	}
	// RFC 5802 §5.1: its presence must cause failure when it is parsed.
	if s[0] == 'm' && f.err == nil {
		f.err, f.more = ErrExtension, false
		return 0, ""
	}
	return s[0], s[2:]
}

// want returns the value of the next attribute, which has to be the named one.
func (f *fields) want(name byte) string {
	n, value := f.next()
	if n != name {
		f.fail("attribute " + string(rune(name)) + " expected")
		return ""
	}
	return value
}

func (f *fields) base64(s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // which the decoder passes over
		f.fail("not base64")
	}
	return b
}

// nonce checks that s is of printable characters (RFC 5802 §5.1). A comma ends an attribute anyway.
func (f *fields) nonce(s string) string {
	if len(s) > maxNonce {
		f.fail("nonce too long")
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			f.fail("nonce of other than printable characters")
		}
	}
	return s
}

// name decodes a saslname.
func (f *fields) name(s string) string {
	if !strings.Contains(s, "=") {
		return s
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "=")
		b.WriteString(before)
		switch {
		case !found:
			return b.String()
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			f.fail("name with a bad escape")
			return ""
		}
		s = after[2:]
	}
}

var saslname = strings.NewReplacer(",", "=2C", "=", "=3D")

// clientFirst is a client-first-message.
type clientFirst struct {
	flag     byte    // n, y or p
	binding  Binding // with p
	authzID  string
	username string
	nonce    string

	header string // the gs2-header as it stands in the message
	bare   string // all behind it
}

func (m *clientFirst) format() string {
	var b strings.Builder
	b.WriteByte(m.flag)
	if m.flag == 'p' {
		b.WriteByte('=')
		b.WriteString(string(m.binding))
	}
	b.WriteByte(',')
	if m.authzID != "" {
		b.WriteString("a=")
		b.WriteString(saslname.Replace(m.authzID))
	}
	b.WriteByte(',')
	m.header = b.String()
	m.bare = "n=" + saslname.Replace(m.username) + ",r=" + m.nonce
	return m.header + m.bare
}

func parseClientFirst(s string) (*clientFirst, error) {
	f := newFields("client-first-message", s)
	m := new(clientFirst)
	flag, rest, ok := strings.Cut(s, ",")
	authz, bare, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 {
		f.fail("no gs2-header")
		return nil, f.err
	}
	m.header, m.bare = s[:len(s)-len(bare)], bare
	switch t, bound := strings.CutPrefix(flag, "p="); {
	case bound && isBindingName(t):
		m.flag, m.binding = 'p', Binding(t)
	case flag == "n" || flag == "y":
		m.flag = flag[0]
	default:
		f.fail("bad gs2-cbind-flag")
	}
	if authz != "" {
		a, ok := strings.CutPrefix(authz, "a=")
		if m.authzID = f.name(a); !ok || m.authzID == "" {
			f.fail("bad authzid")
		}
	}
	f.rest = bare
	m.username = f.name(f.want('n'))
	m.nonce = f.nonce(f.want('r'))
	for f.more {
		f.next()
	}
	if f.err != nil {
		return nil, f.err
	}
	return m, nil
}

// isBindingName follows RFC 5802 §7: cb-name.
func isBindingName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !('a' <= c && c <= 'z' || '0' <= s[i] && s[i] <= '9' || s[i] == '.' || s[i] == '-') {
			return false
		}
	}
	return s != ""
}

// serverFirst is a server-first-message.
type serverFirst struct {
	nonce      string
	salt       []byte
	iterations int
	offerHash  string // attribute h of XEP-0474; empty: none
	tlsVersion string // attribute t of XEP-0515; empty: none
}

func (m *serverFirst) format() string {
	s := "r=" + m.nonce + ",s=" + base64.StdEncoding.EncodeToString(m.salt) + ",i=" + strconv.Itoa(m.iterations)
	if m.offerHash != "" {
		s += ",h=" + m.offerHash
	}
	if m.tlsVersion != "" {
		s += ",t=" + m.tlsVersion
	}
	return s
}

func parseServerFirst(s string) (*serverFirst, error) {
	f := newFields("server-first-message", s)
	m := new(serverFirst)
	m.nonce = f.nonce(f.want('r'))
	m.salt = f.base64(f.want('s'))
	if len(m.salt) > maxSalt {
		f.fail("salt too long")
	}
	m.iterations = f.count(f.want('i'))
	for f.more {
		// Others are ignored (RFC 5802 §5.1), but those that we know come once.
		switch name, value := f.next(); name {
		case 'h':
			f.once(&m.offerHash, value)
		case 't':
			f.once(&m.tlsVersion, value)
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return m, nil
}

func (f *fields) once(to *string, value string) {
	if *to != "" {
		f.fail("attribute given twice")
	}
	*to = value
}

// count is a posit-number.
func (f *fields) count(s string) int {
	if s == "" || s[0] == '0' {
		f.fail("bad iteration count")
		return 0
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			f.fail("bad iteration count")
			return 0
		}
	}
	// More digits are more than anybody computes: the bound of the account says so, with the right error.
	n, _ := strconv.Atoi(s[:min(len(s), maxDigits)])
	return n
}

// clientFinal is a client-final-message.
type clientFinal struct {
	binding []byte // gs2-header and the data of the channel binding
	nonce   string
	proof   []byte

	withoutProof string
}

func (m *clientFinal) format() string {
	return m.withoutProof + ",p=" + base64.StdEncoding.EncodeToString(m.proof)
}

// start sets what the proof is about.
func (m *clientFinal) start() {
	m.withoutProof = "c=" + base64.StdEncoding.EncodeToString(m.binding) + ",r=" + m.nonce
}

func parseClientFinal(s string) (*clientFinal, error) {
	f := newFields("client-final-message", s)
	m := new(clientFinal)
	m.binding = f.base64(f.want('c'))
	m.nonce = f.nonce(f.want('r'))
	for {
		name, value := f.next()
		if name == 'p' {
			m.withoutProof = s[:len(s)-len(value)-len(",p=")]
			if f.more {
				f.fail("something behind the proof")
			}
			m.proof = f.base64(value)
			break
		}
		if name == 0 {
			f.fail("no proof")
			break
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return m, nil
}

func formatServerFinal(signature []byte) string {
	return "v=" + base64.StdEncoding.EncodeToString(signature)
}

// parseServerFinal returns the signature in a server-final-message, or its error as a [*ServerError].
func parseServerFinal(s string) ([]byte, error) {
	f := newFields("server-final-message", s)
	name, value := f.next()
	var signature []byte
	switch name {
	case 'e':
	case 'v':
		signature = f.base64(value)
	default:
		f.fail("neither verifier nor error")
	}
	for f.more {
		f.next()
	}
	switch {
	case f.err != nil:
		return nil, f.err
	case name == 'e':
		return nil, &ServerError{Value: strings.Clone(value)}
	}
	return signature, nil
}
