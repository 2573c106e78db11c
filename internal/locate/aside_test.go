package locate

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func target(t Transport, n int) Target {
	return Target{Transport: t, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 5060)}
}

func order(a *Aside, now time.Time, targets []Target) (string, int) {
	ordered, usable := a.Order(now, targets)
	var s []string
	for _, t := range ordered {
		s = append(s, string(t.Transport)+t.Addr.Addr().String()[len("192.0.0."):])
	}
	return strings.Join(s, " "), usable
}

func TestAside(t *testing.T) {
	var a Aside
	list := []Target{target(TLS, 1), target(TLS, 2), target(UDP, 1), target(TLS, 3)}
	check := func(after time.Duration, want string, usable int) {
		t.Helper()
		if got, n := order(&a, epoch.Add(after), list); got != want || n != usable {
			t.Errorf("after %v: %s with %d usable, want %s with %d", after, got, n, want, usable)
		}
	}
	check(0, "tls1 tls2 udp1 tls3", 4)
	a.Fail(epoch, list[0], 0) // timed out
	check(0, "tls2 udp1 tls3 tls1", 3)
	a.Fail(epoch, list[1], 10*time.Second) // 503 with Retry-After
	check(0, "udp1 tls3 tls2 tls1", 2)     // the one that is free first goes first
	check(10*time.Second-1, "udp1 tls3 tls2 tls1", 2)
	check(10*time.Second, "tls2 udp1 tls3 tls1", 3)
	check(DefaultHold, "tls1 tls2 udp1 tls3", 4)

	a.Fail(epoch, list[3], 60*time.Second)
	a.Fail(epoch, list[3], 5*time.Second) // never shortens
	check(59*time.Second, "tls1 tls2 udp1 tls3", 3)
	a.Clear(list[3])
	check(59*time.Second, "tls1 tls2 udp1 tls3", 4)

	a.Fail(epoch, list[0], 1000*time.Hour)
	if got := a.Until(epoch, list[0]); got != epoch.Add(MaxHold) {
		t.Errorf("set aside until %v", got)
	}
	a.Reset()
	check(0, "tls1 tls2 udp1 tls3", 4)

	for _, target := range list { // all failed: all are still there
		a.Fail(epoch, target, 0)
	}
	check(0, "tls1 tls2 udp1 tls3", 0)
}

func TestAsideIsBounded(t *testing.T) {
	var a Aside
	for i := range 10 * maxAside {
		a.Fail(epoch.Add(time.Duration(i)), target(UDP, i), 0)
		if len(a.until) > maxAside {
			t.Fatalf("%d servers remembered", len(a.until))
		}
	}
	if a.Until(epoch, target(UDP, 0)).IsZero() != true || a.Until(epoch, target(UDP, 10*maxAside-1)).IsZero() {
		t.Error("not the oldest went")
	}
	later := epoch.Add(2 * DefaultHold)
	a.Fail(later, target(TCP, 1), 0)
	if len(a.until) != 1 {
		t.Errorf("%d servers remembered after all but one are over", len(a.until))
	}
}
