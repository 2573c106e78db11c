// Package e2e holds tests of whole calls: user agents of package sip, media
// engines, and the lab, on one network in memory and in virtual time. There is
// nothing to import here.
package e2e
