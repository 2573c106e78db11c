package xmppdial

import (
	"net"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/locate"
)

// The zero values and the resolver of the system, on the loopback of this machine.
func TestRealNetwork(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, d := range []*Dialer{{}, {Resolver: &locate.System{}}} {
		list := must(new(Finder).Find(t.Context(), Query{Domain: "example.com", Server: "localhost:" + port}))(t)
		c, target, err := d.Race(list).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr().String() != l.Addr().String() || target.Domain != "example.com" {
			t.Errorf("%v, %v", c.RemoteAddr(), target)
		}
		c.Close()
	}
	c, err := new(Web).dial()(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
