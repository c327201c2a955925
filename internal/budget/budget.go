// Package budget holds no code. Its test holds the dependency budget: which of
// the heavy libraries may be imported where, so that the stream host stays free
// of Nomad, the router of WebRTC, and each part can be read alone.
package budget
