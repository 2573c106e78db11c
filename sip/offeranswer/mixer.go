package offeranswer

// NewMixer makes a mixer that merges calls on the device.
type NewMixer func() (Mixer, error)

// A Mixer lets the parties of several calls hear each other: each hears all
// others, and not itself. Package media has one; whoever brings other media
// brings another. Its methods may be called concurrently.
type Mixer interface {
	// Add lets the party of m take part. What m had to say and who heard it
	// until then is set aside. An error changes nothing; adding twice is none.
	Add(m Media) error

	// Remove lets the party of m go; what had been set aside comes back. It is
	// no error if m does not take part. Media that are closed leave by
	// themselves.
	Remove(m Media) error

	// Mute keeps what the party of m says from the others, who are heard by it
	// as before. An error says that m does not take part.
	Mute(m Media, on bool) error

	// Close lets all parties go. It is idempotent.
	Close() error
}
