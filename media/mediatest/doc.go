// Package mediatest is what tests of media need: speech and tones to send,
// measures that say whether what came out is what went in, and a link that
// delays, loses and reorders packets.
//
// Nothing here needs a [testing.TB]; programs may use it as well.
package mediatest
