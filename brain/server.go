package brain

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/wire"
)

// Why a person's connection was cut, beyond what guard says.
const (
	cutHello  = "hello"  // no hello came in time
	cutSlow   = "slow"   // a message trickled
	cutFlood  = "flood"  // too many messages
	cutUnread = "unread" // the person does not read
	cutSilent = "silent" // no answer to a ping
)

// limits bound what strangers and people take of a brain, which has 256 MB. TestMemoryOfALine
// and TestPagesComeBack hold that with as many people as their flags say.
//
// Most people prove themselves within a round trip of their connection; a page that
// prepares has its socket open for eight seconds at most.
func limits(proxies guard.Proxies, pace guard.Pacer) guard.Limits {
	return guard.Limits{
		Unproven: 512, UnprovenNear: 64, UnprovenWide: 128,
		// People who are proven have a ticket, which routers do not give to everybody. An
		// office may have hundreds of people behind one address.
		Proven: 4096, ProvenNear: 512, ProvenWide: 1024,
		UnprovenBytes: 8 << 20, ProvenBytes: 24 << 20, ConnBytes: 256 << 10,
		Calm: 10 * time.Second, Busy: 2 * time.Second,
		Proxies: proxies, Pace: pace,
	}
}

func newGuard(proxies guard.Proxies, pace guard.Pacer, m *metrics) *guard.Guard {
	return guard.New(limits(proxies, pace), m.cut)
}

// Guard bounds the connections that people make to this brain. Its Listener and
// its Attach are for the server of Handler; Run runs it.
func (b *Broker) Guard() *guard.Guard { return b.guard }

// patience is how long a person may take to say hello.
func (b *Broker) patience() time.Duration { return b.guard.Patience() }

// welcome says why a request for a WebSocket is refused, in the form that all
// refusals have.
func (b *Broker) welcome(r *http.Request) *wire.Problem {
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return &wire.Problem{Type: wire.ProblemMalformed, Title: "Not a WebSocket", Status: http.StatusUpgradeRequired,
			Detail: "Request a WebSocket upgrade."}
	}
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	if err != nil || len(key) != 16 || r.Header.Get("Sec-WebSocket-Version") != "13" || !r.ProtoAtLeast(1, 1) {
		return new(malformed("The WebSocket handshake must be of version 13, with a key of 16 bytes."))
	}
	c := guard.Of(r.Context())
	client := b.cfg.TrustedProxies.Client(r)
	c.Identify(client)
	return full(b.guard.Room(client))
}

// full is the problem of guard's errors, nil where there is none.
func full(err error) *wire.Problem {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, guard.ErrNetwork):
		return new(tooMuch("Too many people of your network are connected to this site. Try again in a moment."))
	}
	return new(unavailable("This brain has all the people that it can serve. Connect again to reach another brain."))
}

// hasToken reports whether a header is a list that has a token.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for one := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}
