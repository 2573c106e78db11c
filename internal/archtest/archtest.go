// Package archtest holds the architecture of the module as tests: who may
// import whom, and what a state machine may not do. There is nothing to import here.
package archtest
