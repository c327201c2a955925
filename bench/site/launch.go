package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// address is the person's own: 48,000 networks (/24) below 127.0.0.0/8.
func (p *person) address() net.IP {
	return net.IPv4(127, byte(64+p.n>>8%190), byte(p.n), byte(1+p.n/(190<<8)%250))
}

type fromKey struct{}

// newOutside is the transport of all people: each dials from their own address.
func newOutside() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, WriteBufferSize: 2 << 10, ReadBufferSize: 2 << 10,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := net.Dialer{Timeout: 10 * time.Second}
			if ip, ok := ctx.Value(fromKey{}).(net.IP); ok {
				d.LocalAddr = &net.TCPAddr{IP: ip}
			}
			return d.DialContext(ctx, network, address)
		}}
}

// launch gets a ticket and the URL of a brain.
func (p *person) launch(ctx context.Context) error {
	p.mu.Lock()
	p.known.asked = time.Now()
	p.mu.Unlock()
	if !p.routed {
		session := ticket.NewSessionAt(siteName)
		token, expires, err := p.site.signer.Sign(ticket.Claims{Session: session, App: p.app, Sites: []string{siteName}})
		if err != nil {
			return err
		}
		p.take(session, token, expires, p.site.brainFor(p.n, ""))
		return nil
	}
	body, err := json.Marshal(wire.LaunchRequest{App: p.app})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.site.routers[p.n%len(p.site.routers)].url+"/v1/sessions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.site.outside.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("launch: %s: %s", resp.Status, text)
	}
	var l wire.LaunchResponse
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		return fmt.Errorf("read the launch: %w", err)
	}
	p.take(l.Session, l.Ticket, l.Expires, l.BrainURL)
	return nil
}

func (p *person) take(session, token string, expires time.Time, brain string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.launched, p.known.session, p.token, p.expires, p.known.brain = time.Now(), session, token, expires, brain
}

// renew replaces the ticket, as a router does. p.mu is held.
func (p *person) renew() {
	claims, err := p.site.verifier.VerifySession(p.token)
	if err != nil {
		return
	}
	if token, expires, err := p.site.signer.Renew(claims); err == nil {
		p.token, p.expires = token, expires
	}
}

// renewOn renews the ticket while the person waits.
func (p *person) renewOn(ctx context.Context, ws *websocket.Conn) {
	p.mu.Lock()
	waits := p.resume == ""
	if waits {
		p.renew()
	}
	m := wire.Message{Type: wire.MsgTicket, Ticket: p.token}
	p.mu.Unlock()
	if waits && write(ctx, ws, m) == nil {
		time.AfterFunc(ticket.TTL-15*time.Second, func() {
			if ctx.Err() == nil {
				p.renewOn(ctx, ws)
			}
		})
	}
}
