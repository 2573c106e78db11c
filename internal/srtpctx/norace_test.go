//go:build !race

package srtpctx_test

const raceEnabled = false
