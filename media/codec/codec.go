// Package codec says what a codec is to the media engine: a name for SDP, a
// way to agree on parameters, and encoders and decoders between 16-bit PCM and
// RTP payloads. It is a leaf: it imports nothing of this module, so that a
// codec from elsewhere needs this package alone.
//
// A [Codec] is a description. It holds no state, may be shared by any number
// of calls, and must be safe for concurrent use. The state of one direction of
// one stream lives in an [Encoder] or a [Decoder], each used by one goroutine
// at a time.
//
// PCM is always mono, 16 bits, native endianness. A codec that is stereo on
// the wire mixes down on decoding and sends mono.
package codec

import (
	"errors"
	"time"
)

// ErrPayload is wrapped by every error that a [Decoder] returns for a payload
// it cannot make sense of. The decoder stays usable; the caller conceals.
var ErrPayload = errors.New("codec: malformed payload")

// ErrFrameSize is wrapped by the error of an [Encoder] that was given a number
// of samples that is not one packet.
var ErrFrameSize = errors.New("codec: wrong number of samples for a packet")

// ErrParams is wrapped by errors for parameters that a codec cannot work with.
var ErrParams = errors.New("codec: unusable parameters")

// A Codec describes one payload format and makes encoders and decoders for it.
type Codec interface {
	// Format is what stands in SDP. It must always return the same value.
	Format() Format

	// SampleRate is the rate in Hz of the PCM that goes into encoders and
	// comes out of decoders. It need not be the RTP clock rate: G.722 samples
	// at 16000 Hz but counts at 8000 (RFC 3551 §4.5.2).
	SampleRate() int

	// Negotiate is given the peer's a=fmtp parameters for this format, ""
	// when it sent none. It returns the parameters for our answer, "" for
	// none. ok is false when the peer means something that this codec does
	// not do; the format is then treated as unknown.
	Negotiate(remoteFmtp string) (localFmtp string, ok bool)

	// NewEncoder and NewDecoder return fresh state for one direction of one
	// stream. Their errors wrap [ErrParams].
	NewEncoder(Params) (Encoder, error)
	NewDecoder(Params) (Decoder, error)
}

// Params is what was agreed for a stream.
type Params struct {
	PTime       time.Duration // time in one packet that we send; 0 = 20 ms
	LocalFmtp   string        // the a=fmtp parameters in our description, "" = none
	RemoteFmtp  string        // the a=fmtp parameters in the peer's, "" = none
	Bitrate     int           // bit/s wished for; 0 = the codec's default
	Complexity  int           // 1 (cheapest) to 10 (best); 0 = the codec's default
	LossPercent int           // packet loss to expect at the start, 0 to 100
}

// An Encoder turns PCM into payloads.
type Encoder interface {
	// Encode appends the payload for one packet's worth of PCM to dst:
	// SampleRate times PTime samples. It returns dst unchanged and a nil error
	// when nothing is to be sent (discontinuous transmission). It keeps
	// neither slice.
	Encode(dst []byte, pcm []int16) ([]byte, error)
}

// A Decoder turns payloads into PCM.
type Decoder interface {
	// Decode appends the PCM of one payload to dst. The peer chooses how much
	// time a packet holds, so the number of samples may change from one to the
	// next; it never exceeds 120 ms. An error wraps [ErrPayload], and dst comes
	// back as it was. Decode keeps neither slice.
	Decode(dst []int16, payload []byte) ([]int16, error)

	// Conceal appends n samples in place of a lost packet, made from what was
	// decoded before and fading to silence over a long loss.
	Conceal(dst []int16, n int) []int16
}

// A LossAdapter is an [Encoder] that can spend bits on protection when the
// peer reports loss.
type LossAdapter interface {
	// SetLoss sets the share of packets that the peer misses, 0 to 100.
	SetLoss(percent int)
}

// An FECDecoder is a [Decoder] that can rebuild a lost packet from redundancy
// in the one after it.
type FECDecoder interface {
	// DecodeFEC appends n samples for the packet before next. ok is false, and
	// dst as it was, when next holds nothing about that packet; the caller
	// then conceals. In either case the caller goes on to Decode next.
	DecodeFEC(dst []int16, next []byte, n int) (pcm []int16, ok bool)
}

// A PTimer is a [Codec] that cannot do every packet time.
type PTimer interface {
	// PTime returns the packet time to use when asked is wished for.
	PTime(asked time.Duration) time.Duration
}

// A Sizer is a [Codec] that can tell how much sound a payload holds without
// decoding it.
type Sizer interface {
	// PayloadSamples returns the samples, at SampleRate, that Decode would
	// append, or 0 when the payload is malformed.
	PayloadSamples(payload []byte) int
}
