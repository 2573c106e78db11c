package sasl

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Tables of RFC 3454 that SASLprep names (RFC 4013 §2).
var (
	// mapped to SPACE: table C.1.2
	spaces = &unicode.RangeTable{R16: []unicode.Range16{
		{0x00A0, 0x00A0, 1}, {0x1680, 0x1680, 1}, {0x2000, 0x200B, 1}, {0x202F, 0x202F, 1}, {0x205F, 0x205F, 1}, {0x3000, 0x3000, 1},
	}, LatinOffset: 1}

	// mapped to nothing: table B.1
	nothing = &unicode.RangeTable{R16: []unicode.Range16{
		{0x00AD, 0x00AD, 1}, {0x034F, 0x034F, 1}, {0x1806, 0x1806, 1}, {0x180B, 0x180D, 1}, {0x200B, 0x200D, 1}, {0x2060, 0x2060, 1},
		{0xFE00, 0xFE0F, 1}, {0xFEFF, 0xFEFF, 1},
	}, LatinOffset: 1}

	// prohibited: tables C.1.2, C.2.1, C.2.2, C.3, C.4, C.6 to C.9. Of C.5 (surrogates) UTF-8 has none.
	prohibited = &unicode.RangeTable{
		R16: []unicode.Range16{
			{0x0000, 0x001F, 1}, {0x007F, 0x00A0, 1}, {0x0340, 0x0341, 1}, {0x06DD, 0x06DD, 1}, {0x070F, 0x070F, 1}, {0x1680, 0x1680, 1},
			{0x180E, 0x180E, 1}, {0x2000, 0x200F, 1}, {0x2028, 0x202F, 1}, {0x205F, 0x2063, 1}, {0x206A, 0x206F, 1}, {0x2FF0, 0x2FFB, 1},
			{0x3000, 0x3000, 1}, {0xE000, 0xF8FF, 1}, {0xFDD0, 0xFDEF, 1}, {0xFEFF, 0xFEFF, 1}, {0xFFF9, 0xFFFF, 1},
		},
		R32: []unicode.Range32{
			{0x1D173, 0x1D17A, 1}, {0x1FFFE, 0x1FFFF, 1}, {0x2FFFE, 0x2FFFF, 1}, {0x3FFFE, 0x3FFFF, 1}, {0x4FFFE, 0x4FFFF, 1},
			{0x5FFFE, 0x5FFFF, 1}, {0x6FFFE, 0x6FFFF, 1}, {0x7FFFE, 0x7FFFF, 1}, {0x8FFFE, 0x8FFFF, 1}, {0x9FFFE, 0x9FFFF, 1},
			{0xAFFFE, 0xAFFFF, 1}, {0xBFFFE, 0xBFFFF, 1}, {0xCFFFE, 0xCFFFF, 1}, {0xDFFFE, 0xDFFFF, 1}, {0xE0001, 0xE0001, 1},
			{0xE0020, 0xE007F, 1}, {0xEFFFE, 0x10FFFF, 1},
		},
		LatinOffset: 1,
	}
)

// prep is SASLprep, with the normalization and the directions of today's Unicode: for what Unicode 3.2 knew they differ in five ideographs that were corrected, and in
// a few signs. Code points that Unicode 3.2 did not have are let through, for passwords too, though RFC 5802 §2.2 calls those stored strings: if the server
// took a password with an emoji in it, its owner has to get in.
func prep(what, s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", &PrepError{What: what, Reason: "not UTF-8"}
	}
	ascii := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if !ascii {
		// U+200B stands in both tables. Implementations look at C.1.2 first.
		s = strings.Map(func(r rune) rune {
			switch {
			case unicode.Is(spaces, r):
				return ' '
			case unicode.Is(nothing, r):
				return -1
			}
			return r
		}, s)
		s = norm.NFKC.String(s)
	}
	for _, r := range s {
		if unicode.Is(prohibited, r) {
			return "", &PrepError{What: what, Reason: "a character that SASLprep prohibits"}
		}
	}
	if !ascii && !bidiOK(s) {
		return "", &PrepError{What: what, Reason: "a mixture of directions that SASLprep prohibits"}
	}
	if s == "" {
		return "", &PrepError{What: what, Reason: "nothing is left of it"}
	}
	return s, nil
}

// bidiOK is the check of RFC 3454 §6: with any character that runs from right to left there is none that runs from left to right, and the first and
// the last are of the former.
func bidiOK(s string) bool {
	class := func(p bidi.Properties, _ int) bidi.Class { return p.Class() }
	rightToLeft := func(c bidi.Class) bool { return c == bidi.R || c == bidi.AL }
	var r, l bool
	for _, c := range s {
		switch class := class(bidi.LookupRune(c)); {
		case rightToLeft(class):
			r = true
		case class == bidi.L:
			l = true
		}
	}
	if !r {
		return true
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	return !l && rightToLeft(class(bidi.LookupRune(first))) && rightToLeft(class(bidi.LookupRune(last)))
}
