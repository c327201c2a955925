package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// counts are what an attacker did.
type counts struct {
	Opened, Refused, Cut       atomic.Int64 // sockets
	Launched, Limited, Unheard atomic.Int64 // launches: 201, 429, no answer or another one
}

// runAttacker is the attacker's process. It writes its counts to standard output.
func runAttacker(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, o.phase)
	defer cancel()
	if o.attack == loadBurn {
		burn(ctx)
		return nil
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // else fewer sockets open, which the counts say
	}
	var c counts
	var all sync.WaitGroup
	kinds := []func(context.Context, *websocket.Conn){idle, babble, trickle}
	for i := range o.sockets {
		all.Go(func() { hold(ctx, o, &c, kinds[i%len(kinds)]) })
	}
	all.Go(func() { launchMany(ctx, o, &c) })
	all.Wait()
	return json.NewEncoder(os.Stdout).Encode(map[string]int64{
		"sockets opened": c.Opened.Load(), "sockets refused": c.Refused.Load(), "sockets cut": c.Cut.Load(),
		"launched": c.Launched.Load(), "limited": c.Limited.Load(), "unheard": c.Unheard.Load(),
	})
}

// burn uses the processor and reaches nobody.
func burn(ctx context.Context) {
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
			}
		})
	}
	all.Wait()
}

// dialer dials from an address of one of the attacker's networks.
func dialer(o options) *net.Dialer {
	from := net.IPv4(127, 66, byte(1+rand.IntN(o.networks)), byte(1+rand.IntN(250)))
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 10 * time.Second}
}

// hold keeps one socket open, and opens another when it is refused or cut.
func hold(ctx context.Context, o options, c *counts, misbehave func(context.Context, *websocket.Conn)) {
	client := &http.Client{Transport: &http.Transport{DialContext: dialer(o).DialContext, DisableKeepAlives: true}}
	for ctx.Err() == nil {
		ws, _, err := websocket.Dial(ctx, o.brain, &websocket.DialOptions{HTTPClient: client})
		if err == nil {
			c.Opened.Add(1)
			misbehave(ctx, ws)
			ws.CloseNow()
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.Refused.Add(1)
		default:
			c.Cut.Add(1)
		}
		pause(ctx, time.Second+rand.N(time.Second))
	}
}

// idle says nothing until the socket is cut.
func idle(ctx context.Context, ws *websocket.Conn) { _, _, _ = ws.Read(ctx) }

// babble sends large messages that no person would send. It pauses between them, or the
// attacker's own quota would be spent on nothing else.
func babble(ctx context.Context, ws *websocket.Conn) {
	noise := bytes.Repeat([]byte(`{"type":"candidate"}`), wire.MaxMessage/32)
	for ws.Write(ctx, websocket.MessageText, noise) == nil {
		pause(ctx, 200*time.Millisecond)
	}
}

// trickle sends one message, a few bytes a second.
func trickle(ctx context.Context, ws *websocket.Conn) {
	w, err := ws.Writer(ctx, websocket.MessageText)
	for err == nil {
		_, err = io.WriteString(w, "{")
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return
		}
	}
}

// launchers is how many connections the launches share.
const launchers = 32

// launchMany launches at a rate, or as fast as the answers come.
func launchMany(ctx context.Context, o options, c *counts) {
	if o.launches <= 0 {
		return
	}
	due := make(chan struct{}, 2*launchers)
	var all sync.WaitGroup
	defer all.Wait()
	for range launchers {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := launchOn(ctx, o, c, due); err != nil && ctx.Err() == nil {
					c.Unheard.Add(1)
					pause(ctx, 50*time.Millisecond)
				}
			}
		})
	}
	const step = 5 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for owed := 0.0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for owed += float64(o.launches) * step.Seconds(); owed >= 1; owed-- {
			select {
			case due <- struct{}{}:
			default: // the router, or the quota, is slower than the rate
			}
		}
	}
}

// launchOn launches over one connection, at each tick of due, until it breaks. It writes
// the request as text: a client of net/http would need most of the quota.
func launchOn(ctx context.Context, o options, c *counts, due <-chan struct{}) error {
	u, err := url.Parse(o.router)
	if err != nil {
		return err
	}
	conn, err := dialer(o).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	body := fmt.Sprintf(`{"app":%q}`, o.app)
	request := fmt.Appendf(nil, "POST /v1/sessions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", u.Host, len(body), body)
	answers := bufio.NewReader(conn)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-due:
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusCreated:
			c.Launched.Add(1)
		case http.StatusTooManyRequests:
			c.Limited.Add(1)
		default:
			c.Unheard.Add(1)
		}
		if resp.Close {
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
