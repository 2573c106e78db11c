package negotiate

import (
	"slices"

	"github.com/hoorn-phone/hoorn/internal/sdes"
)

// offerCrypto lists a key for each suite, the agreed one first, and returns
// the lines. Keys we have are kept unless fresh (RFC 4568 §7.1.4).
func (s *Session) offerCrypto(st *stream, agreed *sdes.Crypto, fresh bool) error {
	st.crypto = nil
	if s.cfg.Policy == Off {
		return nil
	}
	order := slices.Clone(s.cfg.Suites)
	if agreed != nil {
		if i := slices.Index(order, agreed.Suite); i > 0 {
			order = slices.Insert(slices.Delete(order, i, i+1), 0, agreed.Suite)
		}
	}
	var lines []*sdes.Crypto
	for _, suite := range order {
		old := keyFor(st.keys, suite)
		if old != nil && !fresh {
			lines = append(lines, old)
			continue
		}
		tag := 1
		if old != nil {
			tag = old.Tag
		} else {
			for tagged(st.keys, tag) || tagged(lines, tag) {
				tag++
			}
		}
		c, err := sdes.New(tag, suite, s.cfg.Rand)
		if err != nil {
			return err
		}
		lines = append(lines, c)
	}
	st.crypto, st.keys = lines, lines
	return nil
}

// answerCrypto picks the first line of the offer that can be used, by the
// offerer's order (RFC 4568 §5.1.2), and the key to answer it with. Both are
// nil when there is none.
func (s *Session) answerCrypto(st *stream, lines []string, local, remote *sdes.Crypto, fresh bool) (ours, theirs *sdes.Crypto, err error) {
	if s.cfg.Policy == Off {
		return nil, nil, nil
	}
	tags := make(map[int]bool, len(lines))
	for _, line := range lines {
		c, err := sdes.Parse(line)
		if err != nil {
			continue // RFC 4568 §5.1.2: not acceptable, for whatever reason
		}
		if tags[c.Tag] { // §9.1: unique within the stream
			return nil, nil, refuse(ErrContradiction, "two a=crypto with tag %d", c.Tag)
		}
		tags[c.Tag] = true
		if theirs == nil && slices.Contains(s.cfg.Suites, c.Suite) {
			theirs = c
		}
	}
	if theirs == nil {
		return nil, nil, nil
	}
	if local != nil && local.Suite == theirs.Suite && remote.SameContext(theirs) && !fresh {
		same := *local
		same.Tag = theirs.Tag
		ours = &same
	} else if ours, err = sdes.New(theirs.Tag, theirs.Suite, s.cfg.Rand); err != nil {
		return nil, nil, err
	}
	st.crypto = []*sdes.Crypto{ours}
	st.keys = remember(st.keys, ours)
	return ours, theirs, nil
}

// acceptCrypto checks the a=crypto of an answer against our offer: exactly
// one, with the tag and the suite of one of our lines (RFC 4568 §5.1.3).
func acceptCrypto(offered []*sdes.Crypto, lines []string) (ours, theirs *sdes.Crypto, err *Error) {
	if len(lines) != 1 {
		return nil, nil, refuse(ErrNotSecure, "an answer with %d a=crypto", len(lines))
	}
	theirs, perr := sdes.Parse(lines[0])
	if perr != nil {
		return nil, nil, refuse(ErrNotSecure, "%v", perr)
	}
	for _, c := range offered {
		if c.Tag == theirs.Tag {
			if c.Suite != theirs.Suite {
				return nil, nil, refuse(ErrNotSecure, "a=crypto tag %d is %v, not %v", c.Tag, c.Suite, theirs.Suite)
			}
			return c, theirs, nil
		}
	}
	return nil, nil, refuse(ErrNotSecure, "a=crypto with tag %d, which was not offered", theirs.Tag)
}

func keyFor(keys []*sdes.Crypto, s sdes.Suite) *sdes.Crypto {
	for _, c := range keys {
		if c.Suite == s {
			return c
		}
	}
	return nil
}

func tagged(keys []*sdes.Crypto, tag int) bool {
	return slices.ContainsFunc(keys, func(c *sdes.Crypto) bool { return c.Tag == tag })
}

// remember is keys with c in place of the key of its suite. A key of another
// suite with the same tag is forgotten: an offer makes a new one.
func remember(keys []*sdes.Crypto, c *sdes.Crypto) []*sdes.Crypto {
	out := []*sdes.Crypto{c}
	for _, k := range keys {
		if k.Suite != c.Suite && k.Tag != c.Tag {
			out = append(out, k)
		}
	}
	return out
}
