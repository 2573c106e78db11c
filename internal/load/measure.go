//go:build unix

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is what this process holds after a collection.
type memory struct {
	heap, stack int64 // bytes in use
	resident    int64 // bytes of physical memory; 0 where the system has no /proc
	goroutines  int64
}

func measureMemory() memory {
	debug.FreeOSMemory() // collects, too
	debug.FreeOSMemory() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{int64(m.HeapAlloc), int64(m.StackInuse), resident(), int64(runtime.NumGoroutine())}
}

// figures are what n things cost more than there was before.
func (m memory) figures(before memory, n int, what string) []figure {
	each := func(now, then int64, unit float64) float64 { return float64(now-then) / float64(n) / unit }
	return []figure{
		{"heap and stacks", each(m.heap+m.stack, before.heap+before.stack, 1024), "KB per " + what},
		{"heap", each(m.heap, before.heap, 1024), "KB per " + what},
		{"stacks", each(m.stack, before.stack, 1024), "KB per " + what},
		{"resident", each(m.resident, before.resident, 1024), "KB per " + what},
		{"goroutines", each(m.goroutines, before.goroutines, 1), "per " + what},
	}
}

func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// liveHeap is what the latest collection found in use, in bytes, without
// stopping anything.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// quantile is the value below which the share q of the sorted values lies.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// latency are the figures of how long something took.
func latency(name string, d []time.Duration) []figure {
	d = slices.Clone(d)
	slices.Sort(d)
	return []figure{
		{name + ", median", ms(quantile(d, 0.5)), "ms"},
		{name + ", p99", ms(quantile(d, 0.99)), "ms"},
		{name + ", longest", ms(quantile(d, 1)), "ms"},
	}
}
