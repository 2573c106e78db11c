package sasl

import "testing"

func TestPrep(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		ok             bool
	}{
		{"RFC 4013 3, soft hyphen mapped to nothing", "I\u00adX", "IX", true},
		{"RFC 4013 3, no transformation", "user", "user", true},
		{"RFC 4013 3, case preserved", "USER", "USER", true},
		{"RFC 4013 3, NFKC of a feminine ordinal", "\u00aa", "a", true},
		{"RFC 4013 3, NFKC of Roman nine", "\u2168", "IX", true},
		{"RFC 4013 3, prohibited", "\u0007", "", false},
		{"RFC 4013 3, bidirectional", "\u06271", "", false},
		{"Arabic with Arabic at both ends", "\u06271\u0628", "\u06271\u0628", true},
		{"Arabic and Latin", "\u0627a\u0628", "", false},
		{"spaces", "a\u00a0b\u3000c\u200bd", "a b c d", true},
		{"zero width joiner", "a\u200db", "ab", true},
		{"full width", "\uff41\uff42", "ab", true},
		{"composed", "a\u0308", "\u00e4", true},
		{"later than Unicode 3.2", "p\U0001f512", "p\U0001f512", true},
		{"private use", "\ue000", "", false},
		{"not a character", "\ufdd0", "", false},
		{"language tag", "a\U000e0041", "", false},
		{"left-to-right mark", "a\u200e", "", false},
		{"DEL", "\x7f", "", false},
		{"NUL", "a\x00b", "", false},
		{"nothing left", "\u00ad", "", false},
		{"not UTF-8", "a\xffb", "", false},
		{"punctuation", "a,b=c", "a,b=c", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := prep("password", c.in)
			if got != c.want || c.ok != (err == nil) || !c.ok && !sameError(err, new(PrepError)) {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// What comes out goes in again and stays the same.
func FuzzPrep(f *testing.F) {
	for _, s := range []string{"user", "I\u00adX", "\u06271\u0628", "a\u0308\u2168", "\u200b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := prep("password", s)
		if err != nil {
			return
		}
		if twice, err := prep("password", once); twice != once || err != nil {
			t.Errorf("%q became %q, and that %q, %v", s, once, twice, err)
		}
	})
}
