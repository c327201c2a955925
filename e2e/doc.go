// Package e2e presses Play as a person would, against a whole real site: Consul,
// Nomad with the stream driver, an S3 server, router, brain, seats and Chromium.
//
// One site serves all tests; each test runs an app of its own, so that its warm
// pool is its own. Needs make build.
//
//	go test ./e2e -run TestPlay
package e2e
