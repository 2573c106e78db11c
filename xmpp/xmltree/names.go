package xmltree

import "unicode/utf8"

// Names without a colon (Namespaces in XML 1.0 §3), of the characters of XML 1.0, fifth edition, §2.3.

const (
	startByte = 1 << iota // may begin a name
	nameByte              // may be in a name
)

var byteClass = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			t[c] = startByte | nameByte
		case c >= '0' && c <= '9', c == '-', c == '.':
			t[c] = nameByte
		}
	}
	return t
}()

func nameStart(r rune) bool {
	if r < utf8.RuneSelf {
		return byteClass[r]&startByte != 0
	}
	for _, rg := range nameStartRanges {
		if r >= rg[0] && r <= rg[1] {
			return true
		}
	}
	return false
}

func nameChar(r rune) bool {
	if r < utf8.RuneSelf {
		return byteClass[r]&nameByte != 0
	}
	return r == 0xB7 || r >= 0x300 && r <= 0x36F || r == 0x203F || r == 0x2040 || nameStart(r)
}

var nameStartRanges = [...][2]rune{
	{0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x2FF}, {0x370, 0x37D}, {0x37F, 0x1FFF}, {0x200C, 0x200D}, {0x2070, 0x218F},
	{0x2C00, 0x2FEF}, {0x3001, 0xD7FF}, {0xF900, 0xFDCF}, {0xFDF0, 0xFFFC}, {0x10000, 0xEFFFF},
}

// validName tells whether s is a name without a colon.
func validName(s string) bool {
	for i, r := range s {
		if i == 0 && !nameStart(r) || !nameChar(r) {
			return false
		}
	}
	return s != ""
}
