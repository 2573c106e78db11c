//go:build race

package srtpctx_test

// The race detector makes sync.Pool forget at random, and so allocate.
const raceEnabled = true
