package main

import (
	"context"
	"io"
	"unicode/utf8"
)

// press is something pressed: a rune, or one of the constants.
type press rune

// Keys that are no characters. They lie outside of Unicode.
const (
	keyUp press = utf8.MaxRune + 1 + iota
	keyDown
	keyLeft
	keyRight
	keyEnter
	keyErase
	keyEscape
	keyInterrupt // Ctrl-C
	keyEnd       // Ctrl-D
	keyRedraw    // Ctrl-L
	keyTab
)

// keyReader turns what a terminal in raw mode sends into keys. What it does
// not know is skipped.
type keyReader struct {
	rest []byte // the beginning of a character that is not complete
}

// maxSequence bounds a control sequence; a longer one is no key.
const maxSequence = 32

// read appends the keys in a piece of input to keys. A lone Escape is told from the
// beginning of a sequence by what comes in the same piece, as terminals send
// sequences whole.
func (k *keyReader) read(keys []press, piece []byte) []press {
	b := append(k.rest, piece...)
	k.rest = nil
	for len(b) > 0 {
		switch c := b[0]; {
		case c == 0x1b:
			n, found := sequence(b)
			if found != 0 {
				keys = append(keys, found)
			}
			b = b[n:]
			continue
		case c == '\r' || c == '\n':
			keys = append(keys, keyEnter)
		case c == '\t':
			keys = append(keys, keyTab)
		case c == 0x7f || c == 0x08:
			keys = append(keys, keyErase)
		case c == 0x03:
			keys = append(keys, keyInterrupt)
		case c == 0x04:
			keys = append(keys, keyEnd)
		case c == 0x0c:
			keys = append(keys, keyRedraw)
		case c < 0x20:
		case c < utf8.RuneSelf:
			keys = append(keys, press(c))
		default:
			if !utf8.FullRune(b) {
				k.rest = append(k.rest, b...)
				return keys
			}
			r, n := utf8.DecodeRune(b)
			if r != utf8.RuneError {
				keys = append(keys, press(r))
			}
			b = b[n:]
			continue
		}
		b = b[1:]
	}
	return keys
}

// sequence reads what begins with Escape: its length and its key, 0 for one
// that has no meaning here (ECMA-48 §5.4: ESC [, parameters, a final byte).
func sequence(b []byte) (int, press) {
	if len(b) == 1 {
		return 1, keyEscape
	}
	if b[1] != '[' && b[1] != 'O' {
		return 1, keyEscape
	}
	for i := 2; i < len(b) && i < maxSequence; i++ {
		if c := b[i]; c >= 0x40 && c <= 0x7e {
			var found press
			switch c {
			case 'A':
				found = keyUp
			case 'B':
				found = keyDown
			case 'C':
				found = keyRight
			case 'D':
				found = keyLeft
			}
			return i + 1, found
		}
	}
	return min(len(b), maxSequence), 0
}

// watchKeys reads keys until the input or the context ends, and then closes the channel. A read under way
// ends with the program at the latest.
func watchKeys(ctx context.Context, r io.Reader) <-chan press {
	out := make(chan press)
	go func() {
		defer close(out)
		var k keyReader
		var buf [256]byte
		for {
			n, err := r.Read(buf[:])
			for _, pressed := range k.read(nil, buf[:n]) {
				select {
				case out <- pressed:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}
