//go:build unix

package media_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// peerEnv makes the test binary the other end of a benchmark.
const peerEnv = "HOORN_MEDIA_BENCH_PEER"

func TestMain(m *testing.M) {
	if os.Getenv(peerEnv) != "" {
		benchPeer()
		return
	}
	os.Exit(m.Run())
}

func benchConfig() *media.Config {
	return &media.Config{
		Codecs: []codec.Codec{g711.PCMU()}, SRTP: media.SRTPRequired,
		Suites: []string{"AES_CM_128_HMAC_SHA1_80"},
	}
}

func loopback() offeranswer.Env {
	return offeranswer.Env{Local: netip.MustParseAddr("127.0.0.1"), Secure: true, Notify: func(offeranswer.Event) {}}
}

// benchPeer answers the offers that come on standard input, one a line, until
// it ends.
func benchPeer() {
	eng, err := media.NewEngine(benchConfig())
	if err != nil {
		panic(err)
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var offer []byte
		if in.Decode(&offer) != nil {
			return
		}
		m, err := eng.NewSession(bg(), loopback())
		if err != nil {
			panic(err)
		}
		m.(*media.Session).SetSource(media.NewTone(8000, -12, toneB))
		l, _ := m.Leg("d")
		answer, err := l.Answer(bg(), offer, offeranswer.Options{})
		if err != nil {
			panic(err)
		}
		if err := l.Commit(); err != nil {
			panic(err)
		}
		if err := out.Encode(answer); err != nil {
			panic(err)
		}
	}
}

// cpu is what this process has used so far.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is the heap in use and the stacks, after a collection.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkCalls measures one end of two-way SRTP calls (PCMU,
// AES_CM_128_HMAC_SHA1_80) decoded to PCM, the other end being another
// process: CPU time per call and second, and memory per call. One iteration is
// one second of all calls:
//
//	go test -run=^$ -bench=Calls -benchtime=10x ./media
func BenchmarkCalls(b *testing.B) {
	for _, n := range []int{20, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchCalls(b, n) })
	}
}

func benchCalls(b *testing.B, n int) {
	peer := exec.Command(os.Args[0])
	peer.Env = append(os.Environ(), peerEnv+"=1")
	peer.Stderr = os.Stderr
	stdin, err := peer.StdinPipe()
	must(b, err)
	stdout, err := peer.StdoutPipe()
	must(b, err)
	must(b, peer.Start())
	defer peer.Wait()
	defer stdin.Close()
	out, in := json.NewEncoder(stdin), json.NewDecoder(bufio.NewReader(stdout))

	eng, err := media.NewEngine(benchConfig())
	must(b, err)
	defer eng.Close()
	before := memory()
	sessions := make([]*media.Session, n)
	heard := make([]int64, n)
	for i := range sessions {
		m, err := eng.NewSession(bg(), loopback())
		must(b, err)
		s := m.(*media.Session)
		sessions[i] = s
		must(b, s.SetSource(media.NewPCMSource(8000, benchTone, true)))
		must(b, s.SetSink(media.SinkFunc(8000, func(pcm []int16) {
			if pcm[1] != pcm[2] {
				heard[i]++
			}
		})))
		offer, err := m.Offer(bg(), offeranswer.Options{})
		must(b, err)
		must(b, out.Encode(offer))
		var answer []byte
		must(b, in.Decode(&answer))
		l, err := m.Leg("d")
		must(b, err)
		must(b, l.SetAnswer(bg(), answer, false))
	}
	second(b) // until the jitter buffers are in step
	second(b)
	mem := memory() - before

	first := make([]media.Stats, n)
	for i, s := range sessions {
		first[i] = s.Stats()
	}
	used, began, rounds := cpu(b), time.Now(), 0
	for b.Loop() {
		second(b)
		rounds++
	}
	took := time.Since(began).Seconds()
	used = cpu(b) - used
	b.ReportMetric(float64(used.Microseconds())/float64(n)/took, "us-cpu/call-s")
	b.ReportMetric(float64(mem)/1024/float64(n), "KiB/call")
	b.ReportMetric(0, "ns/op")

	var lost, concealed, late uint64
	for i, s := range sessions {
		st := s.Stats()
		if heard[i] == 0 || st.Suite == "" || st.Received.Packets-first[i].Received.Packets < uint64(45*rounds) {
			b.Fatalf("call %d: %v", i, st)
		}
		lost += st.Received.Lost - first[i].Received.Lost
		concealed += st.Received.Concealed - first[i].Received.Concealed
		late += st.Received.Late - first[i].Received.Late
	}
	packets := float64(n) * took * 50
	b.ReportMetric(float64(lost)/packets*100, "lost-%")
	b.ReportMetric(float64(concealed)/packets*100, "concealed-%")
}

func second(b *testing.B) {
	select {
	case <-time.After(time.Second):
	case <-b.Context().Done():
	}
}

// benchTone is a second of a tone.
var benchTone = func() []int16 {
	pcm := make([]int16, 8000)
	media.NewTone(8000, -12, toneA).ReadFrame(pcm)
	return pcm
}()
