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

	"github.com/nearcast/nearcast/internal/wire"
)

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
