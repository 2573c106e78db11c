package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// passwordVariable names the environment variable.
const passwordVariable = "HOORN_PASSWORD"

// readPassword finds the password: in the file that was named, in the
// environment, or by asking. An empty variable is an empty password, for
// servers that ask for none.
func (s *settings) readPassword(ctx context.Context, c *console) (string, error) {
	if s.passwordFile != "" {
		return passwordFromFile(s.passwordFile)
	}
	if p, ok := os.LookupEnv(passwordVariable); ok {
		return p, nil
	}
	if c.password == nil {
		return "", usagef("no password: set %s, give -password-file FILE, or run this in a terminal to be asked", passwordVariable)
	}
	return c.password(ctx, fmt.Sprintf("Password of %s: ", s.account))
}

// maxPassword bounds the file.
const maxPassword = 4096

func passwordFromFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	// Windows has no such bits: Go makes them up there.
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others (its mode is %04o), so the password in it is no secret: chmod 600 %s", path, mode, path)
	}
	line, err := bufio.NewReader(io.LimitReader(f, maxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if len(line) == maxPassword {
		return "", fmt.Errorf("%s: the first line is longer than %d bytes: is it a password?", path, maxPassword)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("%s: its first line is empty", path)
	}
	return line, nil
}

// promptPassword asks in the terminal, without echo.
func promptPassword(ctx context.Context, prompt string) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprint(os.Stderr, prompt)
	type answer struct {
		password []byte
		err      error
	}
	got := make(chan answer, 1)
	go func() {
		p, err := term.ReadPassword(fd)
		got <- answer{p, err}
	}()
	select {
	case a := <-got:
		fmt.Fprintln(os.Stderr)
		return string(a.password), a.err
	case <-ctx.Done(): // the echo has to come back
		fmt.Fprintln(os.Stderr)
		if err := term.Restore(fd, before); err != nil {
			return "", err
		}
		return "", context.Cause(ctx)
	}
}

// maxRoots bounds the file of -ca.
const maxRoots = 1 << 20

// readRoots reads certificates in PEM; no file is nil, the system's roots.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxRoots))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it; -ca wants the authority's certificate in PEM (-----BEGIN CERTIFICATE-----)", path)
	}
	return pool, nil
}
