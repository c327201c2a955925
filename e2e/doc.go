// Package e2e presses Play as a person would, against a whole real site: Consul,
// Nomad with the stream driver, an S3 server, router, brain, seats and Chromium.
//
// One site serves all tests (site_test.go); each test runs an app of its own, so
// that its pool is its own. Files by what they try:
//
//	play_test.go      press Play, hold the application, leave
//	samples_test.go   the sample apps of jobs/, as an operator runs them
//	bad_test.go       apps and content that cannot work: the reason reaches the person and Nomad
//	lost_test.go      browsers that vanish, reload or stand still
//	killed_test.go    kill -9 of each process of the chain while frames flow
//	claims_test.go    many at once for one seat; tickets that do not hold
package e2e
