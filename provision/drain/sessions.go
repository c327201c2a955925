package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// left waits until nobody plays, without Nomad. Idle seats are retired meanwhile; who got one just before
// that is seen at a second look.
func (c Config) left(ctx context.Context, n notice) error {
	if c.Sessions == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, n.until)
	defer cancel()
	tick := time.NewTicker(retireEvery)
	defer tick.Stop()
	said := -1
	for free := 0; ; {
		count, err := c.Sessions(ctx)
		if free++; count > 0 || err != nil {
			free = 0
		}
		if free == 2 {
			return nil
		}
		if count != said && ctx.Err() == nil {
			c.Log.Warn("this node waits for the end of sessions", "sessions", count, "error", err)
			said = count
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of %d sessions: %w", count, errors.Join(ctx.Err(), err))
		}
	}
}

// Sessions counts the sessions on this node. It asks the stream hosts themselves, by the sockets in
// their run directories: they go on while Nomad and the driver are dead. One that does not say what
// its seat is counts, and its error is returned.
func Sessions(runDir string) func(context.Context) (int, error) {
	return func(ctx context.Context) (count int, err error) {
		sockets, err := filepath.Glob(filepath.Join(runDir, "*", wire.ControlSocket))
		if err != nil {
			return 0, err
		}
		var failed []error
		for _, socket := range sockets {
			switch state, err := seatState(ctx, socket); {
			case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT):
				// The stream host has ended.
			case err != nil:
				count++
				failed = append(failed, fmt.Errorf("ask the seat at %s: %w", socket, err))
			case state.Busy():
				count++
			}
		}
		return count, errors.Join(failed...)
	}
}

func seatState(ctx context.Context, socket string) (wire.SeatState, error) {
	ctx, cancel := context.WithTimeout(ctx, seatWithin)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://seat"+wire.SeatPath, nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s", res.Status)
	}
	var seat wire.Seat // the first of its lines; others follow at each change
	if err := json.NewDecoder(io.LimitReader(res.Body, maxSeats)).Decode(&seat); err != nil {
		return "", fmt.Errorf("read its answer: %w", err)
	}
	return seat.State, nil
}
