package locate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// NAPTR is a record of RFC 3403.
type NAPTR struct {
	Order, Preference uint16
	Flags             string // "s" leads to SRV records
	Service           string // such as "SIPS+D2T"
	Regexp            string
	Replacement       string
}

// SRV is a record of RFC 2782.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string
}

// Resolver asks DNS. Names have no final dot. A name or a kind of record that does not exist is an [*Error] with [ErrNotFound]; an answer that is not
// to be had is one with [ErrTemporary], as is any other error. Implementations are safe for concurrent use.
type Resolver interface {
	LookupNAPTR(ctx context.Context, name string) ([]NAPTR, error)
	LookupSRV(ctx context.Context, name string) ([]SRV, error)
	// LookupIP returns the addresses of a host in the order in which to try them.
	LookupIP(ctx context.Context, host string) ([]netip.Addr, error)
}

// Errors, to be tested for with errors.Is.
var (
	// ErrNotFound: DNS says that there is no such server.
	ErrNotFound = errors.New("locate: not found")

	// ErrTemporary: DNS does not answer, or not now.
	ErrTemporary = errors.New("locate: name servers cannot tell")

	// ErrInsecure: encryption is required, and the URI or the supported transports have none.
	ErrInsecure = errors.New("locate: no secure transport")

	// ErrUnsupported: the URI asks for a transport that is not supported.
	ErrUnsupported = errors.New("locate: transport not supported")
)

// Error is a name that led nowhere.
type Error struct {
	Kind error  // ErrNotFound or ErrTemporary
	Name string // that was asked for
	Err  error  // more about it; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: %q", e.Kind, e.Name)
	}
	return fmt.Sprintf("%v: %q: %v", e.Kind, e.Name, e.Err)
}

// Unwrap gives both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Timeout tells whether the cause was one, so that this is a net.Error like others.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary tells whether it makes sense to ask again.
func (e *Error) Temporary() bool { return e.Kind == ErrTemporary }

// Static is a resolver that holds its answers, for tests and labs. Its keys are names in lower case without a final dot. It must not be changed
// while it is used.
type Static struct {
	NAPTR map[string][]NAPTR
	SRV   map[string][]SRV
	IP    map[string][]netip.Addr
	Err   map[string]error // what to answer for a name, whatever is asked, before anything else is looked at
}

// LookupNAPTR implements [Resolver].
func (s *Static) LookupNAPTR(ctx context.Context, n string) ([]NAPTR, error) {
	return static(ctx, s, s.NAPTR, n)
}

// LookupSRV implements [Resolver].
func (s *Static) LookupSRV(ctx context.Context, n string) ([]SRV, error) {
	return static(ctx, s, s.SRV, n)
}

// LookupIP implements [Resolver].
func (s *Static) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return static(ctx, s, s.IP, host)
}

func static[R any](ctx context.Context, s *Static, m map[string][]R, n string) ([]R, error) {
	n = hostName(n)
	if err := ctx.Err(); err != nil {
		return nil, &Error{Kind: ErrTemporary, Name: n, Err: err}
	}
	if err := s.Err[n]; err != nil {
		return nil, err
	}
	if len(m[n]) == 0 {
		return nil, &Error{Kind: ErrNotFound, Name: n}
	}
	return m[n], nil
}
