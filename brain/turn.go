package brain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TURN are the site's TURN servers. People get their URLs with the grant, and credentials
// that are renewed as long as they are connected.
type TURN struct {
	URLs   []string // turn:host[:port][?transport=udp|tcp], turns:…
	Secret ticket.TURNSecret
	For    time.Duration // of credentials; 0 is ticket.TURNFor
}

func (t TURN) check() error {
	for _, u := range t.URLs {
		host, ok := strings.CutPrefix(u, "turn:")
		if !ok {
			host, ok = strings.CutPrefix(u, "turns:")
		}
		if !ok || host == "" || strings.HasPrefix(host, "/") {
			return fmt.Errorf("TURN server %q must have the form turn:host[:port] or turns:host[:port]", u)
		}
	}
	if len(t.URLs) > 0 && t.Secret == "" {
		return errors.New("TURN servers need the secret that they share with brains")
	}
	return nil
}

// servers are the ICE servers of one person for the next minutes.
func (t TURN) servers() []wire.ICEServer {
	if len(t.URLs) == 0 {
		return nil
	}
	name, password := t.Secret.Credentials(time.Now().Add(t.life()))
	return []wire.ICEServer{{URLs: t.URLs, Username: name, Credential: password}}
}

func (t TURN) life() time.Duration {
	if t.For > 0 {
		return t.For
	}
	return ticket.TURNFor
}

// sendGrant sends a person the seat's grant, with the site's TURN servers.
func (b *Broker) sendGrant(c *conn, a *attachment) error {
	servers := b.cfg.TURN.servers()
	if servers == nil {
		return c.sendRaw(a.raw)
	}
	var m wire.Message
	if err := json.Unmarshal(a.raw, &m); err != nil {
		return err
	}
	m.Grant.ICEServers = servers
	return c.send(m)
}

// renewTURN sends a person new credentials well before the last ones expire. It ends with
// the person's connection.
func (b *Broker) renewTURN(c *conn) {
	if len(b.cfg.TURN.URLs) == 0 {
		return
	}
	every := b.cfg.TURN.life() * 4 / 5
	var timer *time.Timer
	timer = time.AfterFunc(every, func() {
		if c.gone.Err() == nil && c.send(wire.Message{Type: wire.MsgICE, ICEServers: b.cfg.TURN.servers()}) == nil {
			timer.Reset(every)
		}
	})
	context.AfterFunc(c.gone, func() { timer.Stop() })
}
