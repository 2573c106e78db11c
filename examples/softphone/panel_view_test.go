package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
)

func someView() *view {
	return &view{
		title: "alice@pbx.example, registered over TLS 1.3", selected: 1, keys: "a answer  h hang up  ? help",
		rows: []row{
			{number: 1, who: "Bob <1002>", state: "talking", lasts: 42 * time.Second, metered: true, heard: -12, said: -60, marks: []string{"muted"}, detail: "opus/48000/2, AEAD_AES_128_GCM"},
			{number: 2, who: "王小明 <1003>", state: "held", lasts: 61 * time.Minute},
			{number: 3, who: "dave\x1b[2J\u202e", state: "calls", alert: true},
			{number: 4, who: "Erin", state: "elsewhere", away: true, detail: "desk"},
		},
		messages: []string{"one", "two", "three"},
	}
}

// No line is wider or lower than the terminal, whatever size it has, and the
// selected call is always to be seen.
func TestViewFits(t *testing.T) {
	for _, colour := range []bool{false, true} {
		for width := -1; width < 200; width++ {
			for _, height := range []int{0, 3, 4, 5, 6, 8, 24} {
				for selected := range 4 {
					v := someView()
					v.selected = selected
					if width%2 == 0 {
						v.prompt, v.input = "call:", strings.Repeat("0123456789", 8)
					}
					lines := v.draw(width, height, colour)
					if len(lines) > max(height, minHeight) {
						t.Fatalf("%dx%d: %d lines", width, height, len(lines))
					}
					marked := 0
					for _, l := range lines {
						if !colour && strings.ContainsRune(l, '\x1b') {
							t.Fatalf("a control sequence without colour: %q", l)
						}
						l = strings.NewReplacer(bold, "", dim, "", reverse, "", plain, "").Replace(l)
						if strings.ContainsAny(l, "\x1b\u202e\n") {
							t.Fatalf("something that moves the cursor: %q", l)
						}
						if n := runewidth.StringWidth(l); n > max(width, minWidth) {
							t.Fatalf("%dx%d: a line of %d columns: %q", width, height, n, l)
						}
						if strings.HasPrefix(l, ">") {
							marked++
						}
					}
					if marked != 1 {
						t.Fatalf("%dx%d, call %d selected: %d lines are marked\n%s", width, height, selected, marked, strings.Join(lines, "\n"))
					}
				}
			}
		}
	}
}

// What a row says, as far as there is room.
func TestViewRow(t *testing.T) {
	for _, c := range []struct {
		width int
		want  string
	}{
		{120, "  1 Bob <1002>    talking 0:42 [muted] in ######-- out --------  opus/48000/2, AEAD_AES_128_GCM"},
		{72, "  1 Bob <1002>    talking 0:42 [muted] in ######-- out --------"},
		{48, "  1 Bob <1002>    talking 0:42 [muted]"},
		{32, "  1 Bob <1 talking 0:42 [muted]"},
		{10, "  1  talki"},
	} {
		v := someView()
		got := strings.TrimRight(v.draw(c.width, 24, false)[1], " ")
		if got != c.want {
			t.Errorf("%d columns: %q, want %q", c.width, got, c.want)
		}
	}
}

// What was typed last stays in sight.
func TestViewPrompt(t *testing.T) {
	for _, c := range []struct {
		prompt, input string
		width         int
		want          string
	}{
		{"call:", "bob", 20, "call: bob_"},
		{"call:", "0123456789", 10, "<23456789_"},
	} {
		if got := ask(c.prompt, c.input, c.width); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestMeter(t *testing.T) {
	for _, c := range []struct {
		dB   float64
		want string
	}{
		{0, "########"}, {-1, "#######-"}, {-6, "#######-"}, {-47, "--------"}, {-42, "#-------"}, {-1000, "--------"}, {3, "########"},
	} {
		if got := meter(c.dB); got != c.want {
			t.Errorf("%v dB: %s, want %s", c.dB, got, c.want)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces []string
		want   []press
	}{
		{"characters", []string{"aé"}, []press{'a', 'é'}},
		{"a character in two pieces", []string{"\xc3", "\xa9x"}, []press{'é', 'x'}},
		{"arrows", []string{"\x1b[A\x1bOB\x1b[1;5C\x1b[D"}, []press{keyUp, keyDown, keyRight, keyLeft}},
		{"Escape", []string{"\x1b", "\x1bq"}, []press{keyEscape, keyEscape, 'q'}},
		{"other sequences", []string{"\x1b[200~x\x1b[Z"}, []press{'x'}},
		{"a sequence without end", []string{"\x1b[" + strings.Repeat("1", 100)}, slices.Repeat([]press{'1'}, 70)},
		{"control characters", []string{"\r\n\t\x7f\x08\x03\x04\x0c\x00\x1f"}, []press{keyEnter, keyEnter, keyTab, keyErase, keyErase, keyInterrupt, keyEnd, keyRedraw}},
		{"no UTF-8", []string{"\xff\xfea"}, []press{'a'}},
	} {
		var k keyReader
		var got []press
		for _, p := range c.pieces {
			got = k.read(got, []byte(p))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{"a", "\x1b[A", "\x1b[1;5C", "\xc3", "\x1b"} {
		f.Add([]byte(s), []byte("x"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var k keyReader
		keys := k.read(k.read(nil, a), b)
		if len(keys) > len(a)+len(b) || len(k.rest) > 4 {
			t.Fatalf("%d keys, %d octets left", len(keys), len(k.rest))
		}
	})
}
