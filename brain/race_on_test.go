//go:build race

package brain_test

const raceDetector = true
