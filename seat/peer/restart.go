package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// A browser may restart ICE restartBurst times at once, and then once each
	// restartEvery: a person in a train changes networks every few seconds for a while.
	// Each restart costs sockets, and as many checks as the first offer: the sixteen
	// addresses of maxCandidates are those of one restart, since the earlier ones are
	// forgotten. So a seat sends at most a few checks a second, whatever a browser says.
	restartBurst = 6
	restartEvery = 10 * time.Second
)

var (
	errUnanswered = errors.New("there is no connection yet whose ICE could be restarted")
	errRestarts   = fmt.Errorf("ICE may be restarted %d times at once, and then each %v", restartBurst, restartEvery)
)

// Restart answers an offer by which the browser restarts ICE: its address has changed, or
// the way to it broke. All else stays: the encryption, the tracks with their numbers, the
// channels and what they hold. The old addresses of both sides are forgotten. Of the offer
// only ICE's name, password and candidates are used, so that a browser cannot make the
// connection larger by it. A keyframe is requested when the new way is there.
//
// After an error the browser needs a new peer.
func (p *Peer) Restart(ctx context.Context, offer string) (string, error) {
	switch {
	case len(offer) > wire.MaxOffer:
		return "", fmt.Errorf("%w: it has more than %d bytes", errOffer, wire.MaxOffer)
	case State(p.state.Load()) == Closed:
		return "", errClosed
	case !p.answered.Load():
		return "", errUnanswered
	case !p.restarts.Allow():
		return "", errRestarts
	}
	offer, candidates := p.reach.filter(offer)
	merged, err := renewed(p.offer, offer)
	if err != nil {
		return "", err
	}
	p.answered.Store(false) // the candidates that are found now are in the answer
	defer p.answered.Store(true)
	answer, err := p.answer(ctx, merged, candidates)
	p.moved.Store(true)
	return answer, err
}

// renewed is the first offer with the ICE parameters and candidates of a later one.
func renewed(first, later string) (string, error) {
	name, password := "", ""
	var candidates []string
	for line := range strings.Lines(later) {
		line = strings.TrimRight(line, "\r\n")
		if value, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok && name == "" {
			name = value
		} else if value, ok := strings.CutPrefix(line, "a=ice-pwd:"); ok && password == "" {
			password = value
		} else if strings.HasPrefix(line, "a=candidate:") && !strings.Contains(line, "\r") {
			candidates = append(candidates, line)
		}
	}
	// RFC 8839, 5.4.
	if !iceChars(name, 4) || !iceChars(password, 22) {
		return "", fmt.Errorf("%w: it has no valid ICE name and password", errOffer)
	}
	var out strings.Builder
	for line := range strings.Lines(first) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "a=candidate:"), strings.HasPrefix(line, "a=end-of-candidates"):
			continue
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + name
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + password
		}
		out.WriteString(line + "\r\n")
		if strings.HasPrefix(line, "a=mid:") { // of the first section, which all others share
			for _, c := range candidates {
				out.WriteString(c + "\r\n")
			}
			candidates = nil
		}
	}
	return out.String(), nil
}

// iceChars reports whether text has only ice-chars, and at least so many.
func iceChars(text string, least int) bool {
	return len(text) >= least && len(text) <= 256 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") == ""
}
