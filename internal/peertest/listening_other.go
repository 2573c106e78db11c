//go:build !linux

package peertest

import "errors"

func listening(string, int) (bool, error) { return false, errors.ErrUnsupported }
