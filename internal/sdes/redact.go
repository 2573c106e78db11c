package sdes

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "redacted"

// Format prints "redacted" for every verb, so that no log shows a key.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is "redacted".
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is "redacted": encoders that look at fields must not find keys.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
