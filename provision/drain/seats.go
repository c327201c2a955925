package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/nearcast/nearcast/internal/wire"
)

// maxSeats bounds the answer of the driver, in bytes.
const maxSeats = 4 << 20

// NodeSeats asks the driver on this node, by the socket in its run directory that only root
// may open. Consul and the site's brains are not needed for that.
func NodeSeats(runDir string) func(context.Context) ([]wire.Seat, error) {
	socket := filepath.Join(runDir, wire.NodeSocket)
	client := &http.Client{Timeout: seatWithin, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	return func(ctx context.Context) ([]wire.Seat, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+wire.NodeSeatsPath, nil)
		if err != nil {
			return nil, err
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("ask the driver: %w", err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("ask the driver: it answers %s", res.Status)
		}
		var seats map[string]wire.Seat
		if err := json.NewDecoder(io.LimitReader(res.Body, maxSeats)).Decode(&seats); err != nil {
			return nil, fmt.Errorf("decode the node's seats: %w", err)
		}
		return slices.Collect(maps.Values(seats)), nil
	}
}
