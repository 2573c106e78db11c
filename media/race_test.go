//go:build race

package media

// The race detector makes sync.Pool forget at random, and so allocate.
const raceEnabled = true
