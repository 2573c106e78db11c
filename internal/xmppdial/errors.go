package xmppdial

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Attempt is a try that failed.
type Attempt struct {
	Target  Target
	Address string // what was dialled; "" if no address was found for the host
	Err     error
	Took    time.Duration
}

// DialError says that nothing of what was tried led to a connection that was good enough.
type DialError struct {
	Attempts []Attempt // in the order in which they failed
	Err      error     // why it ended before all was tried: the cause of the context's end; otherwise nil
}

func (e *DialError) Error() string {
	var b strings.Builder
	b.WriteString("xmppdial: ")
	sep := ""
	if e.Err != nil {
		b.WriteString(e.Err.Error())
		sep = ": "
	} else if len(e.Attempts) == 0 {
		b.WriteString("there is nothing to connect to")
	}
	for _, a := range e.Attempts {
		b.WriteString(sep)
		sep = "; "
		if a.Address == "" || a.Address == a.Target.Address() {
			fmt.Fprintf(&b, "%v: %v", a.Target, a.Err)
		} else {
			fmt.Fprintf(&b, "%v at %s: %v", a.Target, a.Address, a.Err)
		}
	}
	return b.String()
}

// Unwrap are the errors of all attempts, and Err.
func (e *DialError) Unwrap() []error {
	var errs []error
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// Timeout implements net.Error: whether the context's time was over or, if all was tried, all timed out.
func (e *DialError) Timeout() bool {
	if e.Err != nil {
		return isTimeout(e.Err)
	}
	for _, a := range e.Attempts {
		if !isTimeout(a.Err) {
			return false
		}
	}
	return len(e.Attempts) > 0
}

// Temporary implements net.Error.
func (e *DialError) Temporary() bool { return e.Timeout() }

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
