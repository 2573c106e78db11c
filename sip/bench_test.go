//go:build unix

package sip

import (
	"context"
	"crypto/tls"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
)

// cpu is the processor time the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall sets calls up and tears them down between two user agents over
// loopback, without media. cpu-us/call-end is the processor time of one end.
func BenchmarkCall(b *testing.B) {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	cert, err := ca.Issue(testca.Template{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		b.Fatal(err)
	}
	trust := &TLSConfig{RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}}
	for _, tr := range []Transport{UDP, TCP, TLS} {
		b.Run(string(tr), func(b *testing.B) {
			mk := func(user string) *UA {
				ua, err := New(&Config{
					Account: Account{AOR: "sip:" + user + "@127.0.0.1", Direct: true, Transport: tr}, TLS: trust,
					Listen: []string{string(tr) + ":127.0.0.1:0"}, AcceptQueue: 1024,
				})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { ua.Close() })
				return ua
			}
			alice, bob := mk("alice"), mk("bob")
			ctx := context.Background()
			go func() {
				for {
					in, err := bob.Accept(ctx)
					if err != nil {
						return
					}
					go func() {
						in.Ring(ctx)
						in.Answer(ctx, nil)
					}()
				}
			}()
			to := "sip:bob@" + bob.Addrs()[0].String() + ";transport=" + string(tr)
			start := cpu()
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c, err := alice.Dial(ctx, to, nil)
					if err != nil {
						b.Error(err)
						return
					}
					c.Hangup(ctx)
				}
			})
			b.ReportMetric(float64(cpu()-start)/1e3/float64(b.N)/2, "cpu-us/call-end")
		})
	}
}
